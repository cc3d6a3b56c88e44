"""The commands of a reviewer: what they print, and that the record says who it was."""

from __future__ import annotations

import getpass
import shutil
import subprocess

import pytest
from mlflow import MlflowClient

from pipeline.errors import ConfigError, RegistryError
from pipeline.review.log import read_log
from steps import audit, promote, reject, retire, rollback
from tests.support.candidates import aliases, candidate, write_gate

pytestmark = [pytest.mark.mlflow, pytest.mark.usefixtures("tracking")]


def test_a_reviewers_day(tmp_path, capsys):
    me = getpass.getuser()
    gate = f"--gate={write_gate(tmp_path)}"
    candidate(tmp_path, "day", "one", author=me)
    candidate(tmp_path, "day", "two")
    candidate(tmp_path, "day", "bad")
    with pytest.raises(RegistryError, match=r'day-candidates version 1: this needs a reason; pass reason="…"\.'):
        promote.main(["--version=1", gate])
    with pytest.raises(ConfigError, match="promote: --champion two"):
        promote.main(["--version=1", "--champion=two"])
    capsys.readouterr()
    promote.main(["--version=1", "--reason=first", gate])
    said = capsys.readouterr().out.splitlines()
    head = read_log("day").head
    assert said[0].startswith("promote: day: record 1: approved candidate 1 on 20")
    assert said[0].endswith(f"Z by {me} (unauthenticated, self-reviewed)")
    assert said[1].startswith("  champion was nothing, is release 1, sha256 ")
    assert said[2] == f"  log of 1, head {head}; keep it elsewhere, `audit` compares with head="
    assert 'mlflow models serve -m "models:/day@champion"' in said[3]
    with pytest.raises(RegistryError, match="its verdict is failed"):
        promote.main(["--reason=newest", gate])
    reject.main(["--reason=far off", gate])
    assert "record 2: rejected candidate 3" in capsys.readouterr().out
    promote.main(["--version=2", "--reason=better", "--champion=1", gate])
    assert f"by {me} (unauthenticated, system user)" in capsys.readouterr().out
    rollback.main(["--reason=drifts"])
    assert "  champion was release 2, is release 1, sha256 " in capsys.readouterr().out
    retire.main(["--reason=the assay changed", "--champion=1"])
    assert "  champion was release 1, is nothing\n" in capsys.readouterr().out
    assert aliases("day") == {}
    rollback.main(["--to=2", "--reason=needed after all"])
    audit.main([f"--head={head}"])
    assert "audit: chain, bytes and aliases are as decided" in capsys.readouterr().out
    run = MlflowClient().search_runs(["0"], "tags.`graphline.step` = 'rollback'", order_by=["start_time DESC"])[0]
    assert (run.data.tags["graphline.decision"], run.data.tags["graphline.head"]) == ("6", read_log("day").head)


def test_a_release_without_a_passed_verdict_says_so_wherever_it_is_told(tmp_path, capsys):
    gate = f"--gate={write_gate(tmp_path)}"
    candidate(tmp_path, "over", "bad")
    candidate(tmp_path, "over", "good")
    promote.main(["--name=over", "--version=1", "--reason=a try", "--override=the assay waits", gate])
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith("  without a passed verdict (failed: Failed 1 of 1 checks: ")
    assert said[1].endswith("): the assay waits")
    promote.main(["--name=over", "--version=2", "--reason=better", "--champion=1", "--override=not needed", gate])
    assert "without a passed verdict" not in capsys.readouterr().out  # what was not needed is not told
    audit.main(["--name=over"])
    told = [line for line in capsys.readouterr().out.splitlines() if "without a passed verdict" in line]
    assert len(told) == 1
    assert told[0].endswith("): the assay waits")


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
def test_a_signed_log_is_audited_against_the_allowed_signers(tmp_path, capsys):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"{getpass.getuser()} {(tmp_path / 'key.pub').read_text()}")
    gate = f"--gate={write_gate(tmp_path)}"
    for content in ("one", "two"):
        candidate(tmp_path, "signed", content)
    asked = ["--name=signed", "--reason=first", gate]
    promote.main(["--version=1", *asked, f"--sign_key={key}"])
    audit.main(["--name=signed", f"--allowed_signers={allowed}"])
    reject.main(["--version=2", *asked])
    with pytest.raises(RegistryError, match="signed: 1 finding; the first: record 2: it is not signed"):
        audit.main(["--name=signed", f"--allowed_signers={allowed}"])
    audit.main(["--name=signed"])
