"""K tokens: derivations of bounds on the threshold, and of its order among the three readings of λ*."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import AHEAD, collapse, star
from lambda_star.symbolic.bernoulli import ratio as two_outcome_ratio
from lambda_star.symbolic.categorical.ratios import (
    ORDERED,
    A,
    b_i,
    base,
    information,
    partition_by_ratio,
    r,
    r_min,
    t,
    t_i,
    weights,
)
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, p, positive, real

__all__ = ["readings", "token_bounds"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
A_2, r_tail = real(r"A_2 r_{\mathrm{tail}}")
w, d, rho, modal, tail, merged = positive(r"w d \rho M S T")
y = sp.Symbol("y", real=True)
ratios = positive(r"\rho_1:3")
centre = sp.Symbol(r"\bar\rho", positive=True)
divergence = sp.Symbol(r"\mathrm{KL}", real=True)

t_k, y_k = positive("t_k y_k")
"""The teacher's probability of one token, and the excess of its log-ratio over that of the binding token."""

BOUNDS = Assumptions(
    r"0\le y\le d,\quad 0<w<1,\quad c>1,\quad \lambda>1",
    {d: z, y: z * u / (1 + u), w: v / (1 + v), c: 1 + k, lam: 1 + m, r_min: -s, divergence: z * v / (1 + v) - s},
)
POWER = Assumptions(
    r"b_i,\rho,\bar\rho>0,\quad \lambda>1",
    {b_i: h, rho: k, centre: g, ratios[0]: s, ratios[1]: z, base[0]: u, base[1]: v, lam: 1 + m},
)
MERGE = Assumptions(r"b_1,b_2>0,\quad 0<\rho_1<\rho_2", {base[0]: u, base[1]: v, ratios[0]: z, ratios[1]: z + s})
CLASSES = Assumptions(r"0<p,b<1,\quad \lambda>1", {p: u / (1 + u), b: v / (1 + v), lam: 1 + m})
MASSES = Assumptions(
    r"0<p<1,\quad S\ge T,\quad M,T>0,\quad r_{\mathrm{tail}}\ge r_{\min},\quad A\ge A_2,\quad \lambda>1",
    {p: z / (1 + z), modal: u, merged: v, tail: v + k, A_2: s, A: s + g, r_min: -h, r_tail: -h + k, lam: 1 + m},
)
SINGLE = Assumptions(r"0<t_k<1,\quad y_k>0,\quad c>1,\quad \lambda>1", {t_k: u / (1 + u), y_k: z, c: 1 + k, lam: 1 + m})
BELOW = Assumptions(r"y<0,\quad \lambda>1", {y: -sp.log(1 + u) / m, lam: 1 + m})
lower = 1 + sp.log(1 + (c - 1) / w) / d
upper = 1 + sp.log(c) / (divergence - r_min)
single_upper = 1 + sp.log(c / t_k) / y_k


