"""One output position over K tokens: the ratio of each, bounds on the threshold, and how the two-outcome one compares."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.bernoulli import AHEAD, star
from lambda_star.symbolic.bernoulli import ratio as two_outcome_ratio
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.domain import Domain
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, p, positive, real

__all__ = ["floor_derivation", "ratio_derivation", "sandwich_derivation"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
t = positive("t_1:4")
base = positive("b_1:4")
r = real("r_1:4")
"""Teacher and base probability and log-ratio of three tokens; the first has the least log-ratio."""

t_i, b_i, q_i = positive("t_i b_i q_i")
r_i, r_j, r_min = real(r"r_i r_j r_{\min}")
"""The same for one token out of any number, and the least log-ratio."""

A, A_2, D, mean, r_tail = real(r"A A_2 D_{\lambda} \mu r_{\mathrm{tail}}")
total, variance, extra = positive("N V n")
w, d, rho, modal, tail, merged = positive(r"w d \rho M S T")
y = sp.Symbol("y", real=True)
ratios = positive(r"\rho_1:3")
centre = sp.Symbol(r"\bar\rho", positive=True)
divergence = sp.Symbol(r"\mathrm{KL}", real=True)

_teacher, _base = positive("u_1:4"), positive("v_1:4")
THREE = Domain(
    r"K=3,\quad \textstyle\sum_k t_k=\sum_k b_k=1,\quad t_k,b_k>0,\quad \lambda\in\mathbb{R}",
    {
        **{symbol: value / sum(_teacher) for symbol, value in zip(t, _teacher, strict=True)},
        **{symbol: value / sum(_base) for symbol, value in zip(base, _base, strict=True)},
        lam: m - g,
    },
)
ORDERED = Domain(
    r"K=3,\quad r_1<r_2<r_3,\quad r_1<0,\quad \textstyle\sum_k t_k=1,\quad \lambda>1",
    {
        **{symbol: value / sum(_teacher) for symbol, value in zip(t, _teacher, strict=True)},
        r[0]: -k,
        r[1]: -k + u,
        r[2]: -k + u + v,
        lam: 1 + m,
    },
)
TOKEN = Domain(
    r"t_i,b_i>0,\quad \lambda>1",
    {t_i: u, b_i: v, A: sp.log(z), lam: 1 + m},
)
TOKENS = Domain(r"r_i<r_j,\quad \lambda>1", {A: k - g, r_i: u - v, r_j: u - v + z, D: k, lam: 1 + m, r_min: -s})
MIXTURE = Domain(
    r"N,n>0,\quad V\ge0,\quad \mu,r_i\in\mathbb{R}", {total: u, variance: v, extra: z, mean: k - g, r_i: h - s}
)
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

weights = [weight * sp.exp((lam - 1) * log_ratio) for weight, log_ratio in zip(t, r, strict=True)]
ratio = sp.exp(A - (lam - 1) * r_i)
floor = 1 + sp.log(1 + (c - 1) / w) / d
ceiling = 1 + sp.log(c) / (divergence - r_min)


@cache
def ratio_derivation() -> Derivation:
    """How many times smaller a token is under the fixed point than under the teacher, and which token binds.

    >>> ratio_derivation().check()
    13
    """
    partition = sp.log(sum(teacher**lam * other ** (1 - lam) for teacher, other in zip(t, base, strict=True)))
    least = sp.log(sum(weights)) - (lam - 1) * r[0]
    slope = sum(weight * log_ratio for weight, log_ratio in zip(weights, r, strict=True)) / sum(weights) - r[0]
    pairs = sum(weights[i] * weights[j] * (r[i] - r[j]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2)))
    curvature = pairs / sum(weights) ** 2
    spread = (total * (variance + mean**2) + extra * r_i**2) / (total + extra) - (
        (total * mean + extra * r_i) / (total + extra)
    ) ** 2
    joined = total * variance / (total + extra) + total * extra * (r_i - mean) ** 2 / (total + extra) ** 2
    return Derivation(
        "ratio",
        "Ratio of a token and the binding token",
        ORDERED,
        (
            Step(
                r"The fixed point gives token $i$ the probability $\pi_\lambda(i)=t_i^\lambda b_i^{1-\lambda}/Z_\lambda$, with $t_i$ "
                r"under the teacher and $b_i$ under the base. Written out for $K=3$, the logarithm of $Z_\lambda$ is:",
                Define(),
                partition,
                partition,
                name=r"A(\lambda)=(\lambda-1)D_\lambda(\pi_T\Vert \pi_B)",
                domain=THREE,
            ),
            Step(
                r"Any $K$: with the log-ratio $r_i=\log(t_i/b_i)$ each summand is $t_i e^{(\lambda-1)r_i}$.",
                Rewrite(),
                t_i**lam * b_i ** (1 - lam),
                t_i * sp.exp((lam - 1) * sp.log(t_i / b_i)),
                domain=TOKEN,
            ),
            Step(
                r"Any $K$: how many times smaller token $i$ is under the fixed point than under the teacher; that is "
                r"$e^{A-(\lambda-1)r_i}$.",
                Substitute({q_i: t_i**lam * b_i ** (1 - lam) / sp.exp(A)}),
                t_i / q_i,
                ratio.subs(r_i, sp.log(t_i / b_i)),
                name=r"R_i(\lambda)",
                domain=TOKEN,
            ),
            Step(
                r"At the teacher itself every ratio is 1, because $A(1)=0$; shown for $K=3$.",
                Substitute({lam: sp.Integer(1)}),
                partition,
                sp.Integer(0),
                name="A(1)",
                domain=THREE,
            ),
            Step(
                r"Any $K$: two tokens differ by their log-ratios alone.",
                Rewrite(),
                ratio / ratio.subs(r_i, r_j),
                sp.exp((lam - 1) * (r_j - r_i)),
                name=r"R_i/R_j",
                domain=TOKENS,
            ),
            Step(
                r"Any $K$: the smaller the log-ratio, the larger the ratio. The token with the least $r$ binds for every "
                r"$\lambda>1$.",
                Sign(">"),
                sp.log(ratio) - sp.log(ratio.subs(r_i, r_j)),
                (lam - 1) * (r_j - r_i),
                name=r"\log(R_i/R_j)",
                domain=TOKENS,
            ),
            Step(
                r"How the ratio of the binding token changes with λ, for $K=3$: a mean of log-ratios under $\pi_\lambda$ less the "
                "least of them.",
                Differentiate(lam),
                least,
                slope,
                name=r"(\log R_1)'(\lambda)",
            ),
            Step(
                r"It grows, shown for $K=3$; the mean is above the least log-ratio for any $K$.",
                Sign(">"),
                slope,
                (weights[1] * (r[1] - r[0]) + weights[2] * (r[2] - r[0])) / sum(weights),
                name=r"(\log R_1)'(\lambda)",
            ),
            Step(
                r"Its second derivative for $K=3$ is the variance of $r$ under $\pi_\lambda$. With weights "
                r"$w_i=t_i e^{(\lambda-1)r_i}$ it is $\sum_{i<j} w_iw_j(r_i-r_j)^2/(\sum_i w_i)^2$.",
                Differentiate(lam),
                slope,
                curvature,
                name=r"(\log R_1)''(\lambda)",
            ),
            Step(
                r"Shown for $K=3$: every ratio is log-convex in λ, since they all share this second derivative.",
                Sign(">"),
                curvature,
                curvature,
                name=r"(\log R_1)''(\lambda)",
            ),
            Step(
                r"From $K$ to $K+1$ tokens: let $K$ tokens have total weight $N$, mean $\mu$ and variance $V$ of their log-ratios. The "
                r"variance after a token of weight $n$ joins them:",
                Rewrite(),
                spread,
                joined,
                name="V_{K+1}",
                domain=MIXTURE,
            ),
            Step(
                r"It is never negative, so log-convexity holds for any $K$.",
                Sign(r"\ge"),
                joined,
                joined,
                name="V_{K+1}",
                domain=MIXTURE,
            ),
            Step(
                r"Any $K$: the binding ratio by the Rényi divergence $D_\lambda$. It starts at 0, rises and is convex, so it meets "
                r"$\log c$ exactly once above 1, at the threshold $\lambda^*_{\mathrm{token}}$.",
                Substitute({A: (lam - 1) * D}),
                A - (lam - 1) * r_min,
                (lam - 1) * (D - r_min),
                name=r"\log R_{\mathrm{bind}}(\lambda)",
                domain=TOKENS,
            ),
        ),
        {
            "ratio": (r"R_i(\lambda)", ratio),
            "threshold": (r"\lambda^*_{\mathrm{token}}", sp.Eq((lam - 1) * (D - r_min), sp.log(c))),
        },
        module="",
        remarks=r"""The base's probabilities need not sum to 1 for the bounds on the binding ratio: they enter through the log-ratios. If teacher and
