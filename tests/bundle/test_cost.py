"""What an answer costs, measured in processes of their own."""

from __future__ import annotations

import pytest

from pipeline.bundle.cost import BATCH, measure_costs
from pipeline.digests import write_digests
from pipeline.errors import BundleError
from tests.support.schemas import MOLECULES, without_features
from tests.support.small_models import write_molecule_bundle


@pytest.mark.mlflow
def test_a_slow_and_large_bundle_shows_beside_a_quick_one(tmp_path):
    write_molecule_bundle(tmp_path / "quick", without_features(MOLECULES))
    write_molecule_bundle(tmp_path / "slow", without_features(MOLECULES))
    code = tmp_path / "slow" / "model.py"
    wait = "__import__('time').sleep(0.02); self.held = b'x' * 300_000_000\n        answers = Answers"
    code.write_text(code.read_text().replace("answers = Answers", wait))
    write_digests(tmp_path / "slow")
    quick, slow = measure_costs([tmp_path / "quick", tmp_path / "slow"], {"smiles": ["CCO", "C"]})
    assert slow.ms_per_request > quick.ms_per_request + 15
    assert slow.ms_per_row > 15 / BATCH
    assert slow.peak_memory_mb > quick.peak_memory_mb + 250
    assert all(value > 0 for value in quick)


def test_changed_bytes_are_not_measured(tmp_path):
    write_molecule_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "model.py").write_text("raise SystemExit(7)")
    with pytest.raises(BundleError, match=r"model\.py"):
        measure_costs([tmp_path / "bundle"], {"smiles": ["C"], "temperature": [1.0]})
