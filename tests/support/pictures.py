"""Make the pictures of docs/: `python -m tests.support.pictures`; needs Chromium, takes a few minutes.

In a copy of the project a small model is trained and released and a second one trained beside it; the pictures show
the second one's card and its page of the board.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from PIL import Image

from tests.conftest import ROOT
from tests.support.browser import button, chromium, window
from tests.support.project import Project
from tests.support.servers import step_server

WIDTH, CARD_HEIGHT, MAX_BYTES = 1200, 1290, 150_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        project = Project(Path(folder))
        project.env["LOGNAME"] = "ada"  # the author and reviewer that the board shows
        project.run("-P", "max_epochs=6")
        project.run("-e", "promote", "-P", "version=1", "-P", "reason=the first model for logS")
        project.run()
        client = MlflowClient(*[project.env["MLFLOW_TRACKING_URI"]] * 2)
        run_id = client.get_model_version("solubility-candidates", "2").run_id
        with window(browser, f"file://{client.download_artifacts(run_id, 'card/card.html')}") as page:
            shoot(page, "card", 0, CARD_HEIGHT)
        with step_server("board", project.folder, project.env) as address:
            take_board(browser, f"{address}/?name=solubility&version=2")


def take_board(browser: Any, address: str) -> None:
    """The head of a candidate's page, and its form."""
    with window(browser, address) as page:
        button(page).wait_for()
        page.add_style_tag(content="[data-testid=watermark],.minimap{display:none}")
        height = int(page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(one => one.scrollHeight))"))
        page.set_viewport_size({"width": WIDTH, "height": height})  # marimo scrolls inside its own box
        page.wait_for_timeout(2000)
        top = page.locator("h1").bounding_box()["y"] - 20
        moved = page.get_by_role("heading", name="Answers that moved most").last.bounding_box()
        form = page.get_by_role("combobox").first.bounding_box()["y"]
        middle = moved["y"] if moved else form
        shoot(page, "board", top, min(middle + 330, form))
        shoot(page, "board-form", form - 110, height)


def shoot(page: Any, name: str, top: float, bottom: float) -> None:
    """Save what lies between two heights, in colours that are few enough for `MAX_BYTES`."""
    path = ROOT / "docs" / f"{name}.png"
    page.set_viewport_size({"width": WIDTH, "height": int(max(bottom, page.viewport_size["height"]))})
    page.screenshot(path=path, clip={"x": 0, "y": top, "width": WIDTH, "height": bottom - top})
    for colors in (128, 64, 32, 16):
        Image.open(path).convert("RGB").quantize(colors).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            break
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    assert path.stat().st_size < MAX_BYTES, path


if __name__ == "__main__":
    main()
