"""K tokens: derivations for classes of tokens and for unlisted tokens."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.categorical.bounds import centre, rho, w
from lambda_star.symbolic.categorical.ratios import A, first, shift, total
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import star
from lambda_star.symbolic.regions import above, between, free
from lambda_star.symbolic.rules import Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, lam, p, positive, real

__all__ = ["safe_step", "unlisted"]

mean, class_mean, r_low, r_high, A_C = real(r"\mu \mu_C r_{\mathrm{lo}} r_{\mathrm{hi}} A_C")
mean_before, mean_after = real(r"\mu_{0} \mu_{1}")
class_mean_before, class_mean_after = real(r"\mu_{C0} \mu_{C1}")
class_mass, start, step = positive(r"T_C R_0 \delta")
"""Means of r over all tokens and in a class, the range of r, mass and ratio of the class, and a step in λ."""

class_total, grown, class_grown = positive("N_C G G_C")
gain, class_gain, rise, class_rise = positive(r"G/N {G_C/N_C} \delta \delta_C")
class_first = sp.Symbol("N_{C1}", real=True)
"""The weights of the class and their first moment, and the weights of all tokens and of the class after a step."""

T, B, low, high = positive(r"T B \rho_{\mathrm{lo}} \rho_{\mathrm{hi}}")
b_low, b_high = positive(r"b_{\mathrm{lo}} b_{\mathrm{hi}}")
"""The masses of the unlisted tokens under teacher and base, and the range of their ratios t/b."""

known, in_class, unknown, most, least = positive(r"S S_C X X_{\mathrm{hi}} X_{\mathrm{lo}}")
"""Summands of Z: listed tokens, those of them in a class, and the unlisted tokens with their bounds."""

MARCH = assume(
    free(r_low),
    above(r_low, r_high),
    between(r_low, class_mean, r_high),
    between(0, w, 1),
    above(0, start, c),
    above(0, step),
)
FIRST = MARCH.use(above(0, start), above(1, c))
PLACE = assume(free(r_low), above(r_low, r_high), between(r_low, mean, r_high), between(0, w, 1))
MEANS = assume(free(mean, class_mean), above(0, rise, class_rise, each=True))
CLASS = assume(above(0, class_mass), free(A, A_C, log=1))
WEIGHTS = assume(above(0, total, class_total, gain, class_gain, each=True), free(first, class_first), above(0, shift))
CHORD = assume(above(0, low, rho, high), above(1, lam))
UNKNOWN = assume(
    above(0, low, high),
    above(0, B, b_low, each=True),
    between(low * B, T, high * B),
    between(0, b_high, B),
    above(1, lam),
)
SUMS = assume(above(0, least, unknown, most), above(0, known, in_class, class_mass, each=True))


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
            Step(Substitute({rho: low}), chord - rho**lam, sp.Integer(0), r"g(\rho_{\mathrm{lo}})", CHORD),
            Step(Substitute({rho: high}), chord - rho**lam, sp.Integer(0), r"g(\rho_{\mathrm{hi}})", CHORD),
            Step(Differentiate(rho), chord - rho**lam, slope, r"g'(\rho)", CHORD),
            Step(Differentiate(rho), slope, curvature, r"g''(\rho)", CHORD, sign="<"),
            Step(Solve(b_high), sp.Eq(low * (B - b_high) + high * b_high, T), share_high, r"b_{\mathrm{hi}}", sign=">"),
            Step(Rewrite("collect"), B - share_high, share_low, r"b_{\mathrm{lo}}", sign=">"),
            Step(Substitute({b_low: share_low}), low * b_low, low * share_low, r"t_{\mathrm{lo}}"),
            Step(Substitute({b_high: share_high}), high * b_high, high * share_high, r"t_{\mathrm{hi}}"),
            Step(
                Substitute({rho: T / B}), B * chord, share_low * low**lam + share_high * high**lam, r"X_{\mathrm{hi}}"
            ),
            Step(
                Sign(">"),
                sp.log(known + unknown) - sp.log(known + least),
                sp.log(1 + (unknown - least) / (known + least)),
                r"A-A_{\mathrm{lo}}",
                SUMS,
            ),
            Step(
                Sign(">"),
                sp.log(known + most) - sp.log(known + unknown),
                sp.log(1 + (most - unknown) / (known + unknown)),
                r"A_{\mathrm{hi}}-A",
                SUMS,
            ),
            Step(Sign(">"), T / B - low, (T - low * B) / B, r"\frac TB-\rho_{\mathrm{lo}}"),
            Step(
                Differentiate(unknown),
                outside,
                class_mass / in_class,
                r"\frac{\partial}{\partial X}R_C",
                SUMS,
                sign=">",
            ),
            Step(
                Differentiate(unknown),
                inside,
                -class_mass * known / (in_class + unknown) ** 2,
                r"\frac{\partial}{\partial X}R_C",
                SUMS,
                sign="<",
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
        given={
            r"\text{tangent}": tangent,
            r"\text{chord}": chord,
            r"g(\rho)": chord - rho**lam,
            "T": low * (B - b_high) + high * b_high,
            r"t_{\mathrm{lo}}": low * b_low,
            r"t_{\mathrm{hi}}": high * b_high,
            r"\bar\rho": T / B,
            "A": sp.log(known + unknown),
            r"A_{\mathrm{lo}}": sp.log(known + least),
            r"A_{\mathrm{hi}}": sp.log(known + most),
            r"R_C": outside,
            r"R_C'": inside,
        },
    )


@derivation
def safe_step() -> Derivation:
    """Derive how far λ may go in one step before any class of tokens can reach the clip."""
    log_class = sp.log(total + first * shift) - sp.log(class_total + class_first * shift)
    slope = first / (total + first * shift) - class_first / (class_total + class_first * shift)
    after, before = grown / class_grown, total / class_total
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
                CLASS,
            ),
            Step(Differentiate(shift), log_class, slope, "", WEIGHTS),
            Step(
                Substitute({shift: sp.Integer(0)}),
                slope,
                first / total - class_first / class_total,
                r"(\log R_C)'(\lambda)",
                WEIGHTS,
            ),
            Step(
                Substitute({mean_before: mean - rise, class_mean_after: class_mean + class_rise}),
                (mean - class_mean) - (mean_before - class_mean_after),
                rise + class_rise,
                r"(\log R_C)'(\lambda)-(\mu_0-\mu_{C1})",
                MEANS,
                sign=">",
            ),
            Step(
                Substitute({mean_after: mean + rise, class_mean_before: class_mean - class_rise}),
                (mean_after - class_mean_before) - (mean - class_mean),
                rise + class_rise,
                r"(\mu_1-\mu_{C0})-(\log R_C)'(\lambda)",
                MEANS,
                sign=">",
            ),
            Step(
                Substitute({grown: total * gain, class_grown: class_total * class_gain}),
                after / before,
                gain / class_gain,
                r"\frac{R_C(\lambda_0+\delta)}{R_C(\lambda_0)}",
                WEIGHTS,
            ),
            Step(Solve(w), sp.Eq((1 - w) * r_low + w * r_high, mean), (mean - r_low) / (r_high - r_low), "w", PLACE),
            Step(Rewrite("divide"), chord / sp.exp(step * class_mean), growth),
            Step(Sign(">"), bound - growth, (1 - w) * (1 - sp.exp(-step * (class_mean - r_low)))),
            Step(Solve(step), sp.Eq(start * bound, c), safe, r"\delta_C", sign=">"),
            Step(Substitute({c: c / start, p: w, b: base_of_bound}), star - 1, safe, r"\delta_C"),
            Step(
                Substitute({start: sp.Integer(1)}),
                safe,
                sp.log(1 + (c - 1) / w) / (r_high - class_mean),
                r"\delta_C",
                FIRST,
            ),
        ),
        {"safe step": (r"\delta_C", safe)},
        module="categorical",
        given={
            r"R_C(\lambda)": class_mass / (sp.exp(A_C) / sp.exp(A)),
            r"\log R_C(\lambda+h)-\log T_C": log_class,
            r"(\log R_C)'(\lambda)": mean - class_mean,
            r"\mu_0-\mu_{C1}": mean_before - class_mean_after,
            r"\mu_1-\mu_{C0}": mean_after - class_mean_before,
            r"\frac{R_C(\lambda_0+\delta)}{T_C}": after,
            r"\frac{R_C(\lambda_0)}{T_C}": before,
            r"\mu": (1 - w) * r_low + w * r_high,
            r"\text{chord}": chord,
            r"\text{bound}": bound,
        },
        uses=("threshold", "token_bounds"),
    )
