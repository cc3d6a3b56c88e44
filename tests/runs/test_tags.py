"""Names of tags: each once, and nowhere else than in their own file."""

from __future__ import annotations

import ast

import pytest

from pipeline.runs import tags
from tests.imports import FILES, module_name

NAMES = {name: text for name, text in vars(tags).items() if name.isupper() and name not in ("PREFIX", "NOTHING")}


def test_each_tag_has_a_name_of_its_own():
    assert len(set(NAMES.values())) == len(NAMES)
    assert {text for text in NAMES.values() if not text.startswith(tags.PREFIX)} == {"verdict"}
    beginnings = [text for text in NAMES.values() if text.endswith(".")]
    assert not [text for text in NAMES.values() for start in beginnings if text.startswith(start) and text != start]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_other_file_spells_a_tag(path):
    if path.name == "tags.py":
        return
    spelled = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert not [text for text in spelled if isinstance(text, str) and text in NAMES.values() and text != "verdict"]
