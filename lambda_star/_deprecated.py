"""Names of release 0.1 that work for one more release, each with a warning that says the new name.

The tables below are all there is to keep: the release after the next deletes this file and what it is called from.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MODULES: dict[str, tuple[str, ...]] = {
    "inverse": ("bernoulli",),
    "io": ("calibration.readers", "calibration.table"),
    "resolution": ("calibration.readings",),
    "locked": ("cliff.record",),
    "torch.experiment": ("cliff.run", "cliff.presets"),
    "torch.lists": ("cliff.task",),
    "torch.tiny": ("cliff.model",),
    "torch.problems": ("torch.models",),
    "symbolic.domain": ("symbolic.assumptions",),
    "symbolic.categorical_bounds": ("symbolic.categorical",),
    "symbolic.categorical_parts": ("symbolic.categorical",),
    "symbolic.categorical_student": ("symbolic.categorical",),
    "symbolic.dynamics_clipped": ("symbolic.dynamics",),
}
"""Modules that moved, and where their names are now."""

NAMES: dict[str, dict[str, str]] = {
    "": {
        name: f"bernoulli.{name}"
        for name in (
            "Regime",
            "Sensitivity",
            "cliff_width",
            "excess",
            "flip_point_from_logits",
            "sensitivity",
            "stationary_student",
            "threshold_from_logits",
            "two_sided_threshold",
        )
    },
    "categorical": {"with_rest": "with_unlisted"},
    "dynamics": {"budget_for": "steps_to_edge"},
    "calibration.readings": {"Resolution": "Reading", "resolve": "readings"},
    "calibration": {"Position": "calibration.report.Place"},
    "symbolic.assumptions": {"Domain": "Assumptions"},
    "lint": {name: f"lint.bounds.{name}" for name in ("BOUNDS", "NEEDS", "Bound")},
    "plotting": {"plot_resolutions": "plot_readings"},
}
"""Names that changed, by the module they were imported from ("" is the door); a dotted name is another module's."""


def _warn(old: str, new: str) -> None:
    """Warn the caller of this package, however deep in it the old name is looked up."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back and frame.f_back.f_globals.get("__name__", "").startswith("lambda_star"):
        frame, depth = frame.f_back, depth + 1
    message = f"{old} is called {new} from release 0.2 on; the old name goes with release 0.3"
    warnings.warn(message, DeprecationWarning, stacklevel=depth + 1)


def renamed(module: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module whose names have changed."""
    names = NAMES[module.removeprefix("lambda_star").lstrip(".")]

    def lookup(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        home = f"lambda_star.{home}" if home else module
        _warn(f"{module}.{name}", f"{home}.{new}")
        return getattr(import_module(home), new)

    return lookup


def serve(module: str) -> None:
    """Have a module look up its old names; a type checker goes on to report them."""
    vars(sys.modules[module])["__getattr__"] = renamed(module)


def renamed_keywords(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take keywords under their old names, given as old=new."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in names.keys() & kwargs.keys():
                _warn(f"{function.__name__}({old}=…)", f"{names[old]}=…")
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_fields(record: type, **names: str) -> None:
    """Give a record properties for old names of its fields, given as old=new; "" is the record itself."""
    for old, new in names.items():
        setattr(record, old, property(functools.partial(_field, old, new)))


def _field(old: str, new: str, record: Any) -> Any:
    kind = type(record).__name__
    _warn(f"{kind}.{old}", f"{kind}.{new}" if new else kind)
    return getattr(record, new) if new else record


class _Moved:
    """Finds a module that moved: an empty one, which looks every name up where it is now."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        moved = name.startswith("lambda_star.") and name.removeprefix("lambda_star.") in MODULES
        finder: Any = self
        return ModuleSpec(name, finder) if moved else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making of the module to Python."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        homes = MODULES[old.removeprefix("lambda_star.")]
        now = " and ".join(f"lambda_star.{home}" for home in homes)
        message = f"{old} is {now} from release 0.2 on; the old path goes with release 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)

        def lookup(name: str) -> Any:
            for home in homes:
                new = NAMES.get(home, {}).get(name, name)
                if hasattr(found := import_module(f"lambda_star.{home}"), new):
                    return getattr(found, new)
            raise AttributeError(f"module {old!r} has no attribute {name!r}")

        module.__getattr__ = lookup  # type: ignore[method-assign]


def install() -> None:
    """Let old module paths be imported; last of all finders, so that nothing else pays for it."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
