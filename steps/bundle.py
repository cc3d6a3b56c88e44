"""bundle: a model → a folder from which a container image is built; nothing but the folder is written.

By default the champion of `name`; `model` takes any model URI. The bundle is verified; the folder holds it, the server
and a Dockerfile that bakes both in.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runs.tags import DIGEST, MODEL
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class BundleConfig:
    """What is packed where.

    Attributes:
        model: any model URI; default: the champion of `name`.
        name: the released model; default: the only one that has candidates.
        out: folder; it must not be there yet.
    """

    model: str | None = None
    name: str | None = None
    out: str = "image"


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(BundleConfig, argv, prog="bundle")
    from pipeline.bundle.image import write_image
    from pipeline.runs.registry import CHAMPION, fetch_model, settle_name
    from pipeline.runs.tracking import start_step

    with start_step("bundle", say, name=config.name) as step, tempfile.TemporaryDirectory() as temporary:
        uri = config.model or f"models:/{settle_name(config.name)}@{CHAMPION}"
        folder = fetch_model(uri, Path(temporary) / "bundle")
        schema = json.loads((folder / "artifacts" / "schema.json").read_text(encoding="utf-8"))
        digest = write_image(Path(config.out).absolute(), folder, schema["name"])
        say(f"bundle: {uri}, sha256 {digest[:12]} → {Path(config.out).resolve()}")
        say(f"  serve it here:   python -m serving.app --bundle {Path(config.out) / 'bundle'}")
        say(f"  build an image:  docker build --tag {schema['name']} {config.out}")
        step.set_tags({MODEL: uri, DIGEST: digest})
        step.finish(digest)


if __name__ == "__main__":
    run(main)
