"""One network, four ways to its answers: torch, the pyfunc in this process, a really started server, a file."""

from __future__ import annotations

import csv
import dataclasses
import http.client
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from pipeline.bundle.build import build_bundle
from pipeline.bundle.scoring import score_file
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST
from pipeline.evaluation.answers import ask_bundle
from pipeline.graph import collate, pack, unpack
from pipeline.samples.molecule.featurize import featurize_smiles
from pipeline.schema import Limits, Target
from pipeline.store.build import build_store
from serving.session import Session
from tests.conftest import ROOT
from tests.support.schemas import MOLECULES, without_features
from tests.support.servers import environment, free_port, running
from tests.support.small_models import load, write_count_model

pytestmark = pytest.mark.mlflow

SCALE = 3.0  # of the regression target
BROKEN = ["", None, "C1CC", "not a molecule", "C(C", "[Zz]", "c1cccc1", "CC)", "%", "C" * 40_000, "()", "C=", "é"]
TARGETS = (Target("y", "regression"), Target("b", "binary", classes=("no", "yes")))
SCHEMA = dataclasses.replace(without_features(MOLECULES), name="both", targets=TARGETS)
NOTHING = {"mean": [], "std": []}
STATISTICS = {"x_float": NOTHING, "edge_float": NOTHING, "u": NOTHING, "y": {"mean": [1.0, 0.0], "std": [SCALE, 1.0]}}


class Ways:
    """The network, its bundle, a server of it, and 987 molecules that it can answer."""

    def __init__(self, folder):
        import torch

        from pipeline.bundle.export import export_onnx
        from pipeline.network.config import NetworkConfig
        from pipeline.network.ensemble import Ensemble
        from pipeline.network.network import build_network

        torch.manual_seed(0)
        members = [build_network(NetworkConfig(hidden_dim=32, num_layers=2), SCHEMA, STATISTICS) for _ in range(2)]
        self.torch = Ensemble(members, SCHEMA).eval()
        export_onnx(members, SCHEMA, folder / "model.onnx", {})
        self.bundle = folder / "bundle"
        build_bundle(self.bundle, folder / "model.onnx", SCHEMA, pd.DataFrame({"smiles": ["CCO", "C"]}), {})
        self.pyfunc = load(self.bundle)
        with (ROOT / "data" / "solubility.csv").open(encoding="utf-8") as file:
            self.smiles = [row["smiles"] for row in csv.DictReader(file)][:987]

    def ask(self, connection, smiles):
        rows = [{"smiles": one} for one in smiles]
        connection.request(
            "POST", "/invocations", json.dumps({"dataframe_records": rows}), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))["predictions"]


def test_a_feature_may_be_called_as_an_answer_is(tmp_path):
    """The evaluation reads the answers, not the features of the same name."""
    rows = [f"{'C' * n},{n},{n}" for n in range(1, 31)]
    (tmp_path / "data.csv").write_text("\n".join(["smiles,y,error", *rows]), encoding="utf-8")
    config = PrepareConfig(data="data.csv", target="y", features="error")
    store = build_store(config, find_source(config, tmp_path, tmp_path), tmp_path / "store", "", lambda rows: None)
    model = write_count_model(tmp_path / "model.onnx", store.schema)
    build_bundle(tmp_path / "bundle", model, store.schema, pd.DataFrame({"smiles": ["C", "CC"], "error": [1.0, 2.0]}))
    _, test = ask_bundle(store, tmp_path / "bundle")
    assert test.values["y"].tolist() == [2 * n for n in store.arrays.y[store.indices(TEST), 0]]


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    return Ways(tmp_path_factory.mktemp("agreement"))


@pytest.fixture(scope="module")
def port(ways, tmp_path_factory):
    number = free_port()
    where = ["--host", "127.0.0.1", "--port", str(number), "--log-level", "warning"]
    command = [sys.executable, "-P", "-m", "uvicorn", *where, "mlflow.pyfunc.scoring_server.app:app"]
    folder = tmp_path_factory.mktemp("server")  # the server has no code but the bundle's
    env = environment(__pyfunc_model_path__=str(ways.bundle))
    with running(command, folder, env, number, folder / "log", "/ping"):
        yield number


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=120)