@derivation
def token_bounds() -> Derivation:
    """Derive lower and upper bounds on the threshold from a chord and a tangent of the exponential."""
    power = sp.exp((lam - 1) * y)
    chord = 1 + y / d * (sp.exp((lam - 1) * d) - 1)
    bound = 1 - w + w * sp.exp((lam - 1) * d)
    weaker = 1 + sp.log(c) / d
    middle = sp.exp((lam - 1) * w * d)
    tangent = middle * (1 + (lam - 1) * (y - w * d))
    partition = partition_by_ratio
    mass = sum(weight * log_ratio for weight, log_ratio in zip(weights, r, strict=True)) / sum(weights)
    two_tokens = p * sp.log(p / b) + (1 - p) * sp.log((1 - p) / (1 - b)) - sp.log((1 - p) / (1 - b))
    return Derivation(
        "token_bounds",
        BOUNDS,
        (
            Step(
                Rewrite("collect"),
                sp.exp(partition - (lam - 1) * r[0]),
                sum(teacher * sp.exp((lam - 1) * (value - r[0])) for teacher, value in zip(t, r, strict=True)),
                r"R_{\mathrm{bind}}(\lambda)",
                assumptions=ORDERED,
            ),
            Step(
                Rewrite("expand"),
                sum(teacher * (value - r[0]) for teacher, value in zip(t, r, strict=True)),
                information - r[0],
                "wd",
                assumptions=ORDERED,
            ),
            Step(Define(), chord - power, name="g(y)"),
            Step(Substitute({y: sp.Integer(0)}), chord - power, sp.Integer(0), "g(0)"),
            Step(Substitute({y: d}), chord - power, sp.Integer(0), "g(d)"),
            Step(Differentiate(y), chord - power, (sp.exp((lam - 1) * d) - 1) / d - (lam - 1) * power, "g'(y)"),
            Step(
                Differentiate(y),
                (sp.exp((lam - 1) * d) - 1) / d - (lam - 1) * power,
                -((lam - 1) ** 2) * power,
                "g''(y)",
            ),
            Step(Sign("<"), -((lam - 1) ** 2) * power, name="g''(y)"),
            Step(Substitute({y: w * d}), chord, bound, r"\overline{R}(\lambda)"),
            Step(Differentiate(lam), bound, w * d * sp.exp((lam - 1) * d), r"\overline{R}'(\lambda)"),
            Step(Sign(">"), w * d * sp.exp((lam - 1) * d), name=r"\overline{R}'(\lambda)"),
            Step(Solve(lam), sp.Eq(bound, c), lower, r"\underline{\lambda}"),
            Step(Substitute({p: w, b: w / (w + (1 - w) * sp.exp(d))}), star, lower, r"\underline{\lambda}"),
            Step(
                Sign(">"),
                lower - weaker,
                sp.log(1 + (c - 1) * (1 - w) / (c * w)) / d,
                r"\underline{\lambda}-\underline{\lambda}_0",
            ),
            Step(Rewrite("collect"), two_tokens, p * gap, "wd", assumptions=AHEAD),
            Step(Substitute({w: p, d: gap}), lower, star, r"\underline{\lambda}", assumptions=AHEAD),
            Step(Sign(">"), 1 - power, name=r"1-e^{(\lambda-1)y}", assumptions=BELOW),
            Step(Solve(w), sp.Eq(w * d, divergence - r_min), (divergence - r_min) / d, "w"),
            Step(Define(), power - tangent, name="h(y)"),
            Step(Substitute({y: w * d}), power - tangent, sp.Integer(0), "h(wd)"),
            Step(Differentiate(y), power - tangent, (lam - 1) * (power - middle), "h'(y)"),
            Step(Substitute({y: w * d}), (lam - 1) * (power - middle), sp.Integer(0), "h'(wd)"),
            Step(Differentiate(y), (lam - 1) * (power - middle), (lam - 1) ** 2 * power, "h''(y)"),
            Step(Sign(">"), (lam - 1) ** 2 * power, name="h''(y)"),
            Step(Substitute({y: w * d}), tangent, middle, r"\underline{R}(\lambda)"),
            Step(Differentiate(lam), partition, mass, r"A'(\lambda)", assumptions=ORDERED),
            Step(Substitute({lam: sp.Integer(1)}), mass, information, "A'(1)", assumptions=ORDERED),
            Step(Solve(lam), sp.Eq((lam - 1) * (divergence - r_min), sp.log(c)), upper, r"\overline{\lambda}"),
            Step(
                Sign(">"),
                sp.exp(partition - (lam - 1) * r[0]) - t[2] * sp.exp((lam - 1) * (r[2] - r[0])),
                t[0] + t[1] * sp.exp((lam - 1) * (r[1] - r[0])),
                assumptions=ORDERED,
            ),
            Step(
                Solve(lam),
                sp.Eq(t_k * sp.exp((lam - 1) * y_k), c),
                single_upper,
                r"\overline{\lambda}_k",
                assumptions=SINGLE,
            ),
            Step(
                Differentiate(lam),
                t_k * sp.exp((lam - 1) * y_k),
                t_k * y_k * sp.exp((lam - 1) * y_k),
                assumptions=SINGLE,
            ),
            Step(Sign(">"), t_k * y_k * sp.exp((lam - 1) * y_k), assumptions=SINGLE),
            Step(Substitute({t_k: p, y_k: gap}), single_upper, collapse, r"\overline{\lambda}_k", assumptions=AHEAD),
        ),
        {
            "lower bound": (r"\underline{\lambda}", lower),
            "weaker lower bound": (r"\underline{\lambda}_0", weaker),
            "Jensen's upper bound": (r"\overline{\lambda}", upper),
            "single-token upper bound": (r"\overline{\lambda}_k", single_upper),
        },
        spot={w: "0.9", d: "3", c: "5"},
        module="categorical",
    )


