"""The first page of the evidence: all of it offline, every link leads to a file."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.mlflow


def test_the_first_page_says_it_all_offline(packed, log):
    page = (packed / "index.html").read_text()
    record = log.records[1]
    for word in (record.digest, record.commit, record.evaluate_run, "eve", "ada (tracking server login)", "RMSE"):
        assert word in page, word
    assert "better on &lt;the&gt; new plates" in page
    assert "http" not in page.replace("http-equiv", "")
    for link in re.findall(r'href="([^#"]+)"', page):
        assert (packed / link).is_file(), link
