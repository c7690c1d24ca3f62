"""Laws of binding: which plugin a control gets, which version is live, what a manager is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stub_plugin
from hemaloop import projects
from hemaloop.errors import LabelConfigError, OptionError, PluginNotFound, StoreError
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.plugin import Detections, Example, Silent
from hemaloop.projects import LiveModel
from hemaloop.store import ArtifactStore, Manifest, Published

PROJECT = "1.1700000000"
IMAGE = '<Image name="image" value="$image"/>'
NAMES = '<Label value="red"/><Label value="green"/><Label value="blue"/>'


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_plugin.install(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path.as_uri())


def config(
    labels: str = NAMES, attributes: str = 'model_preset="blobs"', names: tuple[str, ...] = ("cells",)
) -> LabelConfig:
    tags = "".join(
        f'<RectangleLabels name="{name}" toName="image" model_family="stub" {attributes}>{labels}</RectangleLabels>'
        for name in names
    )
    return parse_label_config(f"<View>{IMAGE}{tags}</View>")


def train(store: ArtifactStore, found: LabelConfig, control: str = "cells") -> str:
    """Fit the stub on one image and store it."""
    plugin = projects.build_plugin(found.control(control))
    image = stub_plugin.draw([(2, 2, 10, 11, "red"), (20, 2, 28, 11, "green")])
    truth = Detections.truth([[2, 2, 10, 11], [20, 2, 28, 11]], [0, min(1, len(plugin.labels) - 1)])
    plugin.fit([Example(image, truth, "k")], [], Silent())
    manifest = Manifest("stub", "1", plugin.labels, plugin.options.model_dump())
    return store.put(PROJECT, control, plugin, manifest)


def serving(project: str, found: LabelConfig, store: ArtifactStore) -> LiveModel:
    """What serves a project under the publication in force."""
    return projects.live_model(project, found, store, store.published(project))


def test_a_new_project_is_served_by_the_starter(store: ArtifactStore) -> None:
    live = serving(PROJECT, config(), store)
    assert live.version == "stub-blobs-starter-1"
    assert live.ready
    plugin = projects.load_part(live.parts["cells"], config().control("cells"))
    assert plugin.fitted


def test_a_starter_keeps_its_own_labels_in_its_own_order(store: ArtifactStore) -> None:
    found = config('<Label value="Blue one" model_label="blue"/><Label value="red"/>')
    part = serving(PROJECT, found, store).parts["cells"]
    assert part.labels == ("red", "green", "blue")
    assert projects.load_part(part, found.control("cells")).fitted


@pytest.mark.parametrize(
    ("labels", "attributes"),
    [
        (NAMES, 'model_preset="blobs" model_starter="none"'),
        (NAMES, 'model_preset="bare"'),
        (NAMES, ""),
        ('<Label value="red"/><Label value="purple"/>', 'model_preset="blobs"'),
    ],
)
def test_without_a_starter_that_knows_every_label_nothing_is_shown(
    store: ArtifactStore, labels: str, attributes: str
) -> None:
    found = config(labels, attributes)
    live = serving(PROJECT, found, store)
    assert live.version == "stub-untrained"
    assert not live.ready
    assert live.parts["cells"].directory is None
    assert not projects.load_part(live.parts["cells"], found.control("cells")).fitted


def test_what_is_published_is_live_and_what_is_only_stored_is_not(store: ArtifactStore) -> None:
    version = train(store, config())
    assert serving(PROJECT, config(), store).version == "stub-blobs-starter-1"
    store.publish(PROJECT, Published(version, {"cells": version}))
    live = serving(PROJECT, config(), store)
    assert live.version == version
    plugin = projects.load_part(live.parts["cells"], config().control("cells"))
    (prediction,) = plugin.predict([stub_plugin.draw([(2, 2, 10, 11, "red")])])
    assert isinstance(prediction, Detections)
    assert plugin.labels[int(prediction.labels[0])] == "red"
    other = serving("2.1700000000", config(), store)
    assert other.version == "stub-blobs-starter-1", "another project is served by its own"


def test_a_project_of_two_controls_has_the_version_of_both(store: ArtifactStore) -> None:
    found = config(names=("a", "b"))
    assert serving(PROJECT, found, store).version == "stub-blobs-starter-1+stub-blobs-starter-1"
    version = train(store, found, "b")
    composed = f"stub-blobs-starter-1+{version}"
    store.publish(PROJECT, Published(composed, {"a": "stub-blobs-starter-1", "b": version}))
    live = serving(PROJECT, found, store)
    assert live.version == composed
    assert [part.version for part in live.parts.values()] == ["stub-blobs-starter-1", version]


def test_a_control_bound_after_the_publication_starts_with_its_starter(store: ArtifactStore) -> None:
    version = train(store, config(names=("a",)), "a")
    store.publish(PROJECT, Published(version, {"a": version}))
    live = serving(PROJECT, config(names=("a", "b")), store)
    assert live.version == f"{version}+stub-blobs-starter-1"


def test_a_publication_outlives_a_change_of_labels_as_long_as_it_knows_one(store: ArtifactStore) -> None:
    version = train(store, config())
    store.publish(PROJECT, Published(version, {"cells": version}))
    renamed = config('<Label value="Rot" model_label="red"/><Label value="purple"/>')
    assert serving(PROJECT, renamed, store).parts["cells"].labels == ("red", "green", "blue")
    foreign = config('<Label value="purple"/>')
    assert serving(PROJECT, foreign, store).version == "stub-untrained"


def test_a_publication_of_another_family_is_not_served(store: ArtifactStore) -> None:
    store.publish(PROJECT, Published("other-0001-abcdef", {"cells": "other-0001-abcdef"}))
    assert serving(PROJECT, config(), store).version == "stub-blobs-starter-1"


def test_a_published_version_that_the_store_does_not_hold_is_told(store: ArtifactStore) -> None:
    store.publish(PROJECT, Published("stub-0001-abcdef", {"cells": "stub-0001-abcdef"}))
    with pytest.raises(StoreError, match="stub-0001-abcdef"):
        serving(PROJECT, config(), store)


def test_a_changed_option_counts_at_once_where_the_weights_allow_it(store: ArtifactStore) -> None:
    version = train(store, config())
    store.publish(PROJECT, Published(version, {"cells": version}))
    changed = config(attributes='model_preset="blobs" model_option_threshold="250"')
    part = serving(PROJECT, changed, store).parts["cells"]
    plugin = projects.load_part(part, changed.control("cells"))
    (prediction,) = plugin.predict([stub_plugin.draw([(2, 2, 10, 11, "red")])])
    assert isinstance(prediction, Detections)
    assert len(prediction) == 0


def test_a_plugin_gets_the_model_labels_and_the_options_of_preset_and_control() -> None:
    found = config('<Label value="Rot" model_label="red"/>', 'model_option_threshold="99"')
    plugin = projects.build_plugin(found.control("cells"), seed=5)
    assert (plugin.labels, plugin.seed, plugin.fitted) == (("red",), 5, False)
    assert plugin.options.model_dump()["threshold"] == 99


def test_an_unbound_control_has_no_plugin() -> None:
    found = parse_label_config(f'<View>{IMAGE}<Choices name="c" toName="image"><Choice value="a"/></Choices></View>')
    with pytest.raises(LabelConfigError, match=r"'c': not bound to a model"):
        projects.build_plugin(found.controls[0])


@pytest.mark.parametrize(
    ("xml", "kind", "expected"),
    [
        (
            stub_plugin.config().replace('model_family="stub"', 'model_family="nosuch"'),
            PluginNotFound,
            r"'nosuch': none of that name is installed; installed: .*stub",
        ),
        (stub_plugin.config(preset="nosuch"), LabelConfigError, r"model_preset='nosuch' is unknown.*'blobs', 'bare'"),
        (stub_plugin.config(thresh=3), OptionError, r"thresh: found '3'.*Known options: threshold"),
        (stub_plugin.config(threshold="high"), OptionError, r"threshold: found 'high'"),
        (stub_plugin.config(threshold=999, epochs=0), OptionError, r"threshold.*epochs"),
        (
            stub_plugin.config().replace("RectangleLabels", "BrushLabels"),
            LabelConfigError,
            r"holds brushlabels, but model family 'stub' gives rectanglelabels",
        ),
    ],
)
def test_a_binding_that_cannot_be_served_says_why(xml: str, kind: type[Exception], expected: str) -> None:
    found = parse_label_config(xml)
    with pytest.raises(kind, match=expected):
        projects.build_plugin(found.bound[0])
    (fault,) = projects.faults(found)
    assert fault


def test_a_good_binding_has_no_faults_and_no_notes() -> None:
    assert projects.faults(config()) == []
    assert projects.notes(config()) == []


def test_labels_without_a_counterpart_are_told_with_the_remedy() -> None:
    found = config('<Label value="Red cell"/><Label value="green"/><Label value="Dirt" model_label=""/>')
    left_out, unknown = projects.notes(found)
    assert "does not learn 'Dirt'" in left_out
    assert "'Red cell' has no counterpart among the labels of preset 'blobs' ('red', 'green', 'blue')" in unknown
    assert 'model_label="RBC"' in unknown


def test_a_project_that_asks_for_no_starter_is_not_told_about_its_labels() -> None:
    assert projects.notes(config('<Label value="purple"/>', 'model_preset="blobs" model_starter="none"')) == []


def test_the_shipped_cbc_config_can_be_served() -> None:
    xml = (Path(__file__).parents[2] / "labeling_configs" / "cbc.xml").read_text()
    found = parse_label_config(xml)
    assert projects.faults(found) == []
    assert projects.notes(found) == []
    plugin = projects.build_plugin(found.control("cells"))
    assert plugin.labels == ("RBC", "WBC", "Platelets")
    assert np.array_equal(plugin.labels, type(plugin).presets["cbc"].labels)