@derivation
def readings() -> Derivation:
    """Derive that the threshold of two outcomes lies between those of tokens and of classes."""
    above = rho**lam - centre**lam - lam * centre ** (lam - 1) * (rho - centre)
    slope = lam * (rho ** (lam - 1) - centre ** (lam - 1))
    curvature = lam * (lam - 1) * rho ** (lam - 2)
    share = (base[0] * ratios[0] + base[1] * ratios[1]) / (base[0] + base[1])
    pair = base[0] * above.subs(rho, ratios[0]) + base[1] * above.subs(rho, ratios[1])
    merging = base[0] * ratios[0] ** lam + base[1] * ratios[1] ** lam - (base[0] + base[1]) * share**lam
    class_ratio = (1 - p) * (1 + modal / tail)
    return Derivation(
        "readings",
        POWER,
        (
            Step(Substitute({t_i: rho * b_i}), t_i**lam * b_i ** (1 - lam), b_i * rho**lam),
            Step(Define(), above, name=r"h(\rho)"),
            Step(Substitute({rho: centre}), above, sp.Integer(0), r"h(\bar\rho)"),
            Step(Differentiate(rho), above, slope, r"h'(\rho)"),
            Step(Substitute({rho: centre}), slope, sp.Integer(0), r"h'(\bar\rho)"),
            Step(Differentiate(rho), slope, curvature, r"h''(\rho)"),
            Step(Sign(">"), curvature, name=r"h''(\rho)"),
            Step(Substitute({centre: share}), pair, merging, r"b_1h(\rho_1)+b_2h(\rho_2)"),
            Step(
                Sign(">"),
                share - ratios[0],
                base[1] * (ratios[1] - ratios[0]) / (base[0] + base[1]),
                r"\bar\rho-\rho_1",
                assumptions=MERGE,
            ),
            Step(
                Sign(r"\ge"),
                sp.log(modal + tail) - sp.log(modal + merged),
                sp.log(1 + (tail - merged) / (modal + merged)),
                "A-A_2",
                assumptions=MASSES,
            ),
            Step(
                Sign(r"\ge"),
                (A - (lam - 1) * r_min) - (A_2 - (lam - 1) * r_tail),
                (A - A_2) + (lam - 1) * (r_tail - r_min),
                r"\log R_{\mathrm{bind}}-\log R",
                assumptions=MASSES,
            ),
            Step(
                Rewrite(),
                (1 - p) / (tail / (modal + tail)),
                class_ratio,
                r"R_{\mathrm{class}}(\lambda)",
                assumptions=MASSES,
            ),
            Step(
                Substitute({modal: p**lam * b ** (1 - lam), tail: (1 - p) ** lam * (1 - b) ** (1 - lam)}),
                class_ratio,
                two_outcome_ratio,
                r"R(\lambda)",
                assumptions=CLASSES,
            ),
            Step(
                Sign(r"\ge"),
                class_ratio.subs(tail, merged) - class_ratio,
                (1 - p) * modal * (tail - merged) / (tail * merged),
                r"R-R_{\mathrm{class}}",
                assumptions=MASSES,
            ),
        ),
        {"class ratio": (r"R_{\mathrm{class}}(\lambda)", class_ratio)},
        module="categorical",
    )
