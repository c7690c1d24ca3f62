"""torchvision without torch's compiler, which it imports to ask it one question that prediction never comes to.

The compiler takes 1.5 s and, with sympy and triton, 140 MB of every process that predicts. It is imported when it is
really needed: by that question, an optimizer, or `torch.compile`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_ASKS = "torchvision.ops.roi_align"
_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


@contextmanager
def _stand_in() -> Iterator[None]:
    """While the one module that asks is imported, a module that will ask the real one later."""
    package, module = (ModuleType(name) for name in _COMPILER)
    package.__path__ = []
    vars(module)["is_compile_supported"] = _is_compile_supported
    sys.modules.update(zip(_COMPILER, (package, module), strict=True))
    try:
        yield
    finally:
        for name in _COMPILER:
            sys.modules.pop(name, None)


class _Later(Loader):
    """Runs the module as its own loader would, beside the stand-in."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            with _stand_in():
                self._loader.exec_module(module)
        except ImportError:  # a torchvision that asks for more
            self._loader.exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _ASKS or _COMPILER[0] in sys.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


def leave_out() -> None:
    """From now on, once a process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
