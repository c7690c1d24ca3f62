"""Inside a smear: boxes from the detector, ALL or HEM for each white cell from the ensemble, in one request."""

from __future__ import annotations

from pathlib import Path

import web_stage
from cells_pictures import examples
from hemaloop import results
from hemaloop.labelconfig import parse_label_config
from hemaloop.plugin import Silent
from hemaloop.project_setup import shipped_config
from hemaloop.projects import LiveModel, Part, build_plugin, starter_part
from hemaloop.scoring import Scorer, TaskRef
from real_smears import CBC, needs_cbc

QUICK = {"backbone": "resnet10t", "image_size": 32, "hidden": 32, "epochs": 1}


@needs_cbc
def test_each_white_cell_of_a_real_smear_is_told_beside_its_box(tmp_path: Path) -> None:
    config = parse_label_config(shipped_config("all_hem_smear"))
    diagnosis = config.control("diagnosis")
    built = build_plugin(diagnosis)
    ensemble = type(built)(diagnosis.model_labels, QUICK)
    ensemble.fit(examples(6), [], Silent())
    (tmp_path / "ensemble").mkdir()
    ensemble.save(tmp_path / "ensemble")
    trained = Part("diagnosis", "leukemia_ensemble-1", tmp_path / "ensemble", diagnosis.model_labels)
    live = LiveModel("v", {"cells": starter_part(config.control("cells")), "diagnosis": trained})
    name = "BloodImage_00339.jpg"
    (tmp_path / name).write_bytes((CBC / "Testing" / "Images" / name).read_bytes())
    scorer = Scorer(web_stage.settings(tmp_path))
    (one,) = scorer.score(web_stage.PROJECT, config, live, [TaskRef(1, {"image": str(tmp_path / name)})])
    assert one.error is None, one.error
    assert one.prediction is not None
    assert results.validate(one.prediction, config) == []
    found = one.prediction["result"]
    white = {box["id"] for box in found if box["value"].get("rectanglelabels") == ["WBC"]}
    said = {choice["id"]: choice["value"]["choices"][0] for choice in found if choice["from_name"] == "diagnosis"}
    assert white
    assert set(said) == white
    assert set(said.values()) <= {"ALL", "HEM"}
