"""The catalogue of the int8 benchmark: one entry for each way, all of the same weights."""

from pathlib import Path

from benchmarks.int8 import write_catalog
from webapp.catalog import read_catalog


def test_each_way_is_an_entry_of_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()

    entries = read_catalog(write_catalog(tmp_path, tmp_path)).entries

    assert [entry.outlier_threshold for entry in entries] == [None, 0.0, 6.0]
    assert {(entry.precision, entry.weights_path()) for entry in entries} == {("int8", tmp_path)}
