"""The README's figures are those of bench/results."""

from pathlib import Path

from bench.report import with_accuracies


def test_the_readme_shows_the_kept_results():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert with_accuracies(readme) == readme
