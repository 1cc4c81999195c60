"""One output position over K tokens: bounds on the threshold, and how it compares to that of two outcomes and of classes."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
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
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, p, positive, real

__all__ = ["floor_derivation", "sandwich_derivation"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
A_2, r_tail = real(r"A_2 r_{\mathrm{tail}}")
w, d, rho, modal, tail, merged = positive(r"w d \rho M S T")
y = sp.Symbol("y", real=True)
ratios = positive(r"\rho_1:3")
centre = sp.Symbol(r"\bar\rho", positive=True)
divergence = sp.Symbol(r"\mathrm{KL}", real=True)

t_k, y_k = positive("t_k y_k")
"""The teacher's probability of one token, and how far its log-ratio lies above the binding one's."""

BOUNDS = Domain(
    r"0\le y\le d,\quad 0<w<1,\quad c>1,\quad \lambda>1",
    {d: z, y: z * u / (1 + u), w: v / (1 + v), c: 1 + k, lam: 1 + m, r_min: -s, divergence: z * v / (1 + v) - s},
)
POWER = Domain(
    r"b_i,\rho,\bar\rho>0,\quad \lambda>1",
    {b_i: h, rho: k, centre: g, ratios[0]: s, ratios[1]: z, base[0]: u, base[1]: v, lam: 1 + m},
)
MERGE = Domain(
    r"b_1,b_2>0,\quad 0<\rho_1<\rho_2",
    {base[0]: u, base[1]: v, ratios[0]: z, ratios[1]: z + s},
)
CLASSES = Domain(r"0<p,b<1,\quad \lambda>1", {p: u / (1 + u), b: v / (1 + v), lam: 1 + m})
MASSES = Domain(
    r"0<p<1,\quad S\ge T,\quad M,T>0,\quad r_{\mathrm{tail}}\ge r_{\min},\quad A\ge A_2,\quad \lambda>1",
    {
        p: z / (1 + z),
        modal: u,
        merged: v,
        tail: v + k,
        A_2: s,
        A: s + g,
        r_min: -h,
        r_tail: -h + k,
        lam: 1 + m,
    },
)
SINGLE = Domain(r"0<t_k<1,\quad y_k>0,\quad c>1,\quad \lambda>1", {t_k: u / (1 + u), y_k: z, c: 1 + k, lam: 1 + m})
BELOW = Domain(r"y<0,\quad \lambda>1", {y: -sp.log(1 + u) / m, lam: 1 + m})
floor = 1 + sp.log(1 + (c - 1) / w) / d
ceiling = 1 + sp.log(c) / (divergence - r_min)
single_ceiling = 1 + sp.log(c / t_k) / y_k


@cache
def floor_derivation() -> Derivation:
    """Closed forms below and above the root: a chord and a tangent of the exponential.

    >>> floor_derivation().check()
    33
    """
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
        "floor",
        "Floor and ceiling in closed form",
        BOUNDS,
        (
            Step(
                r"Let $y_i=r_i-r_{\min}$, from 0 to the range $d$ of the log-ratios. The binding ratio is the teacher's mean of "
                r"$e^{(\lambda-1)y}$; written out for $K=3$.",
                Rewrite("collect"),
                sp.exp(partition - (lam - 1) * r[0]),
                sum(teacher * sp.exp((lam - 1) * (value - r[0])) for teacher, value in zip(t, r, strict=True)),
                name=r"R_{\mathrm{bind}}(\lambda)",
                domain=ORDERED,
            ),
            Step(
                r"The teacher's mean of $y$ is $\mathrm{KL}(\pi_T\Vert \pi_B)-r_{\min}$, written out for $K=3$. Call it $wd$, so that $w$ lies "
                "between 0 and 1.",
                Rewrite("expand"),
                sum(teacher * (value - r[0]) for teacher, value in zip(t, r, strict=True)),
                information - r[0],
                name="wd",
                domain=ORDERED,
            ),
            Step(
                r"Any $K$, token by token: the chord of the exponential from $y=0$ to $y=d$, less the exponential.",
                Define(),
                chord - power,
                chord - power,
                name="g(y)",
            ),
            Step(
                "It vanishes at the left end.",
                Substitute({y: sp.Integer(0)}),
                chord - power,
                sp.Integer(0),
                name="g(0)",
            ),
            Step("It vanishes at the right end.", Substitute({y: d}), chord - power, sp.Integer(0), name="g(d)"),
            Step(
                "Its slope.",
                Differentiate(y),
                chord - power,
                (sp.exp((lam - 1) * d) - 1) / d - (lam - 1) * power,
                name="g'(y)",
            ),
            Step(
                "The slope falls.",
                Differentiate(y),
                (sp.exp((lam - 1) * d) - 1) / d - (lam - 1) * power,
                -((lam - 1) ** 2) * power,
                name="g''(y)",
            ),
            Step(
                r"So $g$ is concave with zeros at both ends, and the chord lies above the exponential between them.",
                Sign("<"),
                -((lam - 1) ** 2) * power,
                -((lam - 1) ** 2) * power,
                name="g''(y)",
            ),
            Step(
                r"Any $K$: the chord is linear in $y$, so its mean is its value at the mean $wd$. This bounds "
                r"$R_{\mathrm{bind}}$ from above.",
                Substitute({y: w * d}),
                chord,
                bound,
                name=r"\overline{R}(\lambda)",
            ),
            Step(
                "How the bound changes with λ.",
                Differentiate(lam),
                bound,
                w * d * sp.exp((lam - 1) * d),
                name=r"\overline{R}'(\lambda)",
            ),
            Step(
                "It grows.",
                Sign(">"),
                w * d * sp.exp((lam - 1) * d),
                w * d * sp.exp((lam - 1) * d),
                name=r"\overline{R}'(\lambda)",
            ),
            Step(
                r"Any $K$: up to the λ at which the bound reaches $c$ the binding ratio is below $c$. That is the floor of "
                r"$\lambda^*_{\mathrm{token}}$.",
                Solve(lam),
                sp.Eq(bound, c),
                floor,
                name=r"\underline{\lambda}",
            ),
            Step(
                r"The floor is Eq. 4 with $w$ in place of $p$ and $d$ in place of $\Delta$: here $b$ is the base probability at "
                r"which $\Delta=d$ and $p=w$.",
                Substitute({p: w, b: w / (w + (1 - w) * sp.exp(d))}),
                star,
                floor,
                name=r"\underline{\lambda}",
            ),
            Step(
                r"Any $K$: without $w$ there is the weaker floor $\underline{\lambda}_0=1+\log(c)/d$, which lies below.",
                Sign(">"),
                floor - weaker,
                sp.log(1 + (c - 1) * (1 - w) / (c * w)) / d,
                name=r"\underline{\lambda}-\underline{\lambda}_0",
            ),
            Step(
                r"Two tokens, $K=2$: the tail binds and $d=\Delta$. The mean of $y$ is $p\Delta$, so $w=p$.",
                Rewrite("collect"),
                two_tokens,
                p * gap,
                name="wd",
                domain=AHEAD,
            ),
            Step(
                r"At $K=2$ the floor is therefore the threshold $\lambda^*$ itself.",
                Substitute({w: p, d: gap}),
                floor,
                star,
                name=r"\underline{\lambda}",
                domain=AHEAD,
            ),
            Step(
                r"If only some tokens may bind, $y$ is negative for those that lie below the binding one. Such a token counts less than 1, "
                r"what the chord gives at $\max(y,0)=0$.",
                Sign(">"),
                1 - power,
                1 - power,
                name=r"1-e^{(\lambda-1)y}",
                domain=BELOW,
            ),
            Step(
                r"Any $K$: with $d=\max y$ and $wd$ the mean of $\max(y,0)$ the bound and the floor therefore stand as they are. Where no $y$ is "
                r"negative, $w$ is what it was:",
                Solve(w),
                sp.Eq(w * d, divergence - r_min),
                (divergence - r_min) / d,
                name="w",
            ),
            Step(
                r"Any $K$, the other direction: the exponential less its tangent at the mean $y=wd$.",
                Define(),
                power - tangent,
                power - tangent,
                name="h(y)",
            ),
            Step("It vanishes there.", Substitute({y: w * d}), power - tangent, sp.Integer(0), name="h(wd)"),
            Step(
                "Its slope.",
                Differentiate(y),
                power - tangent,
                (lam - 1) * (power - middle),
                name="h'(y)",
            ),
            Step(
                "The slope vanishes there too.",
                Substitute({y: w * d}),
                (lam - 1) * (power - middle),
                sp.Integer(0),
                name="h'(wd)",
            ),
            Step(
                "The slope grows.",
                Differentiate(y),
                (lam - 1) * (power - middle),
                (lam - 1) ** 2 * power,
                name="h''(y)",
            ),
            Step(
                r"So $h$ is convex and nowhere negative: the exponential lies above its tangent.",
                Sign(">"),
                (lam - 1) ** 2 * power,
                (lam - 1) ** 2 * power,
                name="h''(y)",
            ),
            Step(
                r"Any $K$: the mean of the tangent bounds $R_{\mathrm{bind}}$ from below. This is Jensen's inequality.",
                Substitute({y: w * d}),
                tangent,
                middle,
                name=r"\underline{R}(\lambda)",
            ),
            Step(
                r"In divergences it says that Rényi's is at least the KL divergence. The latter is the slope of $A$ at 1; the slope "
                r"for $K=3$:",
                Differentiate(lam),
                partition,
                mass,
                name=r"A'(\lambda)",
                domain=ORDERED,
            ),
            Step(
                r"At $\lambda=1$, for $K=3$, it is $\mathrm{KL}(\pi_T\Vert \pi_B)$: $A$ is convex and lies above its tangent "
                r"$(\lambda-1)\mathrm{KL}$.",
                Substitute({lam: sp.Integer(1)}),
                mass,
                information,
                name="A'(1)",
                domain=ORDERED,
            ),
            Step(
                r"Any $K$: where the lower bound reaches $c$ the binding ratio has reached it. With "
                r"$wd=\mathrm{KL}-r_{\min}$ that is the ceiling of $\lambda^*_{\mathrm{token}}$.",
                Solve(lam),
                sp.Eq((lam - 1) * (divergence - r_min), sp.log(c)),
                ceiling,
                name=r"\overline{\lambda}",
            ),
            Step(
                r"A second ceiling: the binding ratio is above each single summand $t_ke^{(\lambda-1)y_k}$; the last of them for $K=3$.",
                Sign(">"),
                sp.exp(partition - (lam - 1) * r[0]) - t[2] * sp.exp((lam - 1) * (r[2] - r[0])),
                t[0] + t[1] * sp.exp((lam - 1) * (r[1] - r[0])),
                domain=ORDERED,
            ),
            Step(
                r"Any $K$: where one summand with $y_k>0$ reaches $c$ alone, the binding ratio has reached it.",
                Solve(lam),
                sp.Eq(t_k * sp.exp((lam - 1) * y_k), c),
                single_ceiling,
                name=r"\overline{\lambda}_k",
                domain=SINGLE,
            ),
            Step(
                r"How that summand grows with λ.",
                Differentiate(lam),
                t_k * sp.exp((lam - 1) * y_k),
                t_k * y_k * sp.exp((lam - 1) * y_k),
                domain=SINGLE,
            ),
            Step(
                r"It grows everywhere, so it is below $c$ before and above $c$ after.",
                Sign(">"),
                t_k * y_k * sp.exp((lam - 1) * y_k),
                t_k * y_k * sp.exp((lam - 1) * y_k),
                domain=SINGLE,
            ),
            Step(
                r"Two tokens and the modal one: this is the collapse point $\lambda_c$.",
                Substitute({t_k: p, y_k: gap}),
                single_ceiling,
                collapse,
                name=r"\overline{\lambda}_k",
                domain=AHEAD,
            ),
        ),
        {
            "lower bound": (r"\underline{\lambda}", floor),
            "weaker floor": (r"\underline{\lambda}_0", weaker),
            "Jensen's ceiling": (r"\overline{\lambda}", ceiling),
            "single-token ceiling": (r"\overline{\lambda}_k", single_ceiling),
        },
        spot={w: "0.9", d: "3", c: "5"},
        module="categorical",
        remarks=r"""The range $d=\max r-\min r$ is Hilbert's projective distance of teacher and base. The bound is exact where the log-ratios
