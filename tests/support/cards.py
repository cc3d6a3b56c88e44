"""A card with something hostile in every text, a comparison for it, and a reader of pages."""

import dataclasses
from html.parser import HTMLParser

from pipeline.bundle.cost import Cost
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.comparison import Comparison, Costs, Difference, MovedRow, RowCounts, Slices, WorseSlice
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.verdict import judge_metrics
from pipeline.report.card import CardInputs, Scope, WorstCase
from pipeline.schema import Column, Target
from tests.support.schemas import toy_schema

HOSTILE = "<script>alert('x')</script> & \"y\" <img src=x onerror=alert(1)>"
NUMBER = Target("logS", "regression", unit="log mol/L", description="aqueous solubility")
BINARY = Target(HOSTILE, "binary", classes=("<i>no", "yes\"'"))
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 10">'
    '<defs><clipPath id="c"><rect width="10" height="10"/></clipPath></defs>'
    '<g clip-path="url(#c)"><path id="m" d="M 0 0&#10;L 1 1"/><use xlink:href="#m"/><text>a &lt; b</text></g></svg>'
)
DIFFERENCE = Difference("logS", "rmse", 257, True, (0.58, 0.5, 0.65), (0.55, 0.5, 0.6), (0.03, -0.01, 0.07))
COMPARISON = Comparison(
    Costs(Cost(4.0, 0.5, 200.0), Cost(2.0, 0.5, 100.0)),
    Champion("3", "c" * 64),
    notes=("The champion learned from the same split.", HOSTILE),
    rows=RowCounts(257, 257, 0),
    metrics=(DIFFERENCE,),
    slices=Slices(9, (WorseSlice("logS", "size", HOSTILE, "rmse", 40, 0.7, 0.5, (0.2, 0.1, 0.3), 0.001, 0.009, True),)),
    moved=(MovedRow("logS", 17, HOSTILE, "1", "2", "<3>", 1.5), MovedRow("logS", 18, None, "", "2", "3", 1.0)),
)
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Reads a page as a browser's parser would, and keeps what the tests look at."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open and data.strip():
            self.text.append(data.strip())


def card_of(targets=(NUMBER, BINARY), **changes):
    metrics = {}
    for target in targets:
        name = "rmse" if target.kind == "regression" else "roc_auc"
        for place, value in (("test", 0.58), ("baseline/forest", 0.52 if name == "rmse" else 0.5)):
            metrics |= {
                f"{place}/{target.key}/{name}{end}": value + d for end, d in (("", 0), ("_lo", -0.1), ("_hi", 0.1))
            }
    gate = {"regression": {"rmse": {"max": 1}}, "binary": {"roc_auc": {"min": 0.1}}}
    schema = toy_schema(*targets, name=HOSTILE, graph_columns=(Column("<b>pH", "numeric"),))
    card = CardInputs(
        name=HOSTILE,
        created="2026-01-01 <now>",
        schema=schema,
        verdict=judge_metrics(metrics, Gate(gate), {target.key: target.kind for target in targets}),
        metrics=metrics,
        scope=Scope((2, 55), {"element": ("C", "<N>")}, {"logS": (-11.6, 1.6)}, {"<b>pH": (1.0, 14.0)}),
        thresholds={HOSTILE: 0.41},
        data={HOSTILE: HOSTILE, "digest": "a" * 64},
        counts={"read": 1282, HOSTILE: 3},
        split={"sizes": {"train": 10, HOSTILE: 2}},
        training={"resumed": False, "seeds": [0, 1], HOSTILE: HOSTILE},
        parity_summary=HOSTILE,
        parity=({"case": HOSTILE, "difference": 1e-7}, {"case": "no edges", "difference": 0.0}),
        digests={"model.onnx": HOSTILE},
        environment={HOSTILE: HOSTILE},
        figures={target.name: {HOSTILE: SVG, "second": SVG} for target in targets},
        data_figures={HOSTILE: SVG},
        training_figures={"Learning curve": SVG},
        worst={NUMBER.name: (WorstCase(17, HOSTILE, "-3.2", "<1>", SVG), WorstCase(18, None, "1", "2"))},
        forest_note=HOSTILE,
    )
    return dataclasses.replace(card, **changes)
