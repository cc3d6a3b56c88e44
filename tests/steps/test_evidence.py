"""evidence: one zip file, by its name."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from steps.evidence import main


@pytest.mark.parametrize("out", ["evidence", "evidence.tar", "a.zip.txt"])
def test_another_name_than_a_zip_files_is_refused(out):
    with pytest.raises(ConfigError, match=f"out={out}: expected the name of a .zip file"):
        main(["--out", out])