take two values only, whatever $K$ is.""",
    )


@cache
def sandwich_derivation() -> Derivation:
    """The threshold of two outcomes lies between those of tokens and of classes.

    >>> sandwich_derivation().check()
    14
    """
    above = rho**lam - centre**lam - lam * centre ** (lam - 1) * (rho - centre)
    slope = lam * (rho ** (lam - 1) - centre ** (lam - 1))
    curvature = lam * (lam - 1) * rho ** (lam - 2)
    share = (base[0] * ratios[0] + base[1] * ratios[1]) / (base[0] + base[1])
    pair = base[0] * above.subs(rho, ratios[0]) + base[1] * above.subs(rho, ratios[1])
    merging = base[0] * ratios[0] ** lam + base[1] * ratios[1] ** lam - (base[0] + base[1]) * share**lam
    class_ratio = (1 - p) * (1 + modal / tail)
    return Derivation(
        "sandwich",
        "Tokens, two outcomes, classes",
        POWER,
        (
            Step(
                r"Any $K$: with $\rho=t_i/b_i$ each summand of $Z_\lambda$ is a power of $\rho$, weighted by the base.",
                Substitute({t_i: rho * b_i}),
                t_i**lam * b_i ** (1 - lam),
                b_i * rho**lam,
            ),
            Step(
                r"The power less its tangent at some $\bar\rho$.",
                Define(),
                above,
                above,
                name=r"h(\rho)",
            ),
            Step("It vanishes there.", Substitute({rho: centre}), above, sp.Integer(0), name=r"h(\bar\rho)"),
            Step("Its slope.", Differentiate(rho), above, slope, name=r"h'(\rho)"),
            Step(
                "The slope vanishes there too.", Substitute({rho: centre}), slope, sp.Integer(0), name=r"h'(\bar\rho)"
            ),
            Step("The slope grows.", Differentiate(rho), slope, curvature, name=r"h''(\rho)"),
            Step(
                r"So the power is convex and $h$ is nowhere negative.",
                Sign(">"),
                curvature,
                curvature,
                name=r"h''(\rho)",
            ),
            Step(
                r"Two tokens, with $\bar\rho$ the ratio of the merged token: the tangents cancel and leave the summands of the two less "
                r"that of the merged one. By the sign of $h$ this is not negative, so merging two tokens never raises $Z_\lambda$.",
                Substitute({centre: share}),
                pair,
                merging,
                name=r"b_1h(\rho_1)+b_2h(\rho_2)",
            ),
            Step(
                r"The merged ratio lies above the smaller of the two, so merging never lowers the least log-ratio.",
                Sign(">"),
                share - ratios[0],
                base[1] * (ratios[1] - ratios[0]) / (base[0] + base[1]),
                name=r"\bar\rho-\rho_1",
                domain=MERGE,
            ),
            Step(
                r"Any $K$, pair by pair: let $M$ be the modal token's summand, $S$ those of the tail, and "
                r"$T=(1-p)^\lambda(1-b)^{1-\lambda}$ that of the merged tail. Then $S\ge T$, and merging the tail never raises $A$.",
                Sign(r"\ge"),
                sp.log(modal + tail) - sp.log(modal + merged),
                sp.log(1 + (tail - merged) / (modal + merged)),
                name="A-A_2",
                domain=MASSES,
            ),
            Step(
                r"Any $K$, binding token in the tail: its ratio against that of the merged tail, with "
                r"$r_{\mathrm{tail}}=\log\frac{1-p}{1-b}$. The binding token reaches $c$ first: "
                r"$\lambda^*_{\mathrm{token}}\le\lambda^*$.",
                Sign(r"\ge"),
                (A - (lam - 1) * r_min) - (A_2 - (lam - 1) * r_tail),
                (A - A_2) + (lam - 1) * (r_tail - r_min),
                name=r"\log R_{\mathrm{bind}}-\log R",
                domain=MASSES,
            ),
            Step(
                r"Any $K$, the tail as a class: how many times smaller its whole mass is under the fixed point.",
                Rewrite(),
                (1 - p) / (tail / (modal + tail)),
                class_ratio,
                name=r"R_{\mathrm{class}}(\lambda)",
                domain=MASSES,
            ),
            Step(
                r"With the merged tail in place of $S$ this is the tail ratio of two outcomes.",
                Substitute({modal: p**lam * b ** (1 - lam), tail: (1 - p) ** lam * (1 - b) ** (1 - lam)}),
                class_ratio,
                two_outcome_ratio,
                name=r"R(\lambda)",
                domain=CLASSES,
            ),
            Step(
                r"Any $K$: since $S\ge T$, the class ratio is never above it and reaches $c$ last: "
                r"$\lambda^*\le\lambda^*_{\mathrm{class}}$.",
                Sign(r"\ge"),
                class_ratio.subs(tail, merged) - class_ratio,
                (1 - p) * modal * (tail - merged) / (tail * merged),
                name=r"R-R_{\mathrm{class}}",
                domain=MASSES,
            ),
        ),
        {"class ratio": (r"R_{\mathrm{class}}(\lambda)", class_ratio)},
        module="categorical",
        remarks=r"""Assumed: one modal token with $p>b$, and a binding token that is not the modal one. Then
$\lambda^*_{\mathrm{token}}\le\lambda^*(p,b,c)\le\lambda^*_{\mathrm{class}}$, where the last is the first λ above 1 at which the class ratio reaches $c$.
All three agree if every token of the tail has the same log-ratio. Over a real vocabulary the least log-ratio can belong to a token of no
consequence; a partition into classes, or a floor on the teacher's mass of tokens that may bind, are inputs that make the number meaningful.""",
    )
