"""The SymPy core: derives, step by step, what the numeric modules evaluate.

Each submodule has the name of its numeric module and of its page in ``derivations/``, or begins with it. A derivation is
a function that returns a :class:`Derivation`; its ``check()`` checks every step.
"""

from lambda_star.symbolic import bernoulli, categorical, dynamics, sequence, symbols
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
]
