"""What holds across the rules: the order of their thresholds, their limits, K tokens, and a push from outside."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import collapse, edge, star
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, q, real
from lambda_star.symbolic.updates.parts import (
    RULE,
    VALUES,
    bound,
    depth,
    dies,
    g,
    h,
    k,
    log_m,
    log_t,
    m,
    n,
    s,
    t,
    u,
    v,
    w,
    where,
    z,
)

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
            Step(Differentiate(c), collapse, 1 / (c * gap), r"\frac{\partial\lambda_{\mathrm{dies}}}{\partial c}"),
            Step(Sign(">"), 1 / (c * gap), name=r"\frac{\partial\lambda_{\mathrm{dies}}}{\partial c}"),
            Step(Sign(">"), collapse - star, narrow, rf"{cap}-\lambda^*"),
            Step(Sign(">"), (collapse + 1 / gap) - collapse, 1 / gap, rf"{through}-{cap}"),
            Step(Sign(">"), star - kl_star, earlier, leave),
            Step(Sign(">"), collapse - kl_end, thin / gap, f"{cap}-{kl}"),
            Step(Rewrite("subtract"), collapse - modal_end, (sp.log(c) - own_clip) / gap, f"{cap}-{top}"),
            Step(Limit(p, sp.Integer(1), s, sp.oo), own_clip, sp.Integer(0)),
            Step(Sign(">"), 1 / log_m - 1 / gap, thin / (log_m * gap), r"\frac{1}{\log\frac pb}-\frac1\Delta"),
        ),
        {
            "cap less KL": (f"{cap}-{kl}", thin / gap),
            "cap less top-1": (f"{cap}-{top}", (sp.log(c) - own_clip) / gap),
        },
        module="updates",
    )


@derivation
def loose_bounds() -> Derivation:
    """Derive what is left of each rule as its bound is loosened, and as the teacher becomes deterministic."""
    cut = sp.Symbol("R", positive=True)
    region = where(r"0<b<p<1,\quad c>1,\quad C>0,\quad L>\log2,\quad R>0", {depth: sp.log(2 + k), cut: g})
    certain = (p, sp.Integer(1), s, sp.oo)
    clipped = 1 + edge / (log_m + cut)
    return Derivation(
        "loose_bounds",
        region,
        (
            Step(Limit(c, sp.oo, w, sp.oo), star, sp.oo),
            Step(Limit(bound, sp.oo, k, sp.oo), clamp_end, sp.oo),
            Step(Limit(depth, sp.oo, k, sp.oo), low_end, sp.oo),
            Step(Limit(c, sp.oo, w, sp.oo), kl_star, sp.oo),
            Step(Limit(*certain), collapse, sp.Integer(1)),
            Step(Limit(*certain), collapse + 1 / gap, sp.Integer(1)),
            Step(Limit(*certain), low_end, sp.Integer(0)),
            Step(Limit(*certain), kl_end, sp.Integer(0)),
            Step(Limit(*certain), modal_end, sp.Integer(1)),
            Step(Limit(*certain), modal_end_through, 1 + 1 / sp.log(1 / b)),
            Step(Limit(*certain), clipped, 1 + sp.log(c) / (sp.log(1 / b) + cut)),
        ),
        {
            "limit of top-1": (r"\lim_{p\to1}\lambda_{\mathrm{dies}}^{\mathrm{top,\ through}}", 1 + 1 / sp.log(1 / b)),
            "limit of the clipped reward": (r"\lim_{p\to1}\tilde\lambda^*", 1 + sp.log(c) / (sp.log(1 / b) + cut)),
        },
        module="updates",
    )


@derivation
def token_by_token() -> Derivation:
    """Derive when one token of many dies, for rules whose force on a token depends on that token alone."""
    teacher, ratios, weights, masses = positive("t_1:4"), real("r_1:4"), positive("w_1:4"), positive("pi_1:4")
    kappa = sp.Symbol("kappa", real=True)
    own, own_base, own_clip = positive("t_a b_a c_a")
    lead = (v + u, u)
    region = Assumptions(
        r"K=3,\quad t_k,\pi_k,w_k>0,\quad r_1,r_2>r_3,\quad \lambda\in\mathbb{R}",
        {
            **dict(zip(teacher, (g, h, k), strict=True)),
            **dict(zip(ratios, (m - n + lead[0], m - n + lead[1], m - n), strict=True)),
            **dict(zip(weights, (s, t, u), strict=True)),
            **dict(zip(masses, (v, w, z), strict=True)),
            lam: s - t,
            kappa: w - z,
            own: g,
            own_base: h,
            own_clip: k,
            c: 1 + w,
            depth: t,
        },
    )
    pair = Assumptions(r"0<b<p<1,\quad c_a>0", {**VALUES, own_clip: k})
    heights = [one * sp.exp((lam - 1) * ratio) for one, ratio in zip(teacher, ratios, strict=True)]
    alive = sp.log(heights[0] + heights[1])
    margin = alive - (lam - 1) * ratios[2]
    slope = (heights[0] * (ratios[0] - ratios[2]) + heights[1] * (ratios[1] - ratios[2])) / (heights[0] + heights[1])
    own_ratio = sp.log(own / own_base)
    held = [kappa / one for one in weights]
    spread = sum(mass / one for mass, one in zip(masses, weights, strict=True))
    rise = r"\frac{\partial}{\partial\lambda}\left(\kappa-(\lambda-1)r_3\right)"
    sup = r"\sup F_a"
    return Derivation(
        "token_by_token",
        region,
        (
            Step(Solve(kappa), sp.Eq((heights[0] + heights[1]) * sp.exp(-kappa), 1), alive, r"\kappa"),
            Step(
                Rewrite("collect"),
                sp.log(own) + depth + (lam - 1) * own_ratio,
                sp.log(own * sp.exp(depth)) + (lam - 1) * own_ratio,
                sup,
            ),
            Step(
                Rewrite("collect"), lam * own_ratio + sp.log(c), sp.log(c * own / own_base) + (lam - 1) * own_ratio, sup
            ),
            Step(Differentiate(lam), margin, slope, rise),
            Step(Sign(">"), slope, name=rise),
            Step(
                Solve(lam),
                sp.Eq(sp.log(p) + (lam - 1) * log_m, sp.log(own_clip) + (lam - 1) * log_t),
                1 + sp.log(own_clip / p) / gap,
                dies,
                pair,
            ),
            Step(
                Rewrite("collect"),
                sum(mass * one for mass, one in zip(masses, held, strict=True)),
                kappa * spread,
                r"\textstyle\sum_k\pi_k(A_k-\bar A)",
            ),
            Step(Sign(">"), spread),
        ),
        {
            "one token": (
                dies,
                sp.Eq(sp.Symbol(r"\sum_{k\ne a}t_ke^{(\lambda-1)r_k}"), sp.Symbol(r"c_ae^{(\lambda-1)r_a}")),
            )
        },
        module="updates",
    )


@derivation
def capacity() -> Derivation:
    """Derive the largest steady push that the tail survives under plain gradient, near-deterministic."""
    tail_ratio, pull, steady, distance = positive(r"r \kappa \varsigma d")
    region = where(
        r"0<b<p<1,\quad r,c,\lambda>1,\quad \kappa,\varsigma,d>0", {tail_ratio: 1 + t, pull: k, steady: h, distance: n}
    )
    rising_part = Assumptions(r"0<r<e^{1+\kappa}", {**region.values, tail_ratio: sp.exp(1 + k) / (1 + n)})
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
    return Derivation(
        "capacity",
        region,
        (
            Step(Limit(p, sp.Integer(1), s, sp.oo), (force / (1 - p)).subs(q, student), bare),
            Step(Differentiate(tail_ratio), bare, slope, name),
            Step(Solve(tail_ratio), sp.Eq(slope, 0), best, "r"),
            Step(Sign(">"), 1 + pull - sp.log(tail_ratio), sp.log(best / tail_ratio), r"1+\kappa-\log r", rising_part),
            Step(Substitute({tail_ratio: best}), bare, sp.exp(-1 - pull)),
            Step(Differentiate(tail_ratio), weighted, growth),
            Step(Sign(">"), growth),
            Step(Substitute({tail_ratio: best}), c * bare, thin_tail),
            Step(Substitute({tail_ratio: c}), c * bare, thick),
            Step(Limit(tail_ratio, sp.oo, t, sp.oo), weighted, sp.oo),
            Step(Rewrite("collect"), uncentred, gathered),
            Step(Substitute({tail_ratio: c}), weighted, sp.log(c) - (lam - 1) * (thin + log_m / c)),
            Step(Rewrite("collect"), gap, thin + log_m),
            Step(Limit(p, sp.Integer(1), s, sp.oo), thin_tail.subs(pull, edge), sp.exp(-1)),
            Step(Solve(lam), sp.Eq(holds, steady), wins, r"\lambda"),
            Step(Rewrite("subtract"), wins.subs(steady, steady / c) - wins, sp.log(c) / distance),
        ),
        {
            "capacity": (
                r"\varsigma_{\max}",
                (1 - p) * sp.Piecewise((thick, sp.log(c) >= 1 + pull), (thin_tail, True)),
            ),
        },
        module="updates",
    )
