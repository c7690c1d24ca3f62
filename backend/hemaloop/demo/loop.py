"""The loop without a person: annotate, train, promote, order, publish, again; each step seen in Label Studio."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from hemaloop.client import Json, ProjectInfo
from hemaloop.demo.project import drawn, find_or_create, label_config, loop_title
from hemaloop.demo.report import NotSeen, Report, Step, telling
from hemaloop.demo.smears import Collection
from hemaloop.demo.stack import Stack
from hemaloop.labelconfig import parse_label_config
from hemaloop.project_setup import set_up
from hemaloop.store import ArtifactStore, Manifest

PRESET = "cbc_quick"
"""Small enough for a few minutes; it starts from nothing, because the shipped weights may have seen the images."""
ORDERED_QUEUE = "Active learning"
"""How Label Studio names the queue of uncertainty sampling in `next`."""
LEAD_TIME = 12.0
"""Seconds that a person would have spent on a task; an annotation without is one that nobody looked at."""


class Loop:
    """Two rounds on a new project. The rounds take two fifths of the images each; the rest is the pool at the end."""

    def __init__(
        self,
        stack: Stack,
        collection: Collection,
        report: Report,
        *,
        xml: str | None = None,
        train_seconds: float = 1800.0,
    ) -> None:
        self._stack, self._studio, self._report = stack, stack.studio, report
        self.size = max(len(collection.with_truth) * 2 // 5, 1)
        self._collection = Collection(collection.title, collection.folder, collection.with_truth, collection.notes)
        self._xml = xml or label_config(
            model_preset=PRESET, model_starter="none", model_min_new_annotations=str(self.size)
        )
        self._control = parse_label_config(self._xml).require_bound()[0]
        self._store = ArtifactStore(stack.settings.artifacts)
        self._train_seconds = train_seconds
        self._held: int | None = None  # handed out and not annotated yet: Label Studio keeps it for us ("Task lock")
        self.project: ProjectInfo

    def run(self) -> None:
        """Every step in order; the first that is not seen raises `NotSeen`."""
        with self._report.step("project set up") as step:
            self._set_up(step)
        for number in (1, 2):
            self._round(number)

    def _set_up(self, step: Step) -> None:
        title = loop_title(self._collection)
        self.project, self._smears = find_or_create(self._stack, self._collection, self._xml, title)
        connected = set_up(self._studio, self._stack.settings, self.project.id)
        again = set_up(self._studio, self._stack.settings, self.project.id)
        if again.changes:
            raise NotSeen(f"setting up twice changed something: {', '.join(again.changes)}")
        step.saw(f"project {self.project.id}: {self.project.task_number} tasks, {connected.version!r}, no weights yet")
        step.saw("; ".join(connected.changes))

    def _round(self, number: int) -> None:
        name = f"round {number}: "
        before = set(self._versions())
        with self._report.step(name + "annotations submitted through next") as step:
            self._annotate(step, self.size, ordered=number > 1)
        with self._report.step(name + "webhook, one debounced training, evaluation") as step:
            manifest = self._trained(step, before)
        with self._report.step(name + "promotion") as step:
            promoted = self._promoted(step, manifest, must=number == 1)
        with self._report.step(name + "published: pool pre-annotated, priorities pushed") as step:
            self._published(step, manifest.version if promoted else self._live())
        with self._report.step(name + "the next task is the most relevant one and opens with its boxes") as step:
            self._next(step)

    # Steps ----------------------------------------------------------------------------------------------------------

    def _annotate(self, step: Step, size: int, *, ordered: bool) -> None:
        """What a person does: take the next task, draw, submit. In order, each one must be the most relevant left."""
        already = self._annotated()
        for count in range(size):
            self._stack.check()
            lowest = self._studio.queue_head(self.project.id, 1) if ordered else []
            task = self._studio.next_task(self.project.id)
            if task is None:
                raise NotSeen(f"Label Studio hands out no task after {count} of {size}")
            if ordered:
                self._is_lowest(task, lowest)
            self._studio.submit_annotation(
                task["id"], drawn(self._smears[task["id"]], self._control), lead_time=LEAD_TIME
            )
        found = self._annotated()
        if found != already + size:
            raise NotSeen(f"found {found} annotated tasks in Label Studio, expected {already + size}")
        step.saw(f"{size} submitted, {found} annotated tasks in Label Studio")
        if ordered:
            step.saw(f"each of the {size} was the most relevant one left when it was handed out")

    def _trained(self, step: Step, before: set[str]) -> Manifest:
        jobs: set[str] = set()

        def new() -> list[str]:
            for job in self._stack.queues.running(self.project.key):
                if job["kind"] == "train":
                    jobs.add(job["id"])
            self._raise_failed(jobs)
            return [version for version in self._versions() if version not in before]

        def trained_or_waits() -> bool:
            return bool(new()) or bool(self._waits(jobs))

        self._wait(trained_or_waits, self._train_seconds, lambda: f"training {self._progress(jobs)}")
        while not new():
            # Too few gate images among them: annotating on brings more, as the message to people says. One at a time,
            # because the next look may start a training while others are still being submitted.
            step.saw(f"no training yet: {self._waits(jobs)}")
            jobs.clear()
            self._require_open()
            self._annotate(step, 1, ordered=False)
            self._wait(trained_or_waits, self._train_seconds, lambda: f"training {self._progress(jobs)}")
        versions = new()
        if len(versions) != 1:
            raise NotSeen(f"found {len(versions)} trainings ({', '.join(versions)}), expected one")
        manifest = self._store.manifest(self.project.key, self._control.name, versions[0])
        expected = self._annotated()
        if len(manifest.annotations) != expected:
            raise NotSeen(f"the training used {len(manifest.annotations)} annotations, expected all {expected}")
        step.saw(
            f"{manifest.version}: all {expected} annotations; {len(manifest.train)} train, {len(manifest.tune)} tune, "
            f"{len(manifest.gate)} gate images; {manifest.seconds:.0f} s"
        )
        step.saw("on the gate: " + _figures(manifest.figures))
        return manifest

    def _promoted(self, step: Step, manifest: Manifest, *, must: bool) -> bool:
        """Whether the candidate won. A later one may lose: then the model before must stay, which is seen as well."""

        def decided() -> Manifest:
            return self._store.manifest(self.project.key, self._control.name, manifest.version)

        self._wait(lambda: bool(decided().verdict), 300.0, lambda: "verdict")
        verdict = decided()
        if must and not verdict.promoted:
            raise NotSeen(f"{manifest.version} was not promoted: {verdict.verdict}")
        step.saw(f"{'promoted' if verdict.promoted else 'kept the model before'}: {verdict.verdict}")
        return verdict.promoted

    def _published(self, step: Step, version: str) -> None:
        def seen() -> bool:
            backend = self._studio.backend(self.project.id) or {}
            info = self._studio.project(self.project.id)
            return backend.get("title") == version == info.model_version and not self._busy()

        self._wait(seen, 600.0, lambda: f"publication {self._progress(set())}")
        open_tasks = [
            task["id"] for task in self._studio.tasks(self.project.id, only="unannotated", with_annotations=False)
        ]
        with_boxes = 0
        for task_id in open_tasks:
            mine = [p for p in self._studio.task(task_id)["predictions"] if p["model_version"] == version]
            if len(mine) != 1 or not 0 <= (mine[0]["score"] or 0) <= 1:
                raise NotSeen(f"task {task_id} has {len(mine)} predictions of {version!r}, expected one with a score")
            with_boxes += bool(mine[0]["result"])
        if not with_boxes:
            raise NotSeen(f"none of the {len(open_tasks)} open tasks has a box of {version!r}")
        step.saw(f"backend, project and predictions say {version!r}")
        step.saw(f"{len(open_tasks)} open tasks have one prediction each, {with_boxes} with boxes")

    def _next(self, step: Step) -> None:
        lowest = self._studio.queue_head(self.project.id, 3)
        task = self._studio.next_task(self.project.id)
        if task is None:
            raise NotSeen("Label Studio hands out no task")
        self._is_lowest(task, lowest)
        version = self._live()
        mine = [p for p in self._studio.task(task["id"])["predictions"] if p["model_version"] == version]
        if not mine or not mine[0]["result"]:
            raise NotSeen(f"task {task['id']} opens without boxes of {version!r}")
        self._held = task["id"]
        step.saw(
            f"task {task['id']}, score {lowest[0][1]:.4f}, then {', '.join(f'{score:.4f}' for _, score in lowest[1:])}"
        )
        boxes = {region["id"] for region in mine[0]["result"]}  # a mark shares the id of its box
        step.saw(f"it opens with {len(boxes)} boxes")

    # Looking --------------------------------------------------------------------------------------------------------

    def _is_lowest(self, task: Json, lowest: list[tuple[int, float]]) -> None:
        if ORDERED_QUEUE not in task["queue"] and task["id"] != self._held:
            raise NotSeen(f"Label Studio chose task {task['id']} from its {task['queue']!r}, not by score")
        equal = [task_id for task_id, score in lowest if score == lowest[0][1]]
        if task["id"] not in equal:
            raise NotSeen(f"Label Studio handed out task {task['id']}; the most relevant one is {lowest[0]}")

    def _annotated(self) -> int:
        return sum(1 for _ in self._studio.tasks(self.project.id, only="annotated", with_annotations=False))

    def _require_open(self) -> None:
        if next(self._studio.tasks(self.project.id, only="unannotated", with_annotations=False), None) is None:
            raise NotSeen("every task is annotated and still no training was due")

    def _waits(self, jobs: set[str]) -> str:
        """Why the looks that are over started no training, where all of them are over."""
        looks = [self._stack.queues.job_status(job) for job in jobs]
        if not looks or any(look["status"] != "finished" for look in looks):
            return ""
        controls = [one for look in looks for one in (look.get("result") or {}).get("controls", {}).values()]
        return "; ".join(sorted({str(one.get("why")) for one in controls if one.get("state") == "waits"}))

    def _live(self) -> str:
        return self._studio.project(self.project.id).model_version or ""

    def _versions(self) -> list[str]:
        return list(self._store.versions(self.project.key, self._control.name)) if hasattr(self, "project") else []

    def _busy(self) -> bool:
        return bool(self._stack.queues.running(self.project.key))

    def _progress(self, jobs: set[str]) -> str:
        shown = [*self._stack.queues.running(self.project.key), *map(self._stack.queues.job_status, jobs)]
        for job in shown:
            progress: Mapping[str, Any] = job.get("progress") or {}
            if job["status"] == "started" and progress.get("total"):
                return f"{progress['message']}, {100 * progress['done'] / progress['total']:.0f} %"
        return ", ".join(sorted({f"{job['kind']} {job['status']}" for job in shown}))

    def _raise_failed(self, jobs: set[str]) -> None:
        for job in map(self._stack.queues.job_status, jobs):
            if job["status"] == "failed" and not job.get("retries_left"):
                raise NotSeen(f"the training failed: {job['error']}")

    def _wait(self, seen: Callable[[], bool], seconds: float, doing: Callable[[], str]) -> None:
        """Until it is seen. Raises `NotSeen` after that many seconds."""
        began = time.monotonic()
        with telling(self._report.console, "waiting") as tell:
            while not seen():
                self._stack.check()
                waited = time.monotonic() - began
                if waited > seconds:
                    raise NotSeen(f"not seen within {seconds:.0f} s: {doing()}")
                tell(f"{doing()} [dim]{waited:.0f} s[/]")
                time.sleep(1.0)


def _figures(figures: Mapping[str, float]) -> str:
    shown = {name: value for name, value in sorted(figures.items()) if not name.startswith(("count_", "paper_ap"))}
    return ", ".join(f"{name} {value:.3f}" for name, value in shown.items()) or "nothing measured"
