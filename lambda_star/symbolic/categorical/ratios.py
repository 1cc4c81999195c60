"""One output position over K tokens: what ``lambda_star.categorical`` evaluates token by token.

Bounds on the threshold are in :mod:`lambda_star.symbolic.categorical.bounds`, classes and tokens that are not known in
:mod:`lambda_star.symbolic.categorical.parts`, and the clip inside the update in
:mod:`lambda_star.symbolic.categorical.student`.
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.bernoulli import AHEAD
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, real

__all__ = [
    "divergence_derivation",
    "ratio_derivation",
    "token_flip_derivation",
]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
t = positive("t_1:4")
base = positive("b_1:4")
r = real("r_1:4")
"""Teacher and base probability and log-ratio of three tokens."""

t_i, b_i, q_i = positive("t_i b_i q_i")
r_i, r_j, r_min = real(r"r_i r_j r_{\min}")
"""The same for one token out of any number, and the least log-ratio."""

A, D, mean = real(r"A D_{\lambda} \mu")
total, variance, extra = positive("N V n")
alpha = sp.Symbol("alpha", positive=True)
"""Order of a Rényi divergence."""

t_j, t_k, t_m = positive("t_j t_k t_m")
b_j, b_k, b_m = positive("b_j b_k b_m")
r_k, r_m, lead = real("r_k r_m delta_T")
"""The modal token m, another token k, and the lead of m over k in log-probability under the teacher."""

factor, other_factor = positive("sigma tau")

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
    r"t_i,b_i,q_i>0,\quad \lambda>1",
    {t_i: u, b_i: v, q_i: h, A: sp.log(z), lam: 1 + m},
)
TOKENS = Domain(r"r_i<r_j,\quad \lambda>1", {A: k - g, r_i: u - v, r_j: u - v + z, D: k, lam: 1 + m, r_min: -s})
MIXTURE = Domain(
    r"N,n>0,\quad V\ge0,\quad \mu,r_i\in\mathbb{R}", {total: u, variance: v, extra: z, mean: k - g, r_i: h - s}
)

_three = {symbol: ORDERED.values[symbol] for symbol in t}
NEAR_ONE = Domain(
    r"K=3,\quad r_1<r_2<r_3,\quad \textstyle\sum_k t_k=1,\quad \alpha>1",
    {**_three, **{symbol: ORDERED.values[symbol] for symbol in r}, alpha: 1 + m},
)
RANGE = Domain(
    r"K=3,\quad r_1<r_2<r_3,\quad \textstyle\sum_k t_k=1,\quad \lambda>1",
    {**_three, r[0]: sp.log(z) / m, r[1]: sp.log(z + s) / m, r[2]: sp.log(z + s + h) / m, lam: 1 + m},
)
SCALED = Domain(
    r"t_i,t_j,b_i,b_j,\sigma,\tau>0,\quad \lambda\in\mathbb{R}",
    {t_i: u, t_j: v, b_i: h, b_j: k, factor: s, other_factor: z, A: sp.log(g), lam: m - g},
)

LEAD = Domain(r"\delta_T\ge0,\quad r_k>r_m,\quad \lambda>1", {lead: h, r_m: k - g, r_k: k - g + z, lam: 1 + m})
BEHIND = Domain(r"\delta_T>0,\quad r_k\le r_m,\quad \lambda>1", {lead: h, r_k: k - g, r_m: k - g + z, lam: 1 + m})
LEADS = Domain(r"t_k,t_m,b_k,b_m>0,\quad \lambda\in\mathbb{R}", {t_k: u, t_m: v, b_k: h, b_m: k, lam: m - g})
MODAL = Domain(r"\frac12\le p<b<1", {p: (1 + u) / (2 + u), b: (1 + u + v) / (2 + u + v)})

weights = [weight * sp.exp((lam - 1) * log_ratio) for weight, log_ratio in zip(t, r, strict=True)]
partition = sp.log(sum(teacher**lam * other ** (1 - lam) for teacher, other in zip(t, base, strict=True)))
"""A(λ) for three tokens."""

partition_by_ratio = sp.log(sum(weights))
"""The same by log-ratios."""

information = sum(teacher * log_ratio for teacher, log_ratio in zip(t, r, strict=True))
fixed = lam * sp.log(t_i) + (1 - lam) * sp.log(b_i) - A
ratio = sp.exp(A - (lam - 1) * r_i)


@cache
def ratio_derivation() -> Derivation:
    """How many times smaller a token is under the fixed point than under the teacher, and which token binds.

    >>> ratio_derivation().check()
    15
    """
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
                r"Any $K$, summand by summand: the objective, the student's mean of "
                r"$\lambda\log t_i-\log q_i-(\lambda-1)\log b_i$, is $A$ less the KL divergence of the student $q$ from "
                r"$\pi_\lambda$, so $\pi_\lambda$ is its only maximiser.",
                Rewrite("collect"),
                q_i * (lam * sp.log(t_i) - sp.log(q_i) - (lam - 1) * sp.log(b_i)),
                q_i * A - q_i * sp.log(q_i / (t_i**lam * b_i ** (1 - lam) / sp.exp(A))),
                domain=TOKEN,
            ),
            Step(
                r"Any $K$: its logarithm.",
                Rewrite("expand"),
                sp.log(t_i**lam * b_i ** (1 - lam) / sp.exp(A)),
                fixed,
                name=r"\log\pi_\lambda(i)",
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
            "fixed_point": (r"\log\pi_\lambda(i)", fixed),
            "log-partition": (r"A(\lambda)", partition),
            "threshold": (r"\lambda^*_{\mathrm{token}}", sp.Eq((lam - 1) * (D - r_min), sp.log(c))),
        },
        module="categorical",
        remarks=r"""The base's probabilities need not sum to 1 for the bounds on the binding ratio: they enter through the log-ratios. If teacher and
