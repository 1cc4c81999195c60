"""What holds across the rules: the order of their thresholds, their limits, K tokens, and a push from outside."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.categorical.ratios import first, shift, total
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import collapse, edge, star
from lambda_star.symbolic.regions import above, between, free
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, q, real
from lambda_star.symbolic.updates.parts import RULE, bound, depth, dies, log_m, log_t, where

__all__ = ["capacity", "loose_bounds", "order", "token_by_token"]

thin = sp.log((1 - b) / (1 - p))
"""ℓ, how much thinner the teacher's tail is than the base's."""

kl_star, kl_end = sp.log(1 + (c - 1) / b) / gap, sp.log(c / b) / gap
modal_end, modal_end_through = 1 + sp.log(1 / p) / log_m, 1 + sp.log(sp.E / p) / log_m
clamp_end, low_end = 1 + (bound + sp.log(1 / p)) / gap, 1 + (depth - logit(p)) / gap


@derivation
def order() -> Derivation:
    """Derive the order of the thresholds of the rules, for the same p, b and c."""
    cap = r"\lambda_{\mathrm{dies}}^{\mathrm{cap}}"
    through, kl, top = (cap.replace("cap", name) for name in ("through", "KL", "top"))
    leave = r"\lambda_{\mathrm{leaves}}^{\mathrm{cap}}-\lambda_{\mathrm{leaves}}^{\mathrm{KL}}"
    earlier = sp.log((1 - b) * (c - 1 + p) / ((1 - p) * (c - 1 + b))) / gap
    narrow = sp.log(1 + (1 - p) / (c - 1 + p)) / gap
    own_clip = sp.log(1 / p) * thin / log_m
    return Derivation(
        "order",
        RULE,
        (
            Step(
                Differentiate(c),
                collapse,
                1 / (c * gap),
                r"\frac{\partial\lambda_{\mathrm{dies}}}{\partial c}",
                sign=">",
            ),
            Step(Sign(">"), collapse - star, narrow, rf"{cap}-\lambda^*"),
            Step(Substitute({c: sp.E * c}), collapse, collapse + 1 / gap, through),
            Step(Sign(">"), star - kl_star, earlier, leave),
            Step(Sign(">"), collapse - kl_end, thin / gap, f"{cap}-{kl}"),
            Step(Rewrite("subtract"), collapse - modal_end, (sp.log(c) - own_clip) / gap, f"{cap}-{top}"),
            Step(Limit(p, sp.Integer(1)), own_clip, sp.Integer(0)),
            Step(Sign(">"), 1 / log_m - 1 / gap, thin / (log_m * gap), r"\frac{1}{\log\frac pb}-\frac1\Delta"),
        ),
        {"cap less KL": (f"{cap}-{kl}", thin / gap), "cap less top-1": (f"{cap}-{top}", (sp.log(c) - own_clip) / gap)},
        module="updates",
        given={
            r"\lambda_{\mathrm{leaves}}^{\mathrm{KL}}": kl_star,
            kl: kl_end,
            top: modal_end,
            r"\log c_{\mathrm{eq}}^{\mathrm{top}}": own_clip,
            r"\tfrac{1}{r_m}-\tfrac1\Delta": 1 / log_m - 1 / gap,
        },
        uses=("threshold", "regimes"),
    )


@derivation
def loose_bounds() -> Derivation:
    """Derive what is left of each rule as its bound is loosened, and as the teacher becomes deterministic."""
    cut = sp.Symbol("R", positive=True)
    region = where(above(sp.log(2), depth, log=1), above(0, cut))
    certain = (p, sp.Integer(1))
    through_name = r"\lim_{p\to1}\lambda_{\mathrm{dies}}^{\mathrm{top,\ through}}"
    clip_name = r"\lim_{p\to1}\tilde\lambda^*"
    clipped = 1 + edge / (log_m + cut)
    return Derivation(
        "loose_bounds",
        region,
        (
            Step(Limit(c, sp.oo), star, sp.oo),
            Step(Limit(bound, sp.oo), clamp_end, sp.oo),
            Step(Limit(depth, sp.oo), low_end, sp.oo),
            Step(Limit(c, sp.oo), kl_star, sp.oo),
            Step(Limit(*certain), collapse, sp.Integer(1)),
            Step(Limit(*certain), collapse + 1 / gap, sp.Integer(1)),
            Step(Limit(*certain), low_end, sp.Integer(0)),
            Step(Limit(*certain), kl_end, sp.Integer(0)),
            Step(Limit(*certain), modal_end, sp.Integer(1)),
            Step(Limit(*certain), modal_end_through, 1 + 1 / sp.log(1 / b), through_name),
            Step(Limit(*certain), clipped, 1 + sp.log(c) / (sp.log(1 / b) + cut), clip_name),
        ),
        {
            "limit of top-1": (through_name, 1 + 1 / sp.log(1 / b)),
            "limit of the clipped reward": (clip_name, 1 + sp.log(c) / (sp.log(1 / b) + cut)),
        },
        module="updates",
        given={
            r"\lambda_{\mathrm{dies}}^{\mathrm{clamp}}": clamp_end,
            r"\lambda_{\mathrm{dies}}^{\mathrm{lower}}": low_end,
            r"\lambda_{\mathrm{leaves}}^{\mathrm{KL}}": kl_star,
            r"\lambda_{\mathrm{dies}}^{\mathrm{KL}}": kl_end,
            r"\lambda_{\mathrm{dies}}^{\mathrm{top}}": modal_end,
            r"\lambda_{\mathrm{dies}}^{\mathrm{top,\ through}}": modal_end_through,
            r"\tilde\lambda^*": clipped,
        },
        uses=("threshold", "regimes"),
    )


@derivation
def token_by_token() -> Derivation:
    """Derive when one token of many dies, for rules whose force on a token depends on that token alone."""
    kappa, log_ratio = real("kappa r_a")
    own, own_base, own_clip, others, mass, weight = positive("t_a b_a c_a M pi_k w_k")
    level = sp.Symbol(r"\sum_{k\ne a}t_ke^{(\lambda-1)r_k}", positive=True)
    most = sp.Symbol(r"c_ae^{(\lambda-1)r_a}", positive=True)
    region = assume(
        above(0, own, own_base, own_clip, others, mass, weight, total, shift, depth, level, most, each=True),
        free(lam, kappa, log_ratio),
        above(total * log_ratio, first),
        above(1, c),
    )
    own_ratio = sp.log(own / own_base)
    margin = sp.log(total + first * shift) - (lam + shift - 1) * log_ratio
    slope = first / (total + first * shift) - log_ratio
    pair = where(above(0, own_clip), free(lam))
    agreed = sp.Eq(sp.log(p) + (lam - 1) * log_m, sp.log(own_clip) + (lam - 1) * log_t)
    sup, result = r"\sup F_a", sp.Eq(level, most)
    floor_force, kl_force = sp.log(own) + depth + (lam - 1) * own_ratio, lam * own_ratio + sp.log(c)
    return Derivation(
        "token_by_token",
        region,
        (
            Step(Solve(kappa), sp.Eq(others * sp.exp(-kappa), 1), sp.log(others), r"\kappa"),
            Step(Rewrite("collect"), floor_force, sp.log(own * sp.exp(depth)) + (lam - 1) * own_ratio, sup),
            Step(Rewrite("collect"), kl_force, sp.log(c * own / own_base) + (lam - 1) * own_ratio, sup),
            Step(Substitute({others: level, own_clip: most}), sp.Eq(others, own_clip), result, dies),
            Step(Differentiate(shift), margin, slope),
            Step(
                Substitute({shift: sp.Integer(0)}),
                slope,
                (first - total * log_ratio) / total,
                r"\frac{\partial}{\partial\lambda}\left(\kappa-(\lambda-1)r_a\right)",
                sign=">",
            ),
            Step(Solve(lam), agreed, 1 + sp.log(own_clip / p) / gap, dies, pair),
            Step(Differentiate(kappa), mass * (kappa / weight), mass / weight, "", sign=">"),
        ),
        {"one token": (dies, result)},
        module="updates",
        given={
            r"\sum_{k\ne a}\pi_k": others * sp.exp(-kappa),
            r"\sup F_a^{\mathrm{lower}}": floor_force,
            r"\sup F_a^{\mathrm{KL}}": kl_force,
            r"e^\kappa=e^{\sup F_a}": sp.Eq(others, own_clip),
            r"\kappa(\lambda+h)-(\lambda+h-1)r_a": margin,
            r"\kappa=\sup F_a": agreed,
            r"\pi_k(A_k-\bar A)": mass * (kappa / weight),
        },
    )


@derivation
def capacity() -> Derivation:
    """Derive the largest steady push that the tail survives under plain gradient, near-deterministic."""
    tail_ratio, pull, steady, distance = positive(r"r \kappa \varsigma d")
    held = sp.Symbol("m", positive=True)
    region = where(above(1, tail_ratio), above(0, pull, steady, distance, held, each=True))
    rising_part = assume(above(0, pull), between(0, tail_ratio, sp.exp(1 + pull)))
    late, early = (
        assume(above(0, pull), part) for part in (above(sp.exp(1 + pull), c), between(1, c, sp.exp(1 + pull)))
    )
    student = 1 - (1 - p) / tail_ratio
    force = q * (1 - q) * (sp.log((1 - p) / (1 - q)) - sp.log(p / q) - pull)
    bare = (sp.log(tail_ratio) - pull) / tail_ratio
    slope = (1 + pull - sp.log(tail_ratio)) / tail_ratio**2
    best = sp.exp(1 + pull)
    weighted = sp.log(tail_ratio) + (lam - 1) * log_t - (lam - 1) * log_m / tail_ratio
    growth = 1 / tail_ratio + (lam - 1) * log_m / tail_ratio**2
    thick, thin_tail = sp.log(c) - pull, c * sp.exp(-1 - pull)
    uncentred = c / tail_ratio * (sp.log(tail_ratio) - (lam - 1) * thin) - (lam - 1) * log_m / tail_ratio
    gathered = c / tail_ratio * (sp.log(tail_ratio) - (lam - 1) * (thin + log_m / c))
    holds = (1 - p) * sp.exp(-1 - (lam - 1) * distance)
    wins = 1 + (sp.log((1 - p) / steady) - 1) / distance
    name = r"\frac{\mathrm{d}}{\mathrm{d}r}\frac{\log r-\kappa}{r}"
    largest, name_of = sp.Piecewise((thick, sp.log(c) >= 1 + pull), (thin_tail, True)), r"\varsigma_{\max}"
    places = assume(above(0, pull), above(1, c))
    return Derivation(
        "capacity",
        region,
        (
            Step(Limit(p, sp.Integer(1)), (force / (1 - p)).subs(q, student), bare),
            Step(Differentiate(tail_ratio), bare, slope, name),
            Step(
                Solve(tail_ratio),
                sp.Eq(1 + pull - sp.log(tail_ratio), 0),
                best,
                "r",
                assume(above(0, pull, tail_ratio, each=True)),
            ),
            Step(Sign(">"), 1 + pull - sp.log(tail_ratio), sp.log(best / tail_ratio), r"1+\kappa-\log r", rising_part),
            Step(Substitute({tail_ratio: best}), bare, sp.exp(-1 - pull)),
            Step(Differentiate(tail_ratio), weighted, growth, sign=">"),
            Step(Substitute({tail_ratio: best}), c * bare, thin_tail),
            Step(Substitute({tail_ratio: c}), c * bare, thick),
            Step(Limit(tail_ratio, sp.oo), weighted, sp.oo),
            Step(Rewrite("collect"), uncentred, gathered),
            Step(Substitute({tail_ratio: c}), weighted, sp.log(c) - (lam - 1) * (thin + log_m / c)),
            Step(Rewrite("collect"), gap, thin + log_m),
            Step(Limit(p, sp.Integer(1)), thin_tail.subs(pull, edge), sp.exp(-1)),
            Step(
                Solve(lam),
                sp.Eq(holds, steady),
                wins,
                r"\lambda",
                where(above(0, steady, distance, each=True), free(lam)),
            ),
            Step(Rewrite("subtract"), wins.subs(steady, steady / c) - wins, sp.log(c) / distance),
            Step(Join((late, early)), sp.Tuple(thick, thin_tail), largest, r"\frac{\varsigma_{\max}}{1-p}", places),
            Step(Substitute({held: largest}), (1 - p) * held, (1 - p) * largest, name_of),
        ),
        {"capacity": (name_of, (1 - p) * largest)},
        module="updates",
        given={
            r"\tfrac{q(1-q)(F_\tau-F_m)}{1-p}": (force / (1 - p)).subs(q, student),
            r"f(r)": bare,
            r"g(r)": weighted,
            r"cf(r)": c * bare,
            r"cg(r)": uncentred,
            r"\Delta": gap,
            r"c_{\mathrm{thin}}": thin_tail.subs(pull, edge),
            r"\varsigma_{\max}(\lambda)": holds,
            r"\lambda_{\mathrm{wins}}-\lambda'_{\mathrm{wins}}": wins.subs(steady, steady / c) - wins,
            r"(1-p)m": (1 - p) * held,
        },
    )
