"""The symbolic core derives with SymPy, step by step, what the numeric modules evaluate.

Each submodule is named like its numeric module and its page in ``derivations/``, and each derivation like the numeric
function or the section it belongs to. A derivation is a function that returns a :class:`Derivation`, whose ``check()``
checks every step.
"""

import warnings
from typing import Any

from lambda_star.symbolic import bernoulli, categorical, dynamics, sequence, symbols
from lambda_star.symbolic.derivation import Derivation, DerivationError, Step

__all__ = ["Derivation", "DerivationError", "Step", "bernoulli", "categorical", "dynamics", "sequence", "symbols"]

_MOVED = {f"categorical_{part}": categorical for part in ("bounds", "parts", "student")} | {
    "dynamics_clipped": dynamics
}
"""Modules that became part of a package; their names work for one release."""


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} is now {_MOVED[name].__name__}", DeprecationWarning, stacklevel=2)
    return _MOVED[name]