base agree everywhere, every ratio stays 1 and the threshold is infinite.""",
    )


@cache
def divergence_derivation() -> Derivation:
    """Two measures of how far teacher and base are apart: Rényi's divergence, and the range of the log-ratios.

    >>> divergence_derivation().check()
    7
    """
    renyi = sp.log(sum(weights)).subs(lam, alpha) / (alpha - 1)
    difference = sp.log(t_i / b_i) - sp.log(t_j / b_j)
    moved = lam * sp.log(t_i) + (1 - lam) * sp.log(b_i) - A - sp.log(t_i)
    return Derivation(
        "divergence",
        "Rényi's divergence and Hilbert's distance",
        NEAR_ONE,
        (
            Step(
                r"Rényi's divergence of order $\alpha>0$, $\alpha\ne1$, is $D_\alpha(\pi_T\Vert \pi_B)=\frac{A(\alpha)}{\alpha-1}$; "
                r"written out for $K=3$:",
                Define(),
                renyi,
                renyi,
                name=r"D_\alpha",
            ),
            Step(
                r"At order 1 both $A$ and the denominator vanish. What is left is the KL divergence, shown for $K=3$.",
                Limit(alpha, sp.Integer(1), m, sp.Integer(0)),
                renyi,
                information,
            ),
            Step(
                r"Hilbert's projective distance $d$ is the range of the log-ratios. Any $K$: it asks for no normalisation, since a factor on "
                r"all probabilities of a model cancels in the difference of two log-ratios.",
                Substitute({t_i: factor * t_i, t_j: factor * t_j, b_i: other_factor * b_i, b_j: other_factor * b_j}),
                difference,
                difference,
                name="r_i-r_j",
                domain=SCALED,
            ),
            Step(
                r"Any $K$: seen from the teacher, two tokens of the fixed point differ by λ−1 times that. So $\pi_\lambda$ lies at the "
                r"distance $(\lambda-1)d$ from the teacher, on the far side of the base.",
                Rewrite("collect"),
                moved - moved.subs({t_i: t_j, b_i: b_j}, simultaneous=True),
                (lam - 1) * difference,
                name=r"\log\frac{\pi_\lambda(i)}{t_i}-\log\frac{\pi_\lambda(j)}{t_j}",
                domain=SCALED,
            ),
            Step(
                r"No ratio is above $e^{(\lambda-1)d}$: what the binding one falls short of it, for $K=3$; the teacher's mean of "
                r"$e^{(\lambda-1)r}$ is below its largest value for any $K$.",
                Sign(">"),
                (lam - 1) * (r[2] - r[0]) - (sp.log(sum(weights)) - (lam - 1) * r[0]),
                -sp.log(sum(weights) / sp.exp((lam - 1) * r[2])),
                name=r"(\lambda-1)d-\log R_{\mathrm{bind}}",
                domain=RANGE,
            ),
            Step(
                r"In divergences that says $D_\lambda\le\max r$, for $K=3$.",
                Sign(">"),
                (lam - 1) * r[2] - sp.log(sum(weights)),
                -sp.log(sum(weights) / sp.exp((lam - 1) * r[2])),
                name=r"(\lambda-1)(\max r-D_\lambda)",
                domain=RANGE,
            ),
            Step(
                r"Two tokens, $p>b$: the distance is the log-odds gap.",
                Rewrite("collect"),
                sp.log(p / b) - sp.log((1 - p) / (1 - b)),
                gap,
                name="d",
                domain=AHEAD,
            ),
        ),
        {
            "renyi": (
                r"D_\alpha",
                sp.Piecewise(
                    (partition.subs(lam, alpha) / (alpha - 1), sp.Ne(alpha, 1)),
                    (sum(teacher * sp.log(teacher / other) for teacher, other in zip(t, base, strict=True)), True),
                ),
            ),
            "hilbert_distance": ("d", sp.Max(*r) - sp.Min(*r)),
        },
        module="categorical",
        remarks="Both results are written out for three tokens; any other number has as many summands, or as many log-ratios to compare.",
    )


@cache
def token_flip_derivation() -> Derivation:
    """Where another token overtakes the teacher's modal one, over K tokens.

    >>> token_flip_derivation().check()
    7
    """
    leading = lead - (lam - 1) * (r_k - r_m)
    flip = 1 + lead / (r_k - r_m)
    overtaken = [
        sp.Piecewise(
            (1 + sp.log(t[0] / t[other]) / (r[other] - r[0]), r[other] > r[0]),
            (sp.oo, True),
        )
        for other in (1, 2)
    ]
    return Derivation(
        "token_flip",
        "Flip point over K tokens",
        LEAD,
        (
            Step(
                r"Any $K$: the lead of the teacher's modal token $m$ over another token $k$ under the fixed point, from the leads "
                r"$\delta_T=\log\frac{t_m}{t_k}$ under the teacher and $\delta_B=\log\frac{b_m}{b_k}$ under the base.",
                Rewrite("collect"),
                sp.log(t_m**lam * b_m ** (1 - lam)) - sp.log(t_k**lam * b_k ** (1 - lam)),
                lam * sp.log(t_m / t_k) + (1 - lam) * sp.log(b_m / b_k),
                name=r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}",
                domain=LEADS,
            ),
            Step(
                r"The same by the log-ratios: $\delta_B=\delta_T+r_k-r_m$.",
                Substitute({t_m: t_k * sp.exp(lead), b_m: b_k * sp.exp(lead + r_k - r_m)}),
                lam * sp.log(t_m / t_k) + (1 - lam) * sp.log(b_m / b_k),
                leading,
                name=r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}",
            ),
            Step(
                "It falls with λ where the token's log-ratio is above the modal one's.",
                Differentiate(lam),
                leading,
                -(r_k - r_m),
            ),
            Step("So such a token overtakes the modal one once.", Sign("<"), -(r_k - r_m), -(r_k - r_m)),
            Step(
                r"It does so at this λ, which is $\frac{\delta_B}{\delta_B-\delta_T}$.",
                Solve(lam),
                sp.Eq(leading, 0),
                flip,
                name=r"\lambda_k",
            ),
            Step(
                "A token whose log-ratio is not above the modal one's never overtakes it for λ > 1.",
                Sign(">"),
                leading,
                lead + (lam - 1) * (r_m - r_k),
                name=r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}",
                domain=BEHIND,
            ),
            Step(
                r"Two tokens, $\frac12\le p<b$: this is the flip point of [one position](bernoulli.md).",
                Substitute({lead: logit(p), r_k: r_m + logit(b) - logit(p)}),
                flip,
                logit(b) / (logit(b) - logit(p)),
                name=r"\lambda_{\mathrm{flip}}",
                domain=MODAL,
            ),
        ),
        {"flip_point": (r"\lambda_{\mathrm{flip}}", sp.Min(*overtaken))},
        module="categorical",
        remarks=r"""The result is for three tokens with the first as the teacher's modal one: the modal token keeps its place up to the least $\lambda_k$. Neither
clip nor binding token enter.""",
    )
