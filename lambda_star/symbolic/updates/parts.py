"""What the derivations of the update rules share: their symbols, the region where they hold, and two principles."""

from __future__ import annotations

from itertools import pairwise

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions, assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import collapse, fixed, push, s
from lambda_star.symbolic.regions import Part, above, below, between, free, let
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, gap, lam, logit, p, positive, q, real, sigmoid

__all__ = ["joined", "none", "rule", "same_sign", "short", "stages", "tail_dies", "where"]

bound, height_m, height_t = positive(r"C h_m h_\tau")
"""The bound of a clamp, and h = π_T^λ π_B^{1−λ} of modal token and tail."""

depth = sp.Symbol("L", positive=True)
target = sp.Symbol(r"q_{\lambda}", positive=True)
"""The bound of log-probabilities, and the modal probability of the fixed point."""

soft_gap, rollout = positive(r"\tilde\Delta \mu")
"""The log-odds gap of a clipped reward, and the modal probability in the engine that draws the rollouts."""

theta = sp.Symbol("theta", real=True)
force_m, force_t, force_m2, force_t2 = real(r"F_m F_\tau {F_m(\theta')} {F_\tau(\theta')}")
drop_m, drop_t = positive(r"\delta_m \delta_\tau")
least_m, sup_t = real(r"{F_m(1)} {\sup{}F_\tau}")
"""The forces at the student's θ and at a larger θ', by how much they differ, and their limits as the tail dies."""

held_m, held_t = real(r"f_m f_\tau")
"""The same two limits without the term (λ−1)r."""

adv_m, adv_t = real(r"A_m A_\tau")
weight_m, weight_t, share = positive(r"w_m w_\tau x")
"""The advantages of modal token and tail, their weights, and the modal share in the mean that is subtracted."""

_PLACE = (between(0, b, p, 1), above(1, c), above(1, lam), between(0, q, 1))
_BASE = (between(0, b, 1), free(lam))
_REST = (above(0, bound, log=1), above(0, height_m, height_t, each=True))
total = height_m + height_t
"""Z_λ, the sum of the two heights."""

log_m, log_t = sp.log(p / b), sp.log((1 - p) / (1 - b))
"""The log-ratios r_m and r_τ; Δ is their difference."""

free_m, free_t = sp.log(p / q) + (lam - 1) * log_m, sp.log((1 - p) / (1 - q)) + (lam - 1) * log_t
"""The advantages of modal token and tail without any bound."""

unbounded = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + push
power_m, power_t = p**lam * b ** (1 - lam), (1 - p) ** lam * (1 - b) ** (1 - lam)
"""h_m and h_τ written out."""

positive_factor = (1 - share) * weight_m + share * weight_t
"""What stands before A_m − A_τ when weights act on a centred advantage."""

velocity = r"F_m-F_\tau"
dies, leaves = r"\lambda_{\mathrm{dies}}", r"\lambda_{\mathrm{leaves}}"
clip_name = r"c_{\mathrm{eq}}"


def where(*parts: Part) -> Assumptions:
    """Return the region of the rules with other parts in place of those about the same symbols.

    >>> where(above(2, c)).about({c})
    'c>2'
    """
    region = assume(*_PLACE, *_REST).use(*parts)
    return region.use(let(Delta, gap, ""))


def short(expr: sp.Basic) -> sp.Basic:
    """Return an expression with the symbol Δ for the log-odds gap, which SymPy solves faster and which looks the same.

    >>> short(push)
    Delta*(lambda - 1)
    """
    return expr.subs(gap, Delta)


RULE = where()


def stages(marks: tuple[sp.Expr, ...], *place: Part) -> tuple[Assumptions, ...]:
    """Return the regions of the push before, between and beyond some of its values.

    >>> [stage.about({s}) for stage in stages((sp.Integer(0),), above(1, c))]
    ['s<0', 's>0']
    """
    inner = (between(low, s, high, log=1) for low, high in pairwise(marks))
    parts = (below(s, marks[0], log=1), *inner, above(marks[-1], s, log=1))
    return tuple(assume(*place, part, between(0, q, 1)) for part in parts)


def joined(values: tuple[sp.Basic, ...], marks: tuple[sp.Expr, ...], *place: Part) -> tuple[Step, Step]:
    """Return the steps that put the students before, between and beyond some pushes together, and insert the push.

    >>> joined((p, c), (sp.Integer(0),), above(1, c), between(0, p, 1))[1].after.args[1]
    (c, True)
    """
    cases = [(value, s <= mark) for value, mark in zip(values, marks, strict=False)]
    whole = sp.Piecewise(*cases, (values[-1], True))
    return (
        Step(Join(stages(marks, *place)), sp.Tuple(*values), whole, "q", assume(*place, free(s, log=1))),
        Step(Substitute({s: push}), whole, whole.subs(s, push), "q", assume(*place).use(*_BASE)),
    )


kept = p * sp.exp(s) / (p * sp.exp(s) + 1 - p)
"""The fixed point for a push."""


def rule(
    name: str,
    region: Assumptions,
    steps: tuple[Step, ...],
    results: tuple[sp.Basic, sp.Basic, sp.Basic, sp.Basic | None],
    **options: object,
) -> Derivation:
    """Return the derivation of a rule: where it leaves the fixed point and dies, its student and its equivalent clip.

    >>> rule("none", RULE, (), (sp.oo, sp.oo, fixed, sp.oo)).expr
    oo
    """
    names = {"leaves": leaves, "dies": dies, "student": "q", "equivalent_clip": clip_name}
    found = {key: (latex, expr) for (key, latex), expr in zip(names.items(), results, strict=True) if expr is not None}
    return Derivation(name, region, steps, found, module="updates", **options)  # type: ignore[arg-type]


