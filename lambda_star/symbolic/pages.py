"""The pages of ``derivations/``: text made of derivations, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import mpmath
import sympy as sp

from lambda_star.symbolic import bernoulli, categorical, dynamics, sequence
from lambda_star.symbolic.derivation import Derivation
from lambda_star.symbolic.rules import formula

__all__ = ["derivations", "page", "pages", "section"]

HEADER = "<!-- Written by `lambda-star derive --write derivations` from {sources}; do not edit. -->"
PAPER = (
    "X. Li, H. Jiang, A. Wang, Y. Zhang, C. Yuen, *The Extrapolation Cliff in On-Policy Distillation of\n"
    "Near-Deterministic Structured Outputs*, [arXiv:2605.08737](https://arxiv.org/abs/2605.08737)"
)


@dataclass(frozen=True)
class _Page:
    """A page: its heading, its opening words, and the derivations in order."""

    title: str
    opening: str
    derivations: tuple[Callable[[], Derivation], ...]


SYMBOLS = r"""| symbol | in code | meaning | range |
| --- | --- | --- | --- |
| $p$ | `p` | teacher's probability of its modal token | $(0,1)$ |
| $b$ | `b` | base's (warm start's) probability of the same token | $(0,1)$ |
| $q$ | | student's probability of the same token | $(0,1)$ |
| $\lambda$ | `lam` | extrapolation coefficient; 1 is plain on-policy distillation | real |
| $c$ | `c` | cap on the tail ratio $(1-p)/(1-q)$ | $[1,\infty]$ |
| $\Delta$ | | log-odds gap $\mathrm{logit}(p)-\mathrm{logit}(b)$ | real |"""

PAGES = {
    "bernoulli": _Page(
        "One position: the modal token against everything else",
        SYMBOLS,
        (
            bernoulli.fixed_point_derivation,
            bernoulli.threshold_derivation,
            bernoulli.limits_derivation,
            bernoulli.sensitivity_derivation,
            bernoulli.inverse_derivation,
            bernoulli.collapse_derivation,
            bernoulli.flip_point_derivation,
            bernoulli.two_sided_derivation,
            bernoulli.operating_point_derivation,
        ),
    ),
    "dynamics": _Page(
        "A finite training budget",
        "How long a student that starts at the base takes to the clip edge, for two flows, how it goes on from there, and what a "
        "sampled step\nadds. Symbols as on the page of [one position](bernoulli.md). The paper's Corollary 4.2 treats finite budgets "
        "too; everything here is\nan extension.",
        (
            dynamics.natural_flow_derivation,
            dynamics.natural_steps_derivation,
            dynamics.policy_gradient_derivation,
            dynamics.clipped_flow_derivation,
            dynamics.collapse_time_derivation,
            dynamics.sampled_step_derivation,
        ),
    ),
    "categorical": _Page(
        "K tokens",
        "The whole vocabulary in place of one modal token and a tail. A step says whether it holds for any number of tokens "
        "or is shown for\nK = 3. Symbols as on the page of [one position](bernoulli.md).",
        (
            categorical.ratio_derivation,
            categorical.floor_derivation,
            categorical.sandwich_derivation,
            categorical.divergence_derivation,
            categorical.token_flip_derivation,
            categorical.class_march_derivation,
            categorical.rest_derivation,
            categorical.token_student_derivation,
        ),
    ),
    "sequence": _Page(
        "An answer of many positions",
        "From the positions of an answer to the probability that the answer is valid. A step says what is a definition and what follows "
        "from it, and\nwhether it holds for any number of positions or is written out for a few. Symbols as on the page of "
        "[one position](bernoulli.md). All of it is an extension.",
        (sequence.strict_derivation, sequence.validity_derivation, sequence.list_derivation),
    ),
}


@cache
def derivations() -> Mapping[str, Derivation]:
    """Every derivation by its name, in the order of the pages.

    >>> list(derivations())[:2]
    ['fixed_point', 'threshold']
    """
    made = [derive() for one in PAGES.values() for derive in one.derivations]
    return {one.name: one for one in made}


def section(derivation: Derivation) -> str:
    r"""A derivation as Markdown, without its heading.

    >>> print(section(bernoulli.threshold_derivation()).splitlines()[0])
    Assumptions: $0<b<p<1,\quad c>1,\quad \lambda>1$.
    """
    parts = [f"Assumptions: ${derivation.domain.text}$."]
    for number, step in enumerate(derivation.steps, start=1):
        where = f"; for ${step.domain.text}$" if step.domain else ""
        parts.append(f"**Step {number}** ({step.rule.word}; {step.source}{where}). {step.statement}")
        parts.append(_displayed(step.latex()))
    parts.append("**Result**")
    parts += [_boxed(name, expr) for name, expr in derivation.results.values()]
    if derivation.spot:
        parts.append(_spot_check(derivation))
    if derivation.remarks:
        parts.append(derivation.remarks)
    if derivation.module:
        names = ", ".join(f"`{name}`" for name in derivation.results if name.isidentifier())
        if names:
            whole = derivation.module == "sequence"
            home, tests = (f"{derivation.module}.py", "test_sequence.py") if whole else (derivation.module,) * 2
            parts.append(
                f"Evaluated by {names} in [`lambda_star.{derivation.module}`](../lambda_star/{home}); "
                f"held to this result by [`tests/symbolic`](../tests/symbolic) and to 50-digit arithmetic by "
                f"[`tests/{tests}`](../tests/{tests})."
            )
    return "\n\n".join(parts) + "\n"


def _displayed(latex: str) -> str:
    """A formula of its own; a fenced block is the one form in which GitHub leaves every backslash alone."""
    return f"```math\n{latex}\n```"


def _boxed(name: str, expr: sp.Basic) -> str:
    between = r":\quad " if isinstance(expr, sp.Rel) else " = "
    return _displayed(rf"\boxed{{{name}{between}{formula(expr)}}}")


def _spot_check(derivation: Derivation) -> str:
    values = ", ".join(f"${sp.latex(symbol)}={value}$" for symbol, value in derivation.spot.items())
    name = next(iter(derivation.results.values()))[0]
    function = derivation.lambdify(*derivation.spot)
    with mpmath.workdps(50):
        found = mpmath.nstr(function(*(mpmath.mpf(value) for value in derivation.spot.values())), 15)
    return f"Spot check: {values} give ${name}={found}$."


def page(name: str) -> str:
    """One page as Markdown.

    Args:
        name: name of the page, without ending: "bernoulli", …

    Returns:
        The whole text.

    Raises:
        KeyError: there is no such page.

    >>> page("categorical").splitlines()[2]
    '# K tokens'
    """
    one = PAGES[name]
    made = [derive() for derive in one.derivations]
    parts = [_header(*(derive.__module__ for derive in one.derivations)), f"# {one.title}", one.opening]
    for number, derivation in enumerate(made, start=1):
        parts += [f"## {number}. {derivation.title}", section(derivation).rstrip()]
    return "\n\n".join(parts) + "\n"


def _header(*modules: str) -> str:
    """The first line of a page: what writes it, and the modules it is written from."""
    return HEADER.format(sources=", ".join(f"`{name.replace('.', '/')}.py`" for name in dict.fromkeys(modules)))


def _index() -> str:
    """The table of contents, ``derivations/README.md``."""
    parts = [
        _header(__name__),
        "# Derivations",
        "One page per module of the package, with every formula the module evaluates, derived step by step with SymPy. "
        "Each step is\nchecked symbolically and in 50-digit arithmetic at random points; `lambda-star derive --check derivations` "
        "repeats that.",
        f'"Paper" is {PAPER}.\n"Extension" marks what is not in the paper as far as we know.',
    ]
    for name, one in PAGES.items():
        sections = "\n".join(f"{n}. {derive().title}" for n, derive in enumerate(one.derivations, start=1))
        parts += [f"## [{one.title}]({name}.md)", sections]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Every page by file name, the table of contents among them.

    >>> list(pages())
    ['README.md', 'bernoulli.md', 'dynamics.md', 'categorical.md', 'sequence.md']
    """
    return {"README.md": _index(), **{f"{name}.md": page(name) for name in PAGES}}
