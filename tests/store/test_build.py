"""From a source to its store."""

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.store.build import build_store, quarantine_path


def test_a_store_its_quarantine_and_nothing_else(tmp_path):
    rows = ["smiles,y", *(f"{'C' * n},{n}" for n in range(1, 21)), "C1CC,5"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    config = PrepareConfig(data="m.csv", target="y", processes=1)
    heard = []
    folder = tmp_path / "stores" / "one"
    store = build_store(config, find_source(config, tmp_path, tmp_path), folder, "sha", heard.append)
    assert sum(heard) == 21
    source = store.manifest["source"]
    assert (source["digest"], source["file"], source["id_column"]) == ("sha", "m.csv", "smiles")
    assert quarantine_path(folder) == tmp_path / "stores" / "one.quarantine.csv"
    assert "C1CC" in quarantine_path(folder).read_text()
    left = {path.name for path in folder.parent.iterdir() if not path.name.endswith(".checked")}
    assert left == {"one", "one.quarantine.csv"}
