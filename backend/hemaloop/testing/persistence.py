"""Laws of save, load and unload."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hemaloop.errors import StoreError
from hemaloop.testing.subject import LawBroken, Subject, demand, same

ALLOWED_SUFFIXES = {".safetensors", ".json"}


def check_saved_model_predicts_the_same(subject: Subject) -> None:
    """`load(save())` gives the same predictions to 1e-5, from safetensors and JSON alone."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        subject.fitted.save(directory)
        files = [path for path in directory.rglob("*") if path.is_file()]
        foreign = sorted(path.name for path in files if path.suffix not in ALLOWED_SUFFIXES)
        demand(
            bool(files) and not foreign, f"save wrote {foreign or 'nothing'}: only .safetensors and .json are allowed"
        )
        copy = subject.build(seed=1)
        copy.load(directory)
        pairs = zip(subject.fitted.predict(subject.images), copy.predict(subject.images), strict=True)
        demand(all(same(a, b) for a, b in pairs), "a loaded model predicts something else: save all of its state")


def check_foreign_labels_are_refused(subject: Subject) -> None:
    """A model of other labels does not load in silence."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        other = subject.plugin([f"other {label}" for label in subject.labels], subject.plugin.quick_options)
        try:
            other.load(Path(name))
        except StoreError:
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


def check_unload_frees(subject: Subject) -> None:
    """After `unload` the plugin is not fitted, and can be loaded again."""
    with tempfile.TemporaryDirectory() as name:
        subject.fitted.save(Path(name))
        plugin = subject.build()
        plugin.load(Path(name))
        plugin.unload()
        demand(not plugin.fitted, "after unload `fitted` must be False")
        plugin.load(Path(name))
        demand(plugin.fitted, "after unload the plugin must load again")