@derivation
def tail_dies() -> Derivation:
    """Derive when the tail dies from every start, for any pair of monotone forces."""
    drops = above(0, drop_m, drop_t, each=True)
    places = assume(free(force_m2, force_t), drops)
    dying = assume(free(sup_t), above(sup_t, least_m), drops)
    family = where(free(held_m), above(held_m, held_t), free(lam))
    region = assume(free(theta, log=1))
    before = {force_m: force_m2 + drop_m, force_t2: force_t + drop_t}
    falls, apart = drop_m + drop_t, least_m - sup_t + drop_m + drop_t
    cost, rate = 2 * theta + sp.exp(theta) - sp.exp(-theta), 2 + sp.exp(theta) + sp.exp(-theta)
    last = held_m - held_t + push
    end = 1 + (held_t - held_m) / gap
    clip = p * sp.exp(held_t - held_m)
    return Derivation(
        "tail_dies",
        places,
        (
            Step(
                Substitute(before),
                (force_m - force_t) - (force_m2 - force_t2),
                falls,
                r"D(\theta)-D(\theta')",
                sign=">",
            ),
            Step(
                Substitute({force_m: least_m + drop_m, force_t: sup_t - drop_t}),
                force_m - force_t,
                apart,
                r"D(\theta)",
                dying,
                sign=">",
            ),
            Step(Substitute({q: sigmoid(theta)}), 1 / (q * (1 - q)), rate, r"\frac{1}{q(1-q)}", region),
            Step(
                Differentiate(theta),
                cost,
                rate,
                r"\frac{\mathrm{d}}{\mathrm{d}\theta}\left(2\theta+e^\theta-e^{-\theta}\right)",
                region,
            ),
            Step(
                Differentiate(lam),
                last,
                gap,
                r"\frac{\partial}{\partial\lambda}\left(F_m(1)-\sup F_\tau\right)",
                family,
                sign=">",
            ),
            Step(Solve(lam), sp.Eq(last, 0), end, dies, family),
            Step(Solve(c), short(sp.Eq(collapse, lam)), short(p * sp.exp(push)), clip_name, where(above(0, c))),
            Step(Substitute({lam: end}), p * sp.exp(push), clip, clip_name, family),
            Step(Limit(held_t, sp.oo), end, sp.oo, dies, family),
        ),
        {"general law": (dies, end), "equivalent clip": (clip_name, clip)},
        module="updates",
        given={
            r"D(\theta)": force_m - force_t,
            r"D(\theta')": force_m2 - force_t2,
            r"\tfrac{1}{q(1-q)}": 1 / (q * (1 - q)),
            r"2\theta+e^\theta-e^{-\theta}": cost,
            r"F_m(1)-\sup F_\tau": last,
            r"\lambda_c": short(collapse),
            clip_name: p * sp.exp(push),
        },
        uses=("regimes",),
    )


@derivation
def same_sign() -> Derivation:
    """Derive that positive weights on a centred advantage keep the fixed point."""
    level, difference_of = positive(r"Z_\lambda D")
    region = assume(
        above(0, difference_of), between(0, share, 1), above(0, weight_m, weight_t, each=True), free(adv_m, adv_t)
    )
    beyond = assume(above(1, level), above(0, weight_m, weight_t))
    mean = share * adv_m + (1 - share) * adv_t
    difference = adv_m - adv_t
    left = weight_m * (adv_m - mean) - weight_t * (adv_t - mean)
    return Derivation(
        "same_sign",
        region,
        (
            Step(Rewrite("collect"), adv_m - mean, (1 - share) * difference, "A_m-B"),
            Step(Rewrite("collect"), adv_t - mean, -share * difference, r"A_\tau-B"),
            Step(Rewrite("collect"), left, positive_factor * difference, velocity),
            Step(Differentiate(difference_of), positive_factor * difference_of, positive_factor, sign=">"),
            Step(Substitute({adv_m: adv_t}), positive_factor * difference, sp.Integer(0), velocity),
            Step(
                Substitute({adv_m: sp.log(level), adv_t: sp.log(level)}),
                weight_m * adv_m - weight_t * adv_t,
                -(weight_t - weight_m) * sp.log(level),
                r"w_mA_m-w_\tau A_\tau",
                beyond,
                sign="<",
            ),
        ),
        {"the velocity": (velocity, positive_factor * difference)},
        module="updates",
        given={
            "A_m-B": adv_m - mean,
            r"A_\tau-B": adv_t - mean,
            r"D(w_\tau x+(1-x)w_m)": positive_factor * difference_of,
            r"w_mA_m-w_\tau A_\tau": weight_m * adv_m - weight_t * adv_t,
        },
    )


@derivation
def none() -> Derivation:
    """Derive that a rule without any bound ends at the fixed point for every λ."""
    return rule(
        "none",
        RULE,
        (
            Step(Rewrite("collect"), free_m - free_t, logit(p) + push - logit(q), velocity),
            Step(
                Differentiate(q), unbounded, -1 / (q * (1 - q)), r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)", sign="<"
            ),
            Step(Solve(q), sp.Eq(free_m, free_t), fixed, "q"),
            Step(Limit(q, sp.Integer(1)), free_t, sp.oo, r"\sup F_\tau"),
        ),
        (sp.oo, sp.oo, fixed, sp.oo),
        given={"F_m": free_m, r"F_\tau": free_t, r"F_m-F_\tau": unbounded},
        uses=("fixed_point", "tail_dies"),
    )
