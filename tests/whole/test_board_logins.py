"""The review board on a server with logins: each reviewer decides under the own name and with the own rights."""

from __future__ import annotations

import base64

import pytest

from pipeline.review.log import read_log
from tests.support.browser import button, chromium, fill, outcome, window
from tests.support.servers import ask, step_server

pytestmark = pytest.mark.mlflow
logins = pytest.importorskip("tests.support.logins", reason="needs the users of tests/support/logins.py")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def test_each_reviewer_decides_under_the_own_login(browser, tmp_path):
    with logins.login_server(tmp_path) as scene:
        for content in ("one", "two", "three"):
            assert scene.register("ada", content).code == 0
        with step_server("board", tmp_path, scene.server.client_env()) as address:
            assert ask(address, "GET", "/").status == 401
            wrong = base64.b64encode(b"rae:a wrong password").decode()
            assert ask(address, "GET", "/", headers={"Authorization": f"Basic {wrong}"}).status == 401

            def sit_down(user: str, version: int):
                login = {"username": user, "password": scene.passwords[user]}
                return window(browser, f"{address}/?name={logins.NAME}&version={version}", http_credentials=login)

            with sit_down("rae", 1) as rae, sit_down("tom", 2) as tom, sit_down("ada", 3) as ada:
                for page, choice in ((rae, "Approve"), (tom, "Reject"), (ada, "Approve")):
                    fill(page, choice, "seen")
                for page in (tom, rae, ada):
                    button(page).click()
                    outcome(page)
                assert "Version 1 of sol is approved" in outcome(rae)
                assert "Version 2 of sol is rejected" in outcome(tom)
                assert "Refused" in outcome(ada)
        scene.act_as("rae")
        decided = [(one.action, one.candidate, one.reviewer, one.identified) for one in read_log(logins.NAME).records]
        how = "tracking server login"
        assert decided == [("reject", 2, "tom", how), ("approve", 1, "rae", how)]
