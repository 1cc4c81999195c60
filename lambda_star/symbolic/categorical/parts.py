"""K tokens: derivations for classes of tokens and for unlisted tokens."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import star
from lambda_star.symbolic.categorical.bounds import centre, rho, w
from lambda_star.symbolic.categorical.ratios import A, partition_by_ratio, r, t, weights
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, lam, p, positive, real

__all__ = ["safe_step", "unlisted"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
mean, class_mean, r_low, r_high, A_C = real(r"\mu \mu_C r_{\mathrm{lo}} r_{\mathrm{hi}} A_C")
mean_before, mean_after = real(r"\mu_{0} \mu_{1}")
class_mean_before, class_mean_after = real(r"\mu_{C0} \mu_{C1}")
class_mass, start, step = positive(r"T_C R_0 \delta")
"""Means of r over all tokens and in a class, the range of r, mass and ratio of the class, and a step in λ."""

tilted = positive("n_1:4")
"""The weights of three tokens at the λ from which a step starts."""

T, B, low, high = positive(r"T B \rho_{\mathrm{lo}} \rho_{\mathrm{hi}}")
b_low, b_high = positive(r"b_{\mathrm{lo}} b_{\mathrm{hi}}")
"""The masses of the unlisted tokens under teacher and base, and the range of their ratios t/b."""

known, in_class, unknown, most, least = positive(r"S S_C X X_{\mathrm{hi}} X_{\mathrm{lo}}")
"""Summands of Z: listed tokens, those of them in a class, and the unlisted tokens with their bounds."""

FALLING = Assumptions(
    r"K=3,\quad r_1<r_2<r_3,\quad t_k>0,\quad \lambda\in\mathbb{R}",
    {
        **dict(zip(t, positive("u_1:4"), strict=True)),
        **dict(zip(r, (k - z, k - z + u, k - z + u + v), strict=True)),
        lam: m - g,
        class_mass: h,
    },
)
TILTED = Assumptions(
    r"K=3,\quad n_k>0,\quad r_k\in\mathbb{R},\quad \delta>0",
    {
        **dict(zip(tilted, positive("u_1:4"), strict=True)),
        **{symbol: sp.log(value) / m for symbol, value in zip(r, positive("v_1:4"), strict=True)},
        step: m,
    },
)
_share = v / (1 + v)
MARCH = Assumptions(
    r"r_{\mathrm{lo}}<\mu_C<r_{\mathrm{hi}},\quad r_{\mathrm{lo}}<\mu<r_{\mathrm{hi}},\quad c>R_0>0,\quad \delta>0",
    {
        r_low: k - g,
        class_mean: k - g + sp.log(1 + u) / m,
        r_high: k - g + sp.log(1 + u) / m + h,
        mean: k - g + _share * (sp.log(1 + u) / m + h),
        w: _share,
        start: s,
        c: s + z,
        step: m,
    },
)
MEANS = Assumptions(
    r"\lambda_0<\lambda<\lambda_1",
    {
        mean_before: k - g,
        mean: k - g + u,
        mean_after: k - g + u + v,
        class_mean_before: h - m,
        class_mean: h - m + s,
        class_mean_after: h - m + s + z,
    },
)
FIRST = Assumptions(MARCH.text, {**MARCH.values, c: 1 + z})
CLASS = Assumptions(r"T_C>0,\quad A,A_C\in\mathbb{R}", {class_mass: u, A: k - g, A_C: h - m})

CHORD = Assumptions(
    r"0<\rho_{\mathrm{lo}}<\rho<\rho_{\mathrm{hi}},\quad \lambda>1", {low: z, rho: z + s, high: z + s + h, lam: 1 + m}
)
UNKNOWN = Assumptions(
    r"0<\rho_{\mathrm{lo}}<\frac TB<\rho_{\mathrm{hi}},\quad \lambda>1",
    {low: z, high: z + s, b_low: u, b_high: v, B: u + v, T: u * z + v * (z + s), lam: 1 + m},
)
SUMS = Assumptions(
    r"X_{\mathrm{lo}}<X<X_{\mathrm{hi}},\quad S,S_C,T_C>0",
    {least: u, unknown: u + v, most: u + v + h, known: k, in_class: s, class_mass: z},
)


@derivation
def unlisted() -> Derivation:
    """Derive bounds on the threshold if only some tokens are listed."""
    tangent = centre**lam + lam * centre ** (lam - 1) * (rho - centre)
    chord = low**lam + (rho - low) * (high**lam - low**lam) / (high - low)
    slope = (high**lam - low**lam) / (high - low) - lam * rho ** (lam - 1)
    curvature = -lam * (lam - 1) * rho ** (lam - 2)
    share_high = (T - low * B) / (high - low)
    share_low = (high * B - T) / (high - low)
    outside = class_mass * (known + in_class + unknown) / in_class
    inside = class_mass * (1 + known / (in_class + unknown))
    return Derivation(
        "unlisted",
        UNKNOWN,
        (
            Step(Substitute({rho: T / B, centre: T / B}), B * tangent, T**lam * B ** (1 - lam), r"X_{\mathrm{lo}}"),
            Step(Define(), chord - rho**lam, name=r"g(\rho)", assumptions=CHORD),
            Step(Substitute({rho: low}), chord - rho**lam, sp.Integer(0), r"g(\rho_{\mathrm{lo}})", assumptions=CHORD),
            Step(Substitute({rho: high}), chord - rho**lam, sp.Integer(0), r"g(\rho_{\mathrm{hi}})", assumptions=CHORD),
            Step(Differentiate(rho), chord - rho**lam, slope, r"g'(\rho)", assumptions=CHORD),
            Step(Differentiate(rho), slope, curvature, r"g''(\rho)", assumptions=CHORD),
            Step(Sign("<"), curvature, name=r"g''(\rho)", assumptions=CHORD),
            Step(Solve(b_high), sp.Eq(low * (B - b_high) + high * b_high, T), share_high, r"b_{\mathrm{hi}}"),
            Step(Sign(">"), share_high, name=r"b_{\mathrm{hi}}"),
            Step(Rewrite("collect"), B - share_high, share_low, r"b_{\mathrm{lo}}"),
            Step(Sign(">"), share_low, name=r"b_{\mathrm{lo}}"),
            Step(
                Substitute({rho: T / B}), B * chord, share_low * low**lam + share_high * high**lam, r"X_{\mathrm{hi}}"
            ),
            Step(
                Sign(">"),
                sp.log(known + unknown) - sp.log(known + least),
                sp.log(1 + (unknown - least) / (known + least)),
                r"A-A_{\mathrm{lo}}",
                assumptions=SUMS,
            ),
            Step(
                Sign(">"),
                sp.log(known + most) - sp.log(known + unknown),
                sp.log(1 + (most - unknown) / (known + unknown)),
                r"A_{\mathrm{hi}}-A",
                assumptions=SUMS,
            ),
            Step(Sign(">"), T / B - low, (T - low * B) / B, r"\frac TB-\rho_{\mathrm{lo}}"),
            Step(
                Differentiate(unknown),
                outside,
                class_mass / in_class,
                r"\frac{\partial}{\partial X}R_C",
                assumptions=SUMS,
            ),
            Step(Sign(">"), class_mass / in_class, name=r"\frac{\partial}{\partial X}R_C", assumptions=SUMS),
            Step(
                Differentiate(unknown),
                inside,
                -class_mass * known / (in_class + unknown) ** 2,
                r"\frac{\partial}{\partial X}R_C",
                assumptions=SUMS,
            ),
            Step(
                Sign("<"),
                -class_mass * known / (in_class + unknown) ** 2,
                name=r"\frac{\partial}{\partial X}R_C",
                assumptions=SUMS,
            ),
        ),
        {
            "with_unlisted": (
                r"\left(t_{\mathrm{lo}},t_{\mathrm{hi}};b_{\mathrm{lo}},b_{\mathrm{hi}}\right)",
                sp.Tuple(low * share_low, high * share_high, share_low, share_high),
            ),
            "merged token": ("(t;b)", sp.Tuple(T, B)),
        },
        module="categorical",
    )


@derivation
def safe_step() -> Derivation:
    """Derive how far λ may go in one step before any class of tokens can reach the clip."""
    log_class = sp.log(class_mass) + partition_by_ratio - sp.log(weights[0] + weights[1])
    overall = sum(weight * log_ratio for weight, log_ratio in zip(weights, r, strict=True)) / sum(weights)
    within = (weights[0] * r[0] + weights[1] * r[1]) / (weights[0] + weights[1])
    spread = weights[0] * weights[1] * (r[0] - r[1]) ** 2 / (weights[0] + weights[1]) ** 2
    grown = [weight * sp.exp(step * log_ratio) for weight, log_ratio in zip(tilted, r, strict=True)]
    chord = sp.exp(step * r_low) * (1 - w + w * sp.exp(step * (r_high - r_low)))
    growth = (1 - w) * sp.exp(-step * (class_mean - r_low)) + w * sp.exp(step * (r_high - class_mean))
    bound = 1 - w + w * sp.exp(step * (r_high - class_mean))
    safe = sp.log(1 + (c / start - 1) / w) / (r_high - class_mean)
    base_of_bound = w / (w + (1 - w) * sp.exp(r_high - class_mean))
    return Derivation(
        "safe_step",
        MARCH,
        (
            Step(
                Rewrite("expand"),
                sp.log(class_mass / (sp.exp(A_C) / sp.exp(A))),
                sp.log(class_mass) + A - A_C,
                r"\log R_C(\lambda)",
                assumptions=CLASS,
            ),
            Step(Differentiate(lam), log_class, overall - within, r"(\log R_C)'(\lambda)", assumptions=FALLING),
            Step(Differentiate(lam), within, spread, r"\mu_C'(\lambda)", assumptions=FALLING),
            Step(Sign(">"), spread, name=r"\mu_C'(\lambda)", assumptions=FALLING),
            Step(
                Sign(">"),
                (mean - class_mean) - (mean_before - class_mean_after),
                (mean - mean_before) + (class_mean_after - class_mean),
                r"(\log R_C)'(\lambda)-(\mu_0-\mu_{C1})",
                assumptions=MEANS,
            ),
            Step(
                Sign(">"),
                (mean_after - class_mean_before) - (mean - class_mean),
                (mean_after - mean) + (class_mean - class_mean_before),
                r"(\mu_1-\mu_{C0})-(\log R_C)'(\lambda)",
                assumptions=MEANS,
            ),
            Step(
                Rewrite("divide"),
                sum(grown) / (grown[0] + grown[1]) / (sum(tilted) / (tilted[0] + tilted[1])),
                (sum(grown) / sum(tilted)) / ((grown[0] + grown[1]) / (tilted[0] + tilted[1])),
                r"\frac{R_C(\lambda_0+\delta)}{R_C(\lambda_0)}",
                assumptions=TILTED,
            ),
            Step(Solve(w), sp.Eq((1 - w) * r_low + w * r_high, mean), (mean - r_low) / (r_high - r_low), "w"),
            Step(Rewrite("divide"), chord / sp.exp(step * class_mean), growth),
            Step(Sign(">"), bound - growth, (1 - w) * (1 - sp.exp(-step * (class_mean - r_low)))),
            Step(Solve(step), sp.Eq(start * bound, c), safe, r"\delta_C"),
            Step(Sign(">"), safe, name=r"\delta_C"),
            Step(Substitute({c: c / start, p: w, b: base_of_bound}), star - 1, safe, r"\delta_C"),
            Step(
                Substitute({start: sp.Integer(1)}),
                safe,
                sp.log(1 + (c - 1) / w) / (r_high - class_mean),
                r"\delta_C",
                assumptions=FIRST,
            ),
        ),
        {"safe step": (r"\delta_C", safe)},
        module="categorical",
    )
