"""Which model serves each project now: answered from memory, kept up to date in the background.

`/setup` and `/predict` ask here, several times a second; the store, which may be on another continent, is asked once a
project and second by a thread of its own. So a publication is in force everywhere within two seconds.

Which projects asked is kept in a file, so that a backend that starts again loads their models before anybody opens a
task.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hemaloop.background import Background
from hemaloop.errors import HemaloopError, LabelConfigError
from hemaloop.labelconfig import LabelConfig, parse_label_config
from hemaloop.projects import LiveModel, faults, live_model
from hemaloop.store import ArtifactStore

log = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
FORGET_SECONDS = 3600.0
_REMEMBERED = 50

Changed = Callable[[str, LabelConfig, LiveModel], None]
"""Told the project, its config and the model that now serves it."""


@dataclass(slots=True)
class _Entry:
    config: LabelConfig
    live: LiveModel
    asked: float
    fault: str = ""


class LiveModels(Background):
    """The live model of each project that somebody asked about lately, following what is published. Thread-safe."""

    def __init__(
        self,
        store: ArtifactStore,
        changed: Changed = lambda *_: None,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        memory: Path | None = None,
        recall: int = 4,
    ) -> None:
        """changed: called for a project's first model and for each later one.

        memory: file in which the projects are kept, none if None. recall: how many of them are asked for at the start.
        """
        super().__init__("live-models")
        self._store = store
        self._memory = memory
        self._recall_count = recall
        self._changed = changed
        self._refresh_seconds = refresh_seconds
        # By the whole config: two configs that a trained model cannot tell apart may differ in their starter.
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def of(self, project: str, config: LabelConfig) -> LiveModel:
        """The project's model. Raises `HemaloopError` where the config cannot be served or the store not be read."""
        key = (project, config.xml)
        now = time.monotonic()
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.asked = now
                return entry.live
        # A wrong option is found here, at the connection, rather than by the first annotator.
        if found := faults(config):
            raise LabelConfigError("labelling config: " + "; ".join(found))
        live = live_model(project, config, self._store, self._store.published(project))
        with self._lock:
            self._entries[key] = _Entry(config, live, now)
        self._remember()
        self._changed(project, config, live)
        return live

    def forget(self, project: str) -> None:
        """Ask the store anew when somebody asks about the project again."""
        with self._lock:
            for key in [key for key in self._entries if key[0] == project]:
                del self._entries[key]
        self._remember()

    def projects(self) -> list[str]:
        """Projects that somebody asked about lately."""
        with self._lock:
            return sorted({project for project, _ in self._entries})

    def current(self) -> list[tuple[str, str]]:
        """The live version of each project that somebody asked about lately."""
        with self._lock:
            return sorted({(project, entry.live.version) for (project, _), entry in self._entries.items()})

    def versions(self) -> list[str]:
        """Live versions, those asked about last first."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: -entry.asked)
        return list(dict.fromkeys(entry.live.version for entry in entries))

    def refresh(self) -> None:
        """Look at the store once for every project. What cannot be read leaves the model that serves as it is."""
        with self._lock:
            entries = list(self._entries.items())
        for (project, xml), entry in entries:
            if time.monotonic() - entry.asked > FORGET_SECONDS:
                with self._lock:
                    self._entries.pop((project, xml), None)
                continue
            self._refresh_one(project, entry)

    def _refresh_one(self, project: str, entry: _Entry) -> None:
        try:
            live = live_model(project, entry.config, self._store, self._store.published(project))
        except (HemaloopError, OSError) as error:
            if str(error) != entry.fault:
                log.warning("project %s keeps version %s: %s", project, entry.live.version, error)
            entry.fault = str(error)
            return
        entry.fault = ""
        if live != entry.live:
            log.info("project %s: %s now serves instead of %s", project, live.version, entry.live.version)
            entry.live = live
            self._changed(project, entry.config, live)

    def _remember(self) -> None:
        if self._memory is None:
            return
        with self._lock:
            known = sorted(self._entries.items(), key=lambda item: -item[1].asked)
        text = json.dumps([list(key) for key, _ in known][:_REMEMBERED])
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            partial = self._memory.with_name(f".{self._memory.name}.{uuid.uuid4().hex}")
            partial.write_text(text)
            partial.replace(self._memory)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._memory, error)

    def _recall(self) -> None:
        """Ask for the projects of the last time; a file that says nothing is no reason to stop."""
        try:
            known = json.loads(self._memory.read_text()) if self._memory is not None else []
            for project, xml in known[: self._recall_count]:
                self.of(project, parse_label_config(xml))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, HemaloopError) as error:
            log.warning("the projects of the last time: %s", error)

    def _end(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        self._recall()
        while not self._stop.wait(self._refresh_seconds):
            self.refresh()