base agree everywhere, every ratio stays 1 and the threshold is infinite.""",
    )


@cache
def floor_derivation() -> Derivation:
    """Closed forms below and above the root: a chord and a tangent of the exponential.

    >>> floor_derivation().check()
    26
    """
    power = sp.exp((lam - 1) * y)
    chord = 1 + y / d * (sp.exp((lam - 1) * d) - 1)
    bound = 1 - w + w * sp.exp((lam - 1) * d)
    weaker = 1 + sp.log(c) / d
    middle = sp.exp((lam - 1) * w * d)
    tangent = middle * (1 + (lam - 1) * (y - w * d))
    partition = sp.log(sum(weights))
    mass = sum(weight * log_ratio for weight, log_ratio in zip(weights, r, strict=True)) / sum(weights)
    information = sum(teacher * log_ratio for teacher, log_ratio in zip(t, r, strict=True))
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
        ),
        {
            "floor": (r"\underline{\lambda}", floor),
            "weaker floor": (r"\underline{\lambda}_0", weaker),
            "ceiling": (r"\overline{\lambda}", ceiling),
        },
        spot={w: "0.9", d: "3", c: "5"},
        module="",
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
        module="",
        remarks=r"""Assumed: one modal token with $p>b$, and a binding token that is not the modal one. Then
$\lambda^*_{\mathrm{token}}\le\lambda^*(p,b,c)\le\lambda^*_{\mathrm{class}}$, where the last is the first λ above 1 at which the class ratio reaches $c$.
All three agree if every token of the tail has the same log-ratio. Over a real vocabulary the least log-ratio can belong to a token of no
consequence; a partition into classes, or a floor on the teacher's mass of tokens that may bind, are inputs that make the number meaningful.""",
    )
