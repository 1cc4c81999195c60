"""K tokens: derivations of bounds on the threshold, and of its order among the three readings of λ*."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.categorical.ratios import b_i, base, first, r_i, r_min, t_i, total
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import AHEAD, collapse, star
from lambda_star.symbolic.places import ratio as two_outcome_ratio
from lambda_star.symbolic.regions import above, below, between, free, rising
from lambda_star.symbolic.rules import Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, p, positive, real

__all__ = ["readings", "token_bounds"]

A_2, r_tail = real(r"A_2 r_{\mathrm{tail}}")
w, d, rho, modal, tail, merged = positive(r"w d \rho M S T")
y = sp.Symbol("y", real=True)
ratios = positive(r"\rho_1:3")
centre = sp.Symbol(r"\bar\rho", positive=True)
divergence = sp.Symbol(r"\mathrm{KL}", real=True)

t_k, y_k = positive("t_k y_k")
"""The teacher's probability of one token, and the excess of its log-ratio over that of the binding token."""

lead, joint = positive(r"{S_K-T_K} {T_K+x-T_{K+1}}")
"""By how much the summands of K tokens, and of a merged token and one more, exceed that of the merged one."""

BOUNDS = assume(
    above(0, d),
    between(0, y, d),
    between(0, w, 1),
    above(1, c),
    above(1, lam),
    free(r_min),
    between(r_min, divergence, r_min + d),
    above(0, t_i),
    free(r_i),
)
POWER = assume(above(0, b_i, rho, centre, t_i, *ratios, *base[:2], each=True), above(1, lam))
MERGE = assume(above(0, *base[:2], each=True), above(0, *ratios), above(0, lead, joint, each=True))
CLASSES = assume(between(0, p, b, 1, each=True), above(1, lam))
MASSES = assume(between(0, p, 1), above(0, modal), above(0, merged, tail), rising(r_min, r_tail), above(1, lam))
SINGLE = assume(between(0, t_k, 1), above(0, y_k), above(1, c), above(1, lam))
BELOW = assume(below(y, 0), above(1, lam))
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
    summand = t_i * sp.exp((lam - 1) * r_i) * sp.exp(-(lam - 1) * r_min)
    jensen = sp.Eq((lam - 1) * (divergence - r_min), sp.log(c))
    two_tokens = p * sp.log(p / b) + (1 - p) * sp.log((1 - p) / (1 - b)) - sp.log((1 - p) / (1 - b))
    return Derivation(
        "token_bounds",
        BOUNDS,
        (
            Step(Substitute({r_i: r_min + y}), summand, t_i * power, r"R_{\mathrm{bind},i}"),
            Step(Substitute({r_i: r_min + y}), t_i * (r_i - r_min), t_i * y),
            Step(Substitute({y: sp.Integer(0)}), chord - power, sp.Integer(0), "g(0)"),
            Step(Substitute({y: d}), chord - power, sp.Integer(0), "g(d)"),
            Step(Differentiate(y), chord - power, (sp.exp((lam - 1) * d) - 1) / d - (lam - 1) * power, "g'(y)"),
            Step(
                Differentiate(y),
                (sp.exp((lam - 1) * d) - 1) / d - (lam - 1) * power,
                -((lam - 1) ** 2) * power,
                "g''(y)",
                sign="<",
            ),
            Step(Substitute({y: w * d}), chord, bound, r"\overline{R}(\lambda)"),
            Step(Differentiate(lam), bound, w * d * sp.exp((lam - 1) * d), r"\overline{R}'(\lambda)", sign=">"),
            Step(Solve(lam), sp.Eq(bound, c), lower, r"\underline{\lambda}"),
            Step(Substitute({p: w, b: w / (w + (1 - w) * sp.exp(d))}), star, lower, r"\underline{\lambda}"),
            Step(Sign(">"), sp.exp((lam - 1) * d) - bound, (1 - w) * (sp.exp((lam - 1) * d) - 1)),
            Step(Solve(lam), sp.Eq(sp.exp((lam - 1) * d), c), weaker, r"\underline{\lambda}_0"),
            Step(
                Sign(">"),
                lower - weaker,
                sp.log(1 + (c - 1) * (1 - w) / (c * w)) / d,
                r"\underline{\lambda}-\underline{\lambda}_0",
            ),
            Step(Rewrite("collect"), two_tokens, p * gap, "wd", AHEAD),
            Step(Substitute({w: p, d: gap}), lower, star, r"\underline{\lambda}", AHEAD),
            Step(Sign(">"), 1 - power, power * (sp.exp(-(lam - 1) * y) - 1), r"1-e^{(\lambda-1)y}", BELOW),
            Step(Solve(w), sp.Eq(w * d, divergence - r_min), (divergence - r_min) / d, "w"),
            Step(Substitute({y: w * d}), power - tangent, sp.Integer(0), "h(wd)"),
            Step(Differentiate(y), power - tangent, (lam - 1) * (power - middle), "h'(y)"),
            Step(Substitute({y: w * d}), (lam - 1) * (power - middle), sp.Integer(0), "h'(wd)"),
            Step(Differentiate(y), (lam - 1) * (power - middle), (lam - 1) ** 2 * power, "h''(y)", sign=">"),
            Step(Substitute({y: w * d}), tangent, middle, r"\underline{R}(\lambda)"),
            Step(Substitute({first: divergence, total: sp.Integer(1)}), first / total, divergence, "A'(1)"),
            Step(Solve(lam), jensen, upper, r"\overline{\lambda}"),
            Step(Solve(lam), sp.Eq(t_k * sp.exp((lam - 1) * y_k), c), single_upper, r"\overline{\lambda}_k", SINGLE),
            Step(
                Differentiate(lam),
                t_k * sp.exp((lam - 1) * y_k),
                t_k * y_k * sp.exp((lam - 1) * y_k),
                "",
                SINGLE,
                sign=">",
            ),
            Step(Substitute({t_k: p, y_k: gap}), single_upper, collapse, r"\overline{\lambda}_k", AHEAD),
        ),
        {
            "lower bound": (r"\underline{\lambda}", lower),
            "weaker lower bound": (r"\underline{\lambda}_0", weaker),
            "Jensen's upper bound": (r"\overline{\lambda}", upper),
            "single-token upper bound": (r"\overline{\lambda}_k", single_upper),
        },
        spot={w: "0.9", d: "3", c: "5"},
        module="categorical",
        given={
            r"t_ie^{(\lambda-1)(r_i-r_{\min})}": summand,
            r"t_i(r_i-r_{\min})": t_i * (r_i - r_min),
            "g(y)": chord - power,
            r"\text{chord}": chord,
            "p(r_m-r_\\tau)": two_tokens,
            r"e^{(\lambda-1)y}": power,
            "dw": w * d,
            r"\mathrm{KL}-r_{\min}": divergence - r_min,
            "h(y)": power - tangent,
            r"\text{tangent}": tangent,
            r"\overline{\lambda}": jensen,
            r"t_ke^{(\lambda-1)y_k}": t_k * sp.exp((lam - 1) * y_k),
        },
        uses=("threshold", "regimes", "ratio"),
    )


