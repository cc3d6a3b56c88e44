import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.graph import GraphChunk, join, pack, unpack
from serving import deadline, sharing
from serving.deadline import DeadlineError
from serving.sharing import Sharing
from tests.support.small_models import chain


class Network:
    """Answers the number of nodes of each graph; keeps the size of each batch; can be held, and can fail."""

    def __init__(self):
        self.batches = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.fail = {}  # number of nodes -> what is raised, once or always

    def run(self, batch):
        sizes = np.bincount(batch.batch, minlength=batch.num_graphs)
        self.batches.append(sizes.tolist())
        self.entered.set()
        assert self.open.wait(20)
        for size in set(sizes.tolist()) & set(self.fail):
            error, once = self.fail[size]
            if once:
                del self.fail[size]
            raise error
        return {"prediction": sizes[:, None].astype(np.float32)}


@pytest.fixture
def network():
    return Network()


def share(network, **more):
    return Sharing(network, directed=False, **{"threads": 1} | more)


def ask(shared, *sizes):
    with shared.request():
        return shared.run_chunk(pack([chain(n) for n in sizes]))["prediction"][:, 0].tolist()


def until(true):
    for _ in range(2000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it does not come true")


class Held:
    """A network whose thread computes a first request, while others arrive."""

    def __init__(self, network, **more):
        self.network, self.shared = network, share(network, **more)
        self.pool = ThreadPoolExecutor(20)
        network.open.clear()
        self.first = self.pool.submit(ask, self.shared, 1)
        assert network.entered.wait(20)

    def arrive(self, *sizes):
        count = len(self.shared._waiting)
        future = self.pool.submit(ask, self.shared, *sizes)
        until(lambda: len(self.shared._waiting) > count)
        return future

    def results(self, *futures):
        self.network.open.set()
        return [future.result(20) for future in futures]


def test_a_lone_request_does_not_wait(network):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, share(network, wait_s=60), 3, 1, 4).result(20) == [3, 1, 4]
    assert network.batches == [[3, 1, 4]]


def test_requests_that_wait_for_a_thread_become_one_batch(network):
    held = Held(network)
    futures = [held.arrive(n, n + 1) for n in (2, 5, 8)]
    assert held.results(held.first, *futures) == [[1], [2, 3], [5, 6], [8, 9]]
    assert network.batches == [[1], [2, 3, 5, 6, 8, 9]]


def test_a_batch_stays_within_its_nodes(network):
    held = Held(network, max_nodes=10)
    futures = [held.arrive(*sizes) for sizes in ((4, 4), (2,), (1,), (30,), (5,))]
    assert held.results(*futures) == [[4, 4], [2], [1], [30], [5]]
    assert network.batches == [[1], [4, 4, 2], [1], [30], [5]]


def test_several_threads_compute_side_by_side(network):
    held = Held(network, threads=2)
    network.entered.clear()
    second = held.pool.submit(ask, held.shared, 2)
    assert network.entered.wait(20)
    third = held.arrive(3)
    assert network.batches == [[1], [2]]
    assert held.results(held.first, second, third) == [[1], [2], [3]]


def test_a_batch_waits_for_a_request_that_is_still_reading(network):
    shared = share(network, wait_s=60)
    with ThreadPoolExecutor() as pool:
        with shared.request():
            other = pool.submit(ask, shared, 2)
            until(lambda: shared._waiting)
            assert shared.run_chunk(pack([chain(3)]))["prediction"].tolist() == [[3]]
        assert other.result(20) == [2]
    assert network.batches == [[2, 3]]


def test_nobody_waits_for_a_request_that_has_left(network):
    shared = share(network, wait_s=60)
    with ThreadPoolExecutor() as pool:
        with shared.request():
            other = pool.submit(ask, shared, 2)
            until(lambda: shared._waiting)
        assert other.result(20) == [2]


def test_the_wait_ends(network):
    shared = share(network, wait_s=0.02)
    with shared.request(), ThreadPoolExecutor() as pool:
        assert pool.submit(ask, shared, 2).result(20) == [2]


def test_nobody_fails_for_a_neighbour(network):
    network.fail = {5: (ValueError("of 5"), False)}
    held = Held(network)
    futures = [held.arrive(*sizes) for sizes in ((2,), (5, 3), (4,))]
    network.open.set()
    with pytest.raises(ValueError, match="of 5"):
        futures[1].result(20)
    assert held.results(futures[0], futures[2]) == [[2], [4]]


def test_an_interrupt_of_one_request_leaves_the_others_their_answers(network):
    network.fail = {5: (KeyboardInterrupt(), True)}
    held = Held(network)
    futures = [held.arrive(n) for n in (5, 2, 3)]
    network.open.set()
    done = [future.exception(20) for future in futures]
    assert sum(error is None for error in done) >= 2  # whoever computed the batch was interrupted, or nobody
    assert held.results(held.pool.submit(ask, held.shared, 7)) == [[7]]
    assert held.shared._free == 1


def test_a_request_leaves_when_its_time_is_over(network):
    held = Held(network)

    def hurried():
        deadline.AT.set(time.monotonic() + 0.05)
        return ask(held.shared, 3)

    with pytest.raises(DeadlineError):
        held.pool.submit(hurried).result(20)
    assert held.shared._waiting == []
    assert held.results(held.first) == [[1]]
    assert network.batches == [[1]]


def test_a_late_request_is_not_begun(network):
    token = deadline.AT.set(time.monotonic() - 1)
    try:
        with pytest.raises(DeadlineError):
            ask(share(network), 3)
    finally:
        deadline.AT.reset(token)
    assert network.batches == []


def test_observers_hear_of_each_batch(network, monkeypatch):
    heard = []
    monkeypatch.setattr(sharing, "observers", [lambda *facts: heard.append(facts[:3])])
    ask(share(network), 2, 3)
    assert heard == [(2, 5, 1)]


def test_nothing_is_lost_or_swapped_in_a_crowd(network):
    """Failures, interrupts and deadlines in between: every call ends, with its own answers."""
    shared = share(network, threads=2, max_nodes=40, wait_s=0.001)
    network.fail = {13: (ValueError(), False)}
    rng = random.Random(0)
    plans = [[rng.choice([1, 2, 3, 7, 13]) for _ in range(rng.randint(1, 12))] for _ in range(600)]

    def call(number):
        if number % 7 == 0:
            deadline.AT.set(time.monotonic() + 0.0005)
        try:
            return ask(shared, *plans[number])
        except (ValueError, DeadlineError) as error:
            return type(error)
        finally:
            deadline.AT.set(None)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(call, range(len(plans)), timeout=60))
    for number, (plan, result) in enumerate(zip(plans, results, strict=True)):
        late = [DeadlineError] if number % 7 == 0 else []
        assert result in [ValueError if 13 in plan else plan, *late]
    assert (shared._free, shared._running, shared._requests, shared._waiting) == (2, 0, 0, [])


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=5))
def test_joined_chunks_hold_the_graphs_themselves(sizes):
    chunks = [pack([chain(n) for n in some]) for some in sizes]
    joined, flat = join(chunks), [chain(n) for some in sizes for n in some]
    assert isinstance(joined, GraphChunk)
    for g, graph in enumerate(flat):
        assert all(np.array_equal(a, b) for a, b in zip(unpack(joined, g), graph, strict=True))
