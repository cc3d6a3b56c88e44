"""The contract of a data set: names that cannot clash, widths, scales, and the way through its file."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, StoreError
from pipeline.evaluation.metrics import leading_metrics, loss_metric
from pipeline.network.losses import LEARNING
from pipeline.schema import MOLAR_UNITS, RESERVED_NAMES, TASKS, Column, Limits, Schema, Target, metric_key
from tests.support.schemas import GRAPHS, MOLECULES, RINGS, toy_schema

NUMBER = Target("y", "regression")


@pytest.mark.parametrize("schema", [GRAPHS, MOLECULES, RINGS, toy_schema(), toy_schema(fingerprint_size=8)])
def test_a_schema_comes_back_from_its_file(schema: Schema) -> None:
    schema = dataclasses.replace(schema, limits=Limits(7, 9), description="größe <b>", directed=True)
    assert Schema.from_json(schema.to_json()) == schema
    assert "größe" in schema.to_json()


@pytest.mark.parametrize("version", [0, 2, None])
def test_a_file_of_another_version_is_refused(version: int | None) -> None:
    text = json.dumps(json.loads(GRAPHS.to_json()) | {"schema_version": version})
    with pytest.raises(StoreError, match=f"schema.json has version {version}, this graphline reads version 1"):
        Schema.from_json(text)


def test_columns_of_the_output_by_hand() -> None:
    assert GRAPHS.slices == (slice(0, 1), slice(1, 2), slice(2, 5))
    assert (GRAPHS.output_dim, [target.width for target in GRAPHS.targets]) == (5, [1, 1, 3])
    assert toy_schema(targets=()).slices == ()


def test_columns_by_kind_keep_their_order() -> None:
    columns = tuple(Column(f"c{k}", "numeric" if k % 2 else "categorical") for k in range(4))
    schema = toy_schema(node_columns=columns, edge_columns=columns[::-1])
    assert [column.name for column in schema.node("categorical")] == ["c0", "c2"]
    assert [column.name for column in schema.edge("numeric")] == ["c3", "c1"]


def test_graph_features_stand_before_descriptors_before_the_fingerprint() -> None:
    schema = toy_schema(
        graph_columns=(Column("pH", "numeric"),), descriptor_columns=(Column("MolWt", "numeric"),), fingerprint_size=2
    )
    assert [column.name for column in schema.u_columns] == ["pH", "MolWt", "ecfp0", "ecfp1"]


def test_a_category_seen_once_is_read_as_unknown() -> None:
    column = Column("symbol", "categorical", ("C", "N", "O"), (5, 1, 2))
    assert (column.num_codes, column.known) == (4, (False, True, False, True))
    assert Column("symbol", "categorical", ("C", "N")).known == (False, True, True)  # the split is not known yet


# --- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESERVED_NAMES)
def test_names_of_the_answer_are_taken(name: str) -> None:
    with pytest.raises(ConfigError, match=f"target '{name}': this name is taken"):
        Target(name, "regression")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "binary", "transform": "log10"}, "transform=log10 needs a regression target"),
        ({"kind": "regression", "transform": "p"}, "transform=p needs a molar unit"),
        ({"kind": "regression", "transform": "p", "unit": "mg/L"}, "transform=p needs a molar unit"),
    ],
)
def test_transforms_that_mean_nothing_are_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Target("y", **settings)


@pytest.mark.parametrize("unit", MOLAR_UNITS)
@given(value=st.floats(1e-6, 1e6))
def test_p_is_minus_log_of_mol_per_litre(unit: str, value: float) -> None:
    a, b = Target("y", "regression", unit=unit, transform="p").affine
    assert a * math.log10(value) + b == pytest.approx(-math.log10(value * MOLAR_UNITS[unit]), abs=1e-9)


def test_scales_by_hand() -> None:
    assert NUMBER.affine is None
    assert Target("y", "regression", transform="log10").affine == (1.0, 0.0)
    a, b = Target("y", "regression", unit="nM", transform="p").affine
    assert (a, b) == (-1.0, pytest.approx(9.0))  # 1 nM is a pIC50 of 9


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *(
            ("logS", "logS"),
            ("IC50 (nM)", "IC50 _nM_"),
            ("größe", "größe"),
            ("溶解度", "溶解度"),
            ("Toxic?", "Toxic_"),
            ("a/b", "a_b"),
            ("a-b.c: d", "a-b.c: d"),
        ),
        *((".", "_"), ("..", "__"), (".a", ".a"), ("a.", "a.")),
    ],
)
def test_metric_keys_hold_what_mlflow_takes(name: str, key: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert metric_key(name) == Target(name, "regression").key == key
    _validate_metric_name(f"test/{key}/rmse")


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text(min_size=1, max_size=1000),
    st.text(alphabet=st.sampled_from("./%?()'\"\\\0\n:*<>|&\u202e溶ü "), min_size=1, max_size=8),
)


@given(HOSTILE)
def test_every_name_becomes_a_key_that_mlflow_takes(name: str) -> None:
    """As metric, tag, and folder of a figure."""
    from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name, _validate_tag_name

    longest = f"baseline/majority/{metric_key(name)}/balanced_accuracy_hi"
    _validate_metric_name(longest)
    _validate_tag_name(f"graphline.threshold.{metric_key(name)}")
    assert len(longest) <= MAX_ENTITY_KEY_LENGTH
    assert len(metric_key(name).encode()) < 255
    assert "/" not in metric_key(name)


@given(st.lists(st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd"]), min_size=1, max_size=400), unique=True))
def test_names_of_letters_stay_apart(names: list[str]) -> None:
    assert len({metric_key(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("target", "shape", "positive"),
    [
        (Target("t", "regression"), (), None),
        (Target("t", "binary", classes=("no", "yes")), (), "yes"),
        (Target("t", "multiclass", classes=("a", "b", "c")), (3,), None),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_target_says_how_its_answers_look(target: Target, shape: tuple[int, ...], positive: str | None) -> None:
    assert (target.shape, target.positive) == (shape, positive)
    assert target.width == (3 if shape else 1)
    assert target.task.has_classes == bool(target.classes)


def test_every_kind_of_target_is_learnt_and_measured() -> None:
    assert set(LEARNING) == set(TASKS)
    for kind, task in TASKS.items():
        assert loss_metric(kind).lower_is_better
        assert leading_metrics(kind)
        assert (LEARNING[kind].probabilities is not None) == task.has_classes


# --- names beside each other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "changes", "says"),
    [
        ((NUMBER, NUMBER), {}, "['y'] stand twice among targets and features"),
        ((NUMBER,), {"graph_columns": (Column("y", "numeric"),)}, "['y'] stand twice"),
        ((Target("a(b", "regression"), Target("a)b", "regression")), {}, "become one name in metric keys"),
        ((NUMBER, Target("y_std", "regression")), {}, "column 'y_std' would hold answers for two targets"),
        ((NUMBER, Target("y.model", "regression")), {}, "column 'y.model' would hold answers"),
        (
            (Target("c", "multiclass", classes=("x", "y")), Target("c=x", "regression")),
            {},
            "column 'c=x' would hold answers",
        ),
    ],
)
def test_no_two_things_share_a_column(targets: tuple[Target, ...], changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        toy_schema(*targets, **changes)
    assert says in str(caught.value)
