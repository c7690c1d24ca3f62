"""Laws of save, load and unload."""

from __future__ import annotations

import gc
import json
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from hemaloop.errors import OptionError, StoreError
from hemaloop.testing.subject import LawBroken, Subject, demand, same

SMALL_BYTES = 1024
"""Arrays up to this size may stay after `unload`."""
_MOST_OBJECTS = 500_000


def check_saved_model_predicts_the_same(subject: Subject) -> None:
    """`load(save())` gives the same predictions to 1e-5."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        copy = subject.build(seed=1)
        copy.load(Path(name))
        pairs = zip(subject.fitted.predict(subject.images), copy.predict(subject.images), strict=True)
        demand(
            all(same(a, b) for a, b in pairs),
            "a loaded model predicts something else: save all of its state, thresholds and running means too",
        )


def _file_fault(path: Path) -> str:
    if path.suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return "is not JSON"
        return ""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                return ""
        except SafetensorError:
            return "is not safetensors"
    return "is neither safetensors nor JSON"


def check_saved_files_are_harmless(subject: Subject) -> None:
    """`save` writes safetensors and JSON alone: a pickle runs whatever its author wrote into it."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        demand(bool(files), "save wrote nothing: write the weights as .safetensors, everything else as .json")
        for path in files:
            fault = _file_fault(path)
            demand(not fault, f"save wrote {path.name}, which {fault}: use safetensors.torch.save_file and json.dumps")


def check_foreign_labels_are_refused(subject: Subject) -> None:
    """A model of other labels does not load in silence."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        try:
            subject.build(labels=[f"other {label}" for label in subject.labels]).load(Path(name))
        except (OptionError, StoreError):
            return
    raise LawBroken("a model of other labels was loaded: save the labels and raise StoreError where they differ")


def check_missing_files_are_named(subject: Subject) -> None:
    """Loading an empty directory raises StoreError."""
    with tempfile.TemporaryDirectory() as name:
        try:
            subject.build().load(Path(name))
        except StoreError:
            return
    raise LawBroken("loading an empty directory must raise StoreError that names the missing file")


def check_unload_forgets(subject: Subject) -> None:
    """After `unload` the plugin is not fitted, and can be loaded again."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        plugin = subject.build()
        plugin.load(Path(name))
        plugin.unload()
        demand(not plugin.fitted, "after unload `fitted` must be False: drop the model in unload")
        plugin.load(Path(name))
        demand(plugin.fitted, "after unload the plugin must load again: unload must not take more than load gives")


def _heavy(root: object) -> Iterator[Any]:
    """Arrays, tensors and networks that an object holds on to."""
    seen: set[int] = set()
    waiting: list[object] = [vars(root)]
    while waiting and len(seen) < _MOST_OBJECTS:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen.add(id(one))
        family = type(one).__module__.partition(".")[0]
        size = getattr(one, "nbytes", 0) if family in ("numpy", "torch") else 0
        if isinstance(size, int) and size > SMALL_BYTES:
            yield one
        waiting.extend(gc.get_referents(one))


def check_unload_frees_memory(subject: Subject) -> None:
    """No array or tensor that the plugin held is left once it was unloaded."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        plugin = subject.build()
        plugin.load(Path(name))
    plugin.predict([subject.images[0].copy()])  # an image that nobody else holds
    held = [weakref.ref(one) for one in _heavy(plugin)]
    plugin.unload()
    if plugin.fitted:
        return  # what is still to be used is still there; that it is, another law says
    gc.collect()
    left = [one for one in (reference() for reference in held) if one is not None]
    demand(
        not left,
        f"{len(left)} of {len(held)} arrays are in memory after unload ({sum(one.nbytes for one in left)} bytes): "
        "set every attribute that holds weights or features to None, and keep no cache outside the object",
    )
