"""Laws of what a family says about itself before anything is learned."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

from hemaloop.errors import NotFitted, OptionError
from hemaloop.plugin import Classification, ClassMap, Detections, PluginOptions
from hemaloop.testing.subject import LawBroken, Subject, demand

MOST_SECONDS = 0.1
"""Of processor time that a constructor may take."""
_CODE = {".py", ".pyc", ".pyd", ".so", ".dll"}
_watched = threading.local()


def check_is_described(subject: Subject) -> None:
    """Family, version, description and options can be shown to a person without building a model."""
    plugin = subject.plugin
    for name in ("family", "version", "description"):
        demand(
            isinstance(getattr(plugin, name, None), str) and bool(getattr(plugin, name)),
            f"{plugin.__name__}.{name} is missing: set a text as class attribute",
        )
    demand(
        getattr(plugin, "produces", None) in (Detections, ClassMap, Classification),
        f"{plugin.__name__}.produces must be one of Detections, ClassMap, Classification",
    )
    for name, field in plugin.Options.model_fields.items():
        demand(bool(field.description), f"option {name!r} has no description: declare it with hemaloop.plugin.option")


@cache
def _import_fault(module: str) -> str:
    """What a fresh interpreter says that imports the module: nothing, where all is well."""
    code = f"import {module}, sys; sys.exit('imports torch' if 'torch' in sys.modules else 0)"
    # Only the import path is handed on: the child must find what this process finds.
    done = subprocess.run(  # noqa: S603 - our own interpreter, code built from a module name
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], capture_output=True, check=False
    )
    return done.stderr.decode()[-300:].strip() if done.returncode else ""


def check_import_is_light(subject: Subject) -> None:
    """Importing the family does not import torch, so that serving and listing stay quick."""
    module = subject.plugin.__module__
    fault = _import_fault(module)
    demand(
        not fault,
        f"importing {module}: {fault}; import torch inside methods, or in modules that the package's __init__ does not "
        "import",
    )


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    opened = getattr(_watched, "opened", None)
    if opened is not None and event == "open" and isinstance(arguments[0], str | bytes):
        path = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode(errors="replace")
        if Path(path).suffix not in _CODE:
            opened.append(path)


@cache
def _listen() -> None:
    """Once a process: an audit hook cannot be taken away."""
    sys.addaudithook(_note_opened)


def check_constructor_is_cheap(subject: Subject) -> None:
    """Constructing builds no model, reads no file and does not import torch: the backend does it to check options."""
    subject.build()  # imports that a first call needs are no fault
    before, seconds = "torch" in sys.modules, []
    opened: list[str] = []
    _listen()
    _watched.opened = opened
    try:
        for _ in range(3):
            began = time.thread_time()
            subject.build()
            seconds.append(time.thread_time() - began)
    finally:
        _watched.opened = None
    demand(not opened, f"the constructor reads {opened[:1]}: read files in fit, load or predict")
    demand(
        min(seconds) < MOST_SECONDS and before == ("torch" in sys.modules),
        f"the constructor takes {min(seconds):.2f} s: keep its arguments, and build the model in fit or load",
    )


def check_options_are_validated(subject: Subject) -> None:
    """An unknown option is refused with the names of the known ones."""
    demand(issubclass(subject.plugin.Options, PluginOptions), "Options must derive from hemaloop.plugin.PluginOptions")
    try:
        subject.plugin(subject.labels, {"no_such_option": 1})
    except OptionError as error:
        demand("no_such_option" in str(error), "the OptionError must name the option that was refused")
    else:
        raise LawBroken(
            "an unknown option was accepted: keep extra='forbid' of PluginOptions and call super().__init__"
        )


def check_options_may_be_text(subject: Subject) -> None:
    """Each default, written as text as a labelling config has it, means the same."""
    for name, value in subject.plugin.parse_options(None):
        if not isinstance(value, bool | int | float | str):
            continue
        try:
            read = getattr(subject.plugin.parse_options({name: str(value)}), name)
        except OptionError as error:
            raise LawBroken(
                f"option {name!r}: {value!r} is refused as text ({error}): labelling configs hold nothing but text, so "
                "declare a type that pydantic reads from it, without strict=True"
            ) from None
        demand(
            read == value,
            f"option {name!r}: {value!r} written as text is read as {read!r}: declare the type that it has, such as "
            "int or bool, not Any",
        )


def check_labels_are_validated(subject: Subject) -> None:
    """No label, or the same one twice, is refused."""
    for labels in ((), ("RBC", "RBC")):
        try:
            subject.plugin(labels)
        except OptionError:
            continue
        raise LawBroken(f"labels {labels} were accepted: call super().__init__ in __init__")


def check_presets_are_valid(subject: Subject) -> None:
    """Every preset's options parse, its labels are accepted, and its starter weights load."""
    for name, preset in subject.plugin.presets.items():
        plugin = subject.plugin(preset.labels, preset.options)
        demand(bool(preset.description), f"preset {name!r} has no description: say in one line what it is for")
        if preset.starter is not None:
            demand(
                preset.starter.is_dir(),
                f"preset {name!r} names starter {preset.starter}, which is no directory: ship it in the package",
            )
            plugin.load(preset.starter)
            demand(plugin.fitted, f"preset {name!r}: after loading its starter the plugin must be fitted")


def check_unfitted_is_refused(subject: Subject) -> None:
    """Before fit or load, predict and score say what to do instead of guessing."""
    plugin = subject.build()
    demand(not plugin.fitted, "`fitted` must be False before fit or load")
    for method in (plugin.predict, plugin.score):
        try:
            method(subject.images[:1])
        except NotFitted as error:
            demand("fit" in str(error) or "load" in str(error), "the NotFitted message must name the remedy")
        else:
            raise LawBroken("predict and score must raise NotFitted before fit or load")
