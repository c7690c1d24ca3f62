"""A short version of the benchmark `endurance`: nothing is kept that grows with the work done."""

from __future__ import annotations

from pathlib import Path

from benchmarks.endurance import growth, predictions, trainings


def test_predictions_keep_neither_memory_nor_files(tmp_path: Path) -> None:
    for kept in predictions(tmp_path / "p", 600):
        assert growth(kept) < 0.05
        assert kept[1].files <= kept[0].files


def test_trainings_keep_neither_memory_nor_files(tmp_path: Path) -> None:
    kept = trainings(tmp_path / "t", 10)
    assert growth(kept) < 0.05
    assert kept[1].files <= kept[0].files
