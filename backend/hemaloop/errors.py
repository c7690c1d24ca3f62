"""Everything hemaloop raises on purpose.

    HemaloopError
    ├── SettingsError          a setting is missing or wrong; all faults at once
    ├── LabelConfigError       a labelling config that cannot be bound to a model
    ├── RequestError           a request body that is not what Label Studio sends
    ├── ImageError             one image cannot be had; the others can
    ├── AnnotationError        one annotation cannot be read as truth
    ├── DatasetError           a data set that nothing can be learned from
    ├── PluginError            a model family
    │   ├── PluginNotFound     no family of that name, or it failed to import
    │   ├── OptionError        an option is unknown, of the wrong type or out of range
    │   ├── NotFitted          predict before fit or load
    │   ├── TrainingDiverged   a loss that is not a finite number
    │   └── Cancelled          somebody asked the work to stop
    ├── StoreError             an artifact is missing, incomplete or of another kind
    ├── InferenceError         a prediction process ended or could not load a model
    ├── QueueError             Redis cannot be reached or holds something foreign
    └── LabelStudioError       Label Studio cannot be reached or refuses

A message says what was found, what was expected and what to do.
"""

from __future__ import annotations


class HemaloopError(Exception):
    """Base of every error that hemaloop raises on purpose."""


class SettingsError(HemaloopError):
    """Settings are missing or wrong; the message lists every fault."""


class LabelConfigError(HemaloopError):
    """A labelling config cannot be read or bound to a model family."""


class RequestError(HemaloopError):
    """A request body is not what Label Studio sends; becomes HTTP 400."""


class ImageError(HemaloopError):
    """One image cannot be fetched or decoded, or is not allowed."""


class AnnotationError(HemaloopError):
    """One annotation cannot be read as truth."""


class DatasetError(HemaloopError):
    """Nothing can be learned or measured from a data set."""


class PluginError(HemaloopError):
    """Base of the errors of a model family."""


class PluginNotFound(PluginError):
    """No model family of that name is installed, or it failed to import."""


class OptionError(PluginError):
    """An option is unknown, of the wrong type or out of range."""


class NotFitted(PluginError):
    """`predict` or `score` was called before `fit` or `load`."""


class TrainingDiverged(PluginError):
    """A training loss is not a finite number."""


class Cancelled(PluginError):
    """Somebody asked for the work to stop; raised by `Progress.report`."""


class StoreError(HemaloopError):
    """An artifact is missing, incomplete or of another kind."""


class InferenceError(HemaloopError):
    """A prediction process ended, or could not load the model."""


class QueueError(HemaloopError):
    """Redis cannot be reached, or holds something that hemaloop did not put there."""


class LabelStudioError(HemaloopError):
    """Label Studio cannot be reached or refuses what was asked."""
