"""What is unlike the data of training is told in the user's words, and what is like them is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.answer import PREDICTION
from pipeline.graph import pack
from pipeline.samples.molecule.featurize import EDGE_COLUMNS, NODE_COLUMNS, featurize_smiles
from pipeline.schema import Limits, Schema, Target
from serving.domain import Domain
from tests.support.small_models import GRAPHS, chain

LOGS = Target("logS", "regression", label_range=(-4.0, 1.0))
SEEN = {"element": {"C": 9, "O": 9, "N": 1}, "charge": {"0": 9}}


def counted(column):
    """As if training had carbon and oxygen, nitrogen once, and everything of the other columns."""
    times = SEEN.get(column.name)
    return replace(column, train_counts=tuple(9 if times is None else times.get(name, 0) for name in column.categories))


def molecules(*targets, **more):
    nodes = tuple(map(counted, NODE_COLUMNS))
    return Schema("toy", "molecule", targets or (LOGS,), nodes, tuple(map(counted, EDGE_COLUMNS)), **more)


def warnings(schema, smiles, *answers):
    chunk = featurize_smiles(smiles, Limits()).chunk
    prediction = np.array(answers or [[0.0]] * len(smiles), dtype=np.float32)
    return Domain(schema).warnings(chunk, {PREDICTION: prediction})


def test_an_element_is_named_as_a_chemist_does():
    found = warnings(molecules(), ["CCO", "C[Cu]C", "CCN", "*CC", "C[Si](C)(C)[Cu]"])
    assert found == [
        None,
        "element Cu was not in training",
        "element N was only once in training",
        "element of a kind that was not in training; hybridization of a kind that was not in training",
        "element Si was not in training; element Cu was not in training",
    ]


def test_each_kind_of_mistake_has_its_word_once():
    (found,) = warnings(molecules(), ["C[NH2+]C[NH2+]C"])
    assert found == "element N was only once in training; charge +1 was not in training"


def test_a_size_beyond_training_is_told_with_the_sizes_that_it_had():
    schema = molecules(node_range=(2, 4))
    assert warnings(schema, ["C", "CC", "CCCC", "CCCCC"]) == [
        "1 atom, where training had 2 to 4",
        None,
        None,
        "5 atoms, where training had 2 to 4",
    ]
    nodes = replace(GRAPHS, node_range=(2, 3))
    chunk = pack([chain(0), chain(3), chain(9)])
    answers = {PREDICTION: np.zeros((3, GRAPHS.output_dim), dtype=np.float32)}
    empty, fits, large = Domain(nodes).warnings(chunk, answers)
    assert (empty, fits) == ("0 nodes, where training had 2 to 3", None)
    assert large.startswith("9 nodes, where training had 2 to 3")


@pytest.mark.parametrize(
    ("answer", "warned"), [(-36.0, True), (-4.51, True), (-4.49, False), (0.0, False), (1.49, False), (23.0, True)]
)
def test_an_answer_may_leave_the_labels_by_a_tenth_of_their_range(answer, warned):
    (found,) = warnings(molecules(), ["CCO"], [answer])
    assert found == ("logS lies beyond the labels of training, -4 to 1" if warned else None)


@pytest.mark.parametrize(("answer", "warned"), [(0.4, True), (0.6, False), (1_500.0, False), (2_100.0, True)])
@pytest.mark.parametrize("scale", [{"transform": "log10"}, {"transform": "p", "unit": "nM"}])
def test_with_a_transform_the_range_is_that_of_the_trained_scale(answer, warned, scale):
    """1 to 1,000 are three decades; a tenth of them is a factor of two."""
    target = Target("IC50", "regression", label_range=(1.0, 1_000.0), **scale)
    (found,) = warnings(molecules(target), ["CCO"], [answer])
    assert found == ("IC50 lies beyond the labels of training, 1 to 1000" if warned else None)


def test_a_bundle_of_before_warns_of_categories_only():
    plain = molecules(Target("logS", "regression"))
    assert warnings(plain, ["C" * 200, "[Cu]"], [-99.0], [99.0]) == [None, "element Cu was not in training"]


def test_targets_are_told_one_by_one_and_classes_never():
    targets = LOGS, Target("toxic", "binary", classes=("no", "yes")), Target("logP", "regression", label_range=(0, 1))
    (found,) = warnings(molecules(*targets), ["CCO"], [-9.0, 0.5, 7.0])
    assert found == (
        "logS lies beyond the labels of training, -4 to 1; logP lies beyond the labels of training, 0 to 1"
    )
