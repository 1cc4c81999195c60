"""The symbolic core derives with SymPy, step by step, what the numeric modules evaluate.

Each submodule is named like its numeric module and its page in ``derivations/``, and each derivation like the numeric
function or the section it belongs to. A derivation is a function that returns a :class:`Derivation`, whose ``check()``
checks every step.
"""

from lambda_star.symbolic import bernoulli, categorical, dynamics, sequence, symbols, updates
from lambda_star.symbolic.derivation import Derivation, DerivationError, Step

__all__ = [
    "Derivation",
    "DerivationError",
    "Step",
    "bernoulli",
    "categorical",
    "dynamics",
    "sequence",
    "symbols",
    "updates",
]
