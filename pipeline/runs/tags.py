"""Tags: what runs and versions say of themselves in MLflow, each name once.

Steps hand results on by them. A tag is text. Names that end with a dot are the beginnings of several tags.
"""

from __future__ import annotations

PREFIX = "graphline."
"""Begins every tag of ours."""

# Every step's run.

STEP = "graphline.step"
"""Name of the step; comes with the run."""

PROCESS = "graphline.process"
"""Host, process id and start time of the process that writes the run; comes with the run."""

NAME = "graphline.name"
"""Name of the model that the step is for."""

KEY = "graphline.key"
"""Key of the step, `pipeline.runs.keys`."""

EDITED = "graphline.edited"
"""File that was edited while the step ran: its key may not be that of the code that ran, so it is not reused."""

ERROR = "graphline.error"
"""The step failed: the kind of its error; its text may hold the user's data."""

COMPLETE = "graphline.complete"
"""Digest of what the step made: its last write. A run without it never finished, whatever its status says."""

# Runs of some steps.

SHARE_ROWS = "graphline.share_rows"
"""prepare: `True` if rows may be logged."""

DATA_KIND = "graphline.data_kind"
"""prepare: the kind of its samples, which settles whose code the later steps rest on."""

DATA_DIGEST = "graphline.data_digest"
"""prepare, evaluate and candidates: sha256 of the data."""

PREPARE_RUN = "graphline.prepare_run"
"""train, evaluate: id of the run whose store it reads."""

ENVIRONMENT = "graphline.environment."
"""train: begins a tag for each fact of the machine."""

TRAIN_RUN = "graphline.train_run"
"""evaluate: id of the run whose networks are judged."""

COMPARED = "graphline.champion"
"""evaluate: release it compared with, or `NOTHING`."""

COMPARED_DIGEST = "graphline.champion_digest"
"""evaluate: sha256 of the bundle of that release, or `NOTHING`."""

NOTHING = "none"
"""What the two say where nothing was live."""

VERDICT = "graphline.verdict"
"""evaluate, main: `passed`, `passed, but …` where a baseline is better, or `failed`."""

HEADLINE = "graphline.headline"
"""evaluate: first sentence of the verdict."""

CARD = "graphline.card"
"""evaluate: path of the card."""

EXAMPLE = "graphline.example"
"""evaluate: what `curl -d` sends to try the model."""

THRESHOLD = "graphline.threshold."
"""evaluate: begins a tag for each binary target: the probability from which it is positive."""

VERSION = "graphline.version"
"""register: number of the candidate."""

MODEL = "graphline.model"
"""predict, bundle: URI of the model; also in the metadata of a Parquet file of answers."""

REUSED = "graphline.reused."
"""main: begins a tag for each step that was reused: id of its run."""

STARTED = "graphline.run."
"""main: begins a tag for each step that was run: id of its run."""

# Versions of models, and runs that they come from.

DIGEST = "graphline.digest"
"""sha256 of the bundle; of evaluate, bundle and predict, candidates and releases, and the metadata of answers."""

COMMIT = "graphline.commit"
"""evaluate, candidates: commit of the code."""

EVALUATE_RUN = "graphline.evaluate_run"
"""Candidates, releases: id of the run whose bundle it is."""

CANDIDATE_VERDICT = "verdict"
"""Candidates: `VERDICT` of their run."""

AUTHOR = "graphline.author"
"""Candidates: who registered it."""

AUTHOR_SOURCE = "graphline.author_source"
"""Candidates: how the author is known."""

CANDIDATE = "graphline.candidate"
"""Releases and the runs of their bytes: `<name>/<version>` of the candidate."""

CLAIM = "graphline.claim"
"""Releases and the runs of their bytes: number of the record that is to name it."""

DECISION = "graphline.decision"
"""Releases: number of the record that made it; runs of decisions: number of the record they wrote."""

HEAD = "graphline.head"
"""Releases, runs of decisions: hash of that record; on the released model: number and hash of the newest one."""

# Versions of `<name>-decisions`.

RECORD = "graphline.record"
"""The record as text."""

SIGNATURE = "graphline.signature"
"""SSH signature of the record, where there is one."""

DONE = "graphline.done"
"""All that follows from the record was done."""
