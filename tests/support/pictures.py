"""Take the README's pictures of the review board: `python -m tests.support.pictures ADDRESS-OF-A-CANDIDATE`.

The board must be running, with a candidate that waits beside a champion.
"""

from __future__ import annotations

import sys
from typing import Any

from PIL import Image

from tests.conftest import ROOT
from tests.support.browser import button, chromium, window

WIDTH, MAX_BYTES = 1200, 200_000


def main(address: str) -> None:
    with chromium() as browser, window(browser, address) as page:
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
    path.parent.mkdir(exist_ok=True)
    page.screenshot(path=path, clip={"x": 0, "y": top, "width": WIDTH, "height": bottom - top})
    for colors in (128, 64, 32, 16):
        Image.open(path).convert("RGB").quantize(colors).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            break
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    assert path.stat().st_size < MAX_BYTES, path


if __name__ == "__main__":
    main(sys.argv[1])
