"""Laws of what a family says about itself before anything is learned."""

from __future__ import annotations

import subprocess
import sys

from hemaloop.errors import NotFitted, OptionError
from hemaloop.plugin import Classification, ClassMap, Detections, PluginOptions
from hemaloop.testing.subject import LawBroken, Subject, demand


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


def check_import_is_light(subject: Subject) -> None:
    """Importing the family does not import torch, so that serving and listing stay quick."""
    code = f"import sys, {subject.plugin.__module__}; sys.exit('torch' in sys.modules)"
    # Only the import path is handed on: the child must find what this process finds.
    done = subprocess.run(  # noqa: S603 - our own interpreter, code built from a module name
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"], capture_output=True, check=False
    )
    demand(
        done.returncode == 0,
        f"importing {subject.plugin.__module__} imports torch or fails ({done.stderr.decode()[-300:].strip()}): "
        "import torch inside methods, or in modules that the package's __init__ does not import",
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
        demand(bool(preset.description), f"preset {name!r} has no description")
        if preset.starter is not None:
            demand(preset.starter.is_dir(), f"preset {name!r} names starter {preset.starter}, which is no directory")
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