@derivation
def readings() -> Derivation:
    """Derive that the threshold of two outcomes lies between those of tokens and of classes."""
    over = rho**lam - centre**lam - lam * centre ** (lam - 1) * (rho - centre)
    slope = lam * (rho ** (lam - 1) - centre ** (lam - 1))
    curvature = lam * (lam - 1) * rho ** (lam - 2)
    share = (base[0] * ratios[0] + base[1] * ratios[1]) / (base[0] + base[1])
    pair = base[0] * over.subs(rho, ratios[0]) + base[1] * over.subs(rho, ratios[1])
    merging = base[0] * ratios[0] ** lam + base[1] * ratios[1] ** lam - (base[0] + base[1]) * share**lam
    class_ratio = (1 - p) * (1 + modal / tail)
    before_merging, one_more, grown, merged_grown = positive("T_K x S_{K+1} T_{K+1}")
    parts = {grown: before_merging + lead + one_more, merged_grown: before_merging + one_more - joint}
    return Derivation(
        "readings",
        POWER,
        (
            Step(Substitute({t_i: rho * b_i}), t_i**lam * b_i ** (1 - lam), b_i * rho**lam),
            Step(Substitute({rho: centre}), over, sp.Integer(0), r"h(\bar\rho)"),
            Step(Differentiate(rho), over, slope, r"h'(\rho)"),
            Step(Substitute({rho: centre}), slope, sp.Integer(0), r"h'(\bar\rho)"),
            Step(Differentiate(rho), slope, curvature, r"h''(\rho)", sign=">"),
            Step(Substitute({centre: share}), pair, merging, r"b_1h(\rho_1)+b_2h(\rho_2)"),
            Step(
                Sign(">"),
                share - ratios[0],
                base[1] * (ratios[1] - ratios[0]) / (base[0] + base[1]),
                r"\bar\rho-\rho_1",
                MERGE,
            ),
            Step(Substitute(parts), grown - merged_grown, lead + joint, "S_{K+1}-T_{K+1}", MERGE, sign=">"),
            Step(
                Sign(">"),
                sp.log(modal + tail) - sp.log(modal + merged),
                sp.log(1 + (tail - merged) / (modal + merged)),
                "A-A_2",
                MASSES,
            ),
            Step(
                Sign(">"),
                (sp.log(modal + tail) - (lam - 1) * r_min) - (sp.log(modal + merged) - (lam - 1) * r_tail),
                sp.log(1 + (tail - merged) / (modal + merged)) + (lam - 1) * (r_tail - r_min),
                r"\log R_{\mathrm{bind}}-\log R",
                MASSES,
            ),
            Step(Rewrite(), (1 - p) / (tail / (modal + tail)), class_ratio, r"R_{\mathrm{class}}(\lambda)", MASSES),
            Step(
                Substitute({modal: p**lam * b ** (1 - lam), tail: (1 - p) ** lam * (1 - b) ** (1 - lam)}),
                class_ratio,
                two_outcome_ratio,
                r"R(\lambda)",
                CLASSES,
            ),
            Step(
                Sign(">"),
                class_ratio.subs(tail, merged) - class_ratio,
                (1 - p) * modal * (tail - merged) / (tail * merged),
                r"R-R_{\mathrm{class}}",
                MASSES,
            ),
        ),
        {"class ratio": (r"R_{\mathrm{class}}(\lambda)", class_ratio)},
        module="categorical",
        given={
            "h_i": t_i**lam * b_i ** (1 - lam),
            r"h(\rho)": over,
            r"b_1h(\rho_1)+b_2h(\rho_2)": pair,
            r"\bar\rho": share,
            "S_{K+1}-T_{K+1}": grown - merged_grown,
            "A": sp.log(modal + tail),
            "A_2": sp.log(modal + merged),
            r"\log R": sp.log(modal + merged) - (lam - 1) * r_tail,
            r"R_{\mathrm{class}}": (1 - p) / (tail / (modal + tail)),
        },
        uses=("threshold", "ratio"),
    )
