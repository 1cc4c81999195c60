"""Rules that drop the advantage of some tokens: top-k losses and truncated sampling."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import push
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, gap, lam, logit, p, positive, q, real
from lambda_star.symbolic.updates.parts import (
    RULE,
    clip_name,
    dies,
    g,
    h,
    height_m,
    height_t,
    k,
    leaves,
    log_m,
    log_t,
    m,
    n,
    rule,
    s,
    t,
    total,
    u,
    v,
    velocity,
    w,
    where,
    z,
)

__all__ = ["top_k", "top_k_through", "truncated_sampling"]

half = sp.Rational(1, 2)
value_m, value_t = sp.log(height_m / q), sp.log(height_t / (1 - q))
peak = p * (p / b) ** (lam - 1)
"""The height h_m of the modal token, written out."""

modal_end = 1 + sp.log(1 / p) / log_m
leading = (1 + s) / (2 + s)
LEADS = where(r"0<b<p<1,\quad p>\frac12", {p: leading, b: leading * u / (1 + u)})
TRAILS = where(r"q<\frac12,\quad h_\tau<1-p<\frac12", {q: z / (2 * (1 + z)), height_t: t / (2 * (1 + t))})
log_clip = rf"\log {clip_name}"


@derivation
def top_k() -> Derivation:
    """Derive where the tail dies if the student's most probable token alone has an advantage."""
    richer = where(r"Z_\lambda>1", {height_m: (1 + k) * u / (1 + u), height_t: (1 + k) / (1 + u)})
    return rule(
        "top_k",
        LEADS,
        (
            Step(Define(), value_m, name=velocity),
            Step(Solve(q), sp.Eq(value_m, 0), height_m, "q"),
            Step(Differentiate(q), value_m, -1 / q, r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)"),
            Step(Sign("<"), -1 / q, name=r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)"),
            Step(Sign(">"), -value_t, sp.log((1 - q) / height_t), velocity, TRAILS),
            Step(Sign(">"), height_m - height_m / total, height_m * (total - 1) / total, r"h_m-q_\lambda", richer),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m, 0), modal_end, dies),
            Step(Substitute({lam: modal_end}), sp.log(p) + push, -sp.log(1 / p) * log_t / log_m, log_clip),
        ),
        (sp.Integer(1), modal_end, sp.Min(peak, 1), p ** (log_t / log_m)),
    )


@derivation
def top_k_through() -> Derivation:
    """Derive the same for a top-k loss that is differentiated and has no bucket for the other tokens."""
    stuck = 1 + sp.log(sp.E / (2 * p)) / log_m
    end = 1 + sp.log(sp.E / p) / log_m
    outside = 1 - value_t
    return rule(
        "top_k_through",
        LEADS,
        (
            Step(Differentiate(q), q * value_m, value_m - 1, velocity),
            Step(Solve(q), sp.Eq(value_m - 1, 0), height_m / sp.E, "q"),
            Step(Sign(">"), half - p / sp.E, name=r"\frac12-\frac pe"),
            Step(Differentiate(q), (1 - q) * value_t, outside, velocity),
            Step(Sign(">"), outside, 1 + sp.log((1 - q) / height_t), velocity, TRAILS),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m - 1, sp.log(half)), stuck, r"\lambda"),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m - 1, 0), end, dies),
            Step(Substitute({lam: end}), sp.log(p) + push, (gap - sp.log(1 / p) * log_t) / log_m, log_clip),
        ),
        (sp.Integer(1), end, sp.Max(half, sp.Min(peak / sp.E, 1)), p * (sp.E / p) ** (gap / log_m)),
    )


@derivation
def truncated_sampling() -> Derivation:
    """Derive where the tokens die that are never sampled."""
    masses, teacher, ratios = positive("pi_1:4"), positive("t_1:4"), real("r_1:3")
    advantages, height = real("A_1:3"), sp.Symbol("h_a", positive=True)
    mass, share = sp.symbols("pi_a sigma", positive=True)
    region = Assumptions(
        r"K=3,\quad S=\lbrace1,2\rbrace,\quad \textstyle\sum_k\pi_k=\sum_kt_k=1,\quad r_1>0>r_2",
        {
            **{one: value / (u + v + w) for one, value in zip(masses, (u, v, w), strict=True)},
            **{one: value / (g + h + k) for one, value in zip(teacher, (g, h, k), strict=True)},
            **dict(zip(ratios, (s, -t), strict=True)),
            **dict(zip(advantages, (m - n, n - s), strict=True)),
            lam: m - n,
            height: g,
            mass: u,
            share: v,
        },
    )
    sampled = [one / (masses[0] + masses[1]) for one in masses[:2]]
    mean = sampled[0] * advantages[0] + sampled[1] * advantages[1]
    first = sampled[0] * advantages[0] * (1 - masses[0]) - sampled[1] * advantages[1] * masses[0]
    powers = [one * sp.exp((lam - 1) * ratio) for one, ratio in zip(teacher[:2], ratios, strict=True)]
    inside = sum(powers)
    slope = sum(one * ratio for one, ratio in zip(powers, ratios, strict=True))
    curve = sum(one * ratio**2 for one, ratio in zip(powers, ratios, strict=True))
    second = r"\frac{\partial^2Z_S}{\partial\lambda^2}"
    edge_mass = sp.Symbol("nu", positive=True)
    entering = where(r"0<b<p<1,\quad 0<\nu<1", {edge_mass: t / (1 + t)})
    entry = 1 + (logit(edge_mass) - logit(p)) / gap
    return Derivation(
        "truncated_sampling",
        region,
        (
            Step(
                Rewrite("collect"),
                first,
                masses[0] * (advantages[0] / (masses[0] + masses[1]) - mean),
                r"z_1'",
            ),
            Step(Solve(mass), sp.Eq(sp.log(height / mass) / share, 0), height),
            Step(Substitute({lam: sp.Integer(1)}), inside - 1, -teacher[2], "Z_S(1)-1"),
            Step(Sign("<"), -teacher[2], name="Z_S(1)-1"),
            Step(Differentiate(lam), inside, slope, r"\frac{\partial Z_S}{\partial\lambda}"),
            Step(Differentiate(lam), slope, curve, second),
            Step(Sign(">"), curve, name=second),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m, 0), modal_end, r"\lambda", RULE),
            Step(Solve(lam), sp.Eq(logit(p) + push, logit(edge_mass)), entry, leaves, entering),
            Step(Substitute({q: height_m / total}), value_m, sp.log(total), velocity, RULE),
        ),
        {
            "dies": (dies, sp.Eq(sp.Symbol(r"\sum_{a\in S}t_ae^{(\lambda-1)r_a}"), 1)),
            "two outcomes": (dies, modal_end),
            "leaves": (leaves, sp.Max(1, entry)),
        },
        module="updates",
    )
