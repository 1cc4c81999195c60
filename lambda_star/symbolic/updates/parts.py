"""What the derivations of the update rules share: their symbols, the region where they hold, and two principles."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import collapse, fixed, push
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, gap, lam, logit, p, positive, q, real, sigmoid

__all__ = ["none", "rule", "same_sign", "short", "tail_dies", "where"]

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

g, h, k, m, n, s, t, u, v, w, z = positive("g h k m n s t u v w z")
_above = v * (1 + s)
VALUES = {
    b: v / (1 + v),
    p: _above / (1 + _above),
    c: 1 + w,
    lam: 1 + m,
    q: z / (1 + z),
    bound: sp.log(1 + k),
    height_m: g,
    height_t: h,
}
total = height_m + height_t
"""Z_λ, the sum of the two heights."""

log_m, log_t = sp.log(p / b), sp.log((1 - p) / (1 - b))
"""The log-ratios r_m and r_τ; Δ is their difference."""

free_m, free_t = sp.log(p / q) + (lam - 1) * log_m, sp.log((1 - p) / (1 - q)) + (lam - 1) * log_t
"""The advantages of modal token and tail without any bound."""

free = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + push
power_m, power_t = p**lam * b ** (1 - lam), (1 - p) ** lam * (1 - b) ** (1 - lam)
"""h_m and h_τ written out."""

positive_factor = (1 - share) * weight_m + share * weight_t
"""What stands before A_m − A_τ when weights act on a centred advantage."""

velocity = r"F_m-F_\tau"
dies, leaves = r"\lambda_{\mathrm{dies}}", r"\lambda_{\mathrm{leaves}}"
clip_name = r"c_{\mathrm{eq}}"


def where(text: str, values: Mapping[sp.Symbol, sp.Expr]) -> Assumptions:
    """Return the region of the rules with other values for some symbols.

    >>> where("c = 2", {c: sp.Integer(2)}).insert(c)
    2
    """
    found = {**VALUES, **values}
    return Assumptions(text, {Delta: gap.xreplace({p: found[p], b: found[b]}), **found})


def short(expr: sp.Basic) -> sp.Basic:
    """Return an expression with the symbol Δ for the log-odds gap, which SymPy solves faster and which looks the same.

    >>> short(push)
    Delta*(lambda - 1)
    """
    return expr.subs(gap, Delta)


RULE = where(r"0<b<p<1,\quad c>1,\quad \lambda>1,\quad 0<q<1", {})


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
    places = Assumptions(
        r"\theta<\theta',\quad \delta_m,\delta_\tau\ge0",
        {force_m2: g - h, force_t: m - n, drop_m: u, drop_t: v, force_m: s - t, force_t2: w - z},
    )
    dying = Assumptions(
        r"F_m(1)>\sup F_\tau,\quad \delta_m,\delta_\tau\ge0",
        {**places.values, sup_t: g - h, least_m: g - h + w},
    )
    family = where(r"0<b<p<1,\quad f_m,f_\tau,\lambda\in\mathbb{R}", {held_m: g - h, held_t: t - n})
    region = Assumptions(r"\theta\in\mathbb{R}", {theta: sp.log(k)})
    before = {force_m: force_m2 + drop_m, force_t2: force_t + drop_t}
    falls, apart = drop_m + drop_t, least_m - sup_t + drop_m + drop_t
    cost, rate = 2 * theta + sp.exp(theta) - sp.exp(-theta), 2 + sp.exp(theta) + sp.exp(-theta)
    last = held_m - held_t + push
    star = 1 + (held_t - held_m) / gap
    return Derivation(
        "tail_dies",
        places,
        (
            Step(Define(), force_m - force_t, name=r"D(\theta)"),
            Step(Substitute(before), (force_m - force_t) - (force_m2 - force_t2), falls, r"D(\theta)-D(\theta')"),
            Step(Sign(r"\ge"), falls, name=r"D(\theta)-D(\theta')"),
            Step(
                Substitute({force_m: least_m + drop_m, force_t: sup_t - drop_t}),
                force_m - force_t,
                apart,
                r"D(\theta)",
                dying,
            ),
            Step(Sign(">"), apart, name=r"D(\theta)", assumptions=dying),
            Step(Substitute({q: sigmoid(theta)}), 1 / (q * (1 - q)), rate, r"\frac{1}{q(1-q)}", region),
            Step(
                Differentiate(theta),
                cost,
                rate,
                r"\frac{\mathrm{d}}{\mathrm{d}\theta}\left(2\theta+e^\theta-e^{-\theta}\right)",
                region,
            ),
            Step(Define(), last, name=r"F_m(1)-\sup F_\tau", assumptions=family),
            Step(
                Differentiate(lam),
                last,
                gap,
                r"\frac{\partial}{\partial\lambda}\left(F_m(1)-\sup F_\tau\right)",
                family,
            ),
            Step(
                Sign(">"),
                gap,
                name=r"\frac{\partial}{\partial\lambda}\left(F_m(1)-\sup F_\tau\right)",
                assumptions=family,
            ),
            Step(Solve(lam), sp.Eq(last, 0), star, dies, family),
            Step(Solve(c), short(sp.Eq(collapse, lam)), short(p * sp.exp(push)), clip_name, family),
            Step(Substitute({lam: star}), p * sp.exp(push), p * sp.exp(held_t - held_m), clip_name, family),
        ),
        {
            "general law": (dies, star),
            "equivalent clip": (clip_name, p * sp.exp(held_t - held_m)),
        },
        module="updates",
    )


@derivation
def same_sign() -> Derivation:
    """Derive that positive weights on a centred advantage keep the fixed point."""
    region = Assumptions(
        r"0\le x\le1,\quad w_m,w_\tau>0,\quad A_m,A_\tau\in\mathbb{R}",
        {share: u / (1 + u), weight_m: g, weight_t: h, adv_m: m - n, adv_t: s - t, height_m: v, height_t: w},
    )
    beyond = Assumptions(
        r"Z_\lambda>1,\quad w_\tau>w_m>0", {height_m: 1 + v, height_t: w, weight_m: g, weight_t: g + h}
    )
    mean = share * adv_m + (1 - share) * adv_t
    difference = adv_m - adv_t
    left = weight_m * (adv_m - mean) - weight_t * (adv_t - mean)
    at_fixed = weight_m * sp.log(total) - weight_t * sp.log(total)
    return Derivation(
        "same_sign",
        region,
        (
            Step(Define(), mean, name="B"),
            Step(Rewrite("collect"), adv_m - mean, (1 - share) * difference, "A_m-B"),
            Step(Rewrite("collect"), adv_t - mean, -share * difference, r"A_\tau-B"),
            Step(Rewrite("collect"), left, positive_factor * difference, velocity),
            Step(Sign(">"), positive_factor),
            Step(
                Sign("<"),
                at_fixed,
                -(weight_t - weight_m) * sp.log(total),
                r"w_mA_m-w_\tau A_\tau",
                beyond,
            ),
        ),
        {"the velocity": (velocity, positive_factor * difference)},
        module="updates",
    )


@derivation
def none() -> Derivation:
    """Derive that a rule without any bound ends at the fixed point for every λ."""
    return rule(
        "none",
        RULE,
        (
            Step(Rewrite("collect"), free_m - free_t, logit(p) + push - logit(q), velocity),
            Step(Differentiate(q), free, -1 / (q * (1 - q)), r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)"),
            Step(Sign("<"), -1 / (q * (1 - q)), name=r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)"),
            Step(Substitute({q: fixed}), free, sp.Integer(0), r"(F_m-F_\tau)(q_\lambda)"),
            Step(Limit(q, sp.Integer(1), z, sp.oo), free_t, sp.oo, r"\sup F_\tau"),
        ),
        (sp.oo, sp.oo, fixed, sp.oo),
    )