def test_torch_pyfunc_server_and_file_agree(ways, port, tmp_path):
    """Torch within 1e-5 of the target's scale; the other three are the same numbers, bit for bit."""
    import torch

    smiles = ways.smiles[:300]
    pyfunc = ways.pyfunc.predict(pd.DataFrame({"smiles": smiles})).to_dict("records")
    assert ways.ask(connect(port), smiles) == pyfunc
    pd.DataFrame({"n": range(300), "smiles": smiles}).to_csv(tmp_path / "data.csv", index=False)
    for name in ("out.csv", "out.parquet"):
        score_file(ways.bundle, tmp_path / "data.csv", tmp_path / name)
        # By default pandas reads numbers from text with another last bit now and then.
        exact = {"float_precision": "round_trip"}
        table = pd.read_csv(tmp_path / name, **exact) if name == "out.csv" else pd.read_parquet(tmp_path / name)
        assert table.smiles.tolist() == smiles
        for column in ("y", "y_std", "b", "b_std"):
            assert table[column].tolist() == [answer[column] for answer in pyfunc]
    graphs = featurize_smiles(smiles, Limits()).chunk
    batch = collate([unpack(graphs, g) for g in range(300)])
    with torch.no_grad():
        prediction, std = ways.torch(*map(torch.as_tensor, batch))
    for k, (name, scale) in enumerate((("y", SCALE), ("b", 1.0))):
        for found, column in ((prediction, name), (std, f"{name}_std")):
            answers = np.array([answer[column] for answer in pyfunc])
            assert np.abs(found[:, k].numpy() - answers).max() < 1e-5 * scale


def test_thirteen_broken_rows_change_no_bit_of_987_others(ways, port):
    mixed = list(ways.smiles)
    places = sorted(random.Random(0).sample(range(1000), 13))
    for place, broken in zip(places, BROKEN, strict=True):
        mixed.insert(place, broken)
    answers = ways.ask(connect(port), mixed)
    assert [answer for n, answer in enumerate(answers) if n not in places] == ways.ask(connect(port), ways.smiles)
    assert all(answers[n]["error"] and answers[n]["y"] is None for n in places)
    assert sum(answer["error"] is not None for answer in answers) == 13


def test_an_answer_does_not_depend_on_its_neighbours_or_their_order(ways):
    chunk = featurize_smiles([*ways.smiles[:200], "C", "[Na+].[Cl-]", "O"], Limits()).chunk
    graphs = [unpack(chunk, g) for g in range(chunk.num_graphs)]
    session = Session(ways.bundle / "artifacts" / "model.onnx")

    def run(some):
        return np.concatenate(list(session.run(collate(some)).values()), axis=1)

    alone = np.concatenate([run([graph]) for graph in graphs])
    order = np.random.default_rng(0).permutation(len(graphs))
    assert np.array_equal(run([graphs[i] for i in order]), alone[order])
    for ids in np.array_split(order, 17):
        assert np.array_equal(run([graphs[i] for i in ids]), alone[ids])
    parts = session.run_chunk(pack(graphs), directed=False)
    assert np.array_equal(np.concatenate(list(parts.values()), axis=1), alone)


def test_under_load_answers_never_swap(ways, port):
    alone = {one: answer for one, answer in zip(ways.smiles, ways.ask(connect(port), ways.smiles), strict=True)}
    rng = random.Random(1)
    plans = [[rng.choice([*ways.smiles, *BROKEN]) for _ in range(rng.choice([1, 1, 2, 5, 40]))] for _ in range(320)]

    def client(number):
        connection = connect(port)
        return [ways.ask(connection, plan) for plan in plans[number::16]]

    with ThreadPoolExecutor(16) as pool:
        for number, results in enumerate(pool.map(client, range(16))):
            for plan, answers in zip(plans[number::16], results, strict=True):
                for smiles, answer in zip(plan, answers, strict=True):
                    assert answer == alone[smiles] if smiles in alone else answer["error"]
