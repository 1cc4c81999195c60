"""K tokens: the derivations of what ``lambda_star.categorical`` evaluates token by token.

Bounds on the threshold are in :mod:`lambda_star.symbolic.categorical.bounds`, classes and unlisted tokens in
:mod:`lambda_star.symbolic.categorical.parts`, and the stationary student in
:mod:`lambda_star.symbolic.categorical.student`.
"""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import AHEAD
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, real

__all__ = ["distances", "ratio", "token_flip"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
t = positive("t_1:4")
base = positive("b_1:4")
r = real("r_1:4")
"""The probabilities of three tokens under teacher and base, and their log-ratios."""

t_i, b_i, q_i = positive("t_i b_i q_i")
r_i, r_j, r_min = real(r"r_i r_j r_{\min}")
"""The same for one token out of any number, and the least log-ratio of all."""

A, D, mean = real(r"A D_{\lambda} \mu")
total, variance, extra = positive("N V n")
alpha = sp.Symbol("alpha", positive=True)
"""The order of a Rényi divergence."""

t_j, t_k, t_m = positive("t_j t_k t_m")
b_j, b_k, b_m = positive("b_j b_k b_m")
r_k, r_m, lead = real("r_k r_m delta_T")
"""The modal token m, another token k, and the lead of m over k in log-probability under the teacher."""

factor, other_factor = positive("sigma tau")

_teacher, _base = positive("u_1:4"), positive("v_1:4")
THREE = Assumptions(
    r"K=3,\quad \textstyle\sum_k t_k=\sum_k b_k=1,\quad t_k,b_k>0,\quad \lambda\in\mathbb{R}",
    {
        **{symbol: value / sum(_teacher) for symbol, value in zip(t, _teacher, strict=True)},
        **{symbol: value / sum(_base) for symbol, value in zip(base, _base, strict=True)},
        lam: m - g,
    },
)
ORDERED = Assumptions(
    r"K=3,\quad r_1<r_2<r_3,\quad r_1<0,\quad \textstyle\sum_k t_k=1,\quad \lambda>1",
    {
        **{symbol: value / sum(_teacher) for symbol, value in zip(t, _teacher, strict=True)},
        r[0]: -k,
        r[1]: -k + u,
        r[2]: -k + u + v,
        lam: 1 + m,
    },
)
TOKEN = Assumptions(r"t_i,b_i,q_i>0,\quad \lambda>1", {t_i: u, b_i: v, q_i: h, A: sp.log(z), lam: 1 + m})
TOKENS = Assumptions(r"r_i<r_j,\quad \lambda>1", {A: k - g, r_i: u - v, r_j: u - v + z, D: k, lam: 1 + m, r_min: -s})
MIXTURE = Assumptions(
    r"N,n>0,\quad V\ge0,\quad \mu,r_i\in\mathbb{R}", {total: u, variance: v, extra: z, mean: k - g, r_i: h - s}
)

_three = {symbol: ORDERED.values[symbol] for symbol in t}
NEAR_ONE = Assumptions(
    r"K=3,\quad r_1<r_2<r_3,\quad \textstyle\sum_k t_k=1,\quad \alpha>1",
    {**_three, **{symbol: ORDERED.values[symbol] for symbol in r}, alpha: 1 + m},
)
RANGE = Assumptions(
    r"K=3,\quad r_1<r_2<r_3,\quad \textstyle\sum_k t_k=1,\quad \lambda>1",
    {**_three, r[0]: sp.log(z) / m, r[1]: sp.log(z + s) / m, r[2]: sp.log(z + s + h) / m, lam: 1 + m},
)
SCALED = Assumptions(
    r"t_i,t_j,b_i,b_j,\sigma,\tau>0,\quad \lambda\in\mathbb{R}",
    {t_i: u, t_j: v, b_i: h, b_j: k, factor: s, other_factor: z, A: sp.log(g), lam: m - g},
)

LEAD = Assumptions(r"\delta_T\ge0,\quad r_k>r_m,\quad \lambda>1", {lead: h, r_m: k - g, r_k: k - g + z, lam: 1 + m})
BEHIND = Assumptions(r"\delta_T>0,\quad r_k\le r_m,\quad \lambda>1", {lead: h, r_k: k - g, r_m: k - g + z, lam: 1 + m})
LEADS = Assumptions(r"t_k,t_m,b_k,b_m>0,\quad \lambda\in\mathbb{R}", {t_k: u, t_m: v, b_k: h, b_m: k, lam: m - g})
MODAL = Assumptions(r"\frac12\le p<b<1", {p: (1 + u) / (2 + u), b: (1 + u + v) / (2 + u + v)})

weights = [weight * sp.exp((lam - 1) * log_ratio) for weight, log_ratio in zip(t, r, strict=True)]
partition = sp.log(sum(teacher**lam * other ** (1 - lam) for teacher, other in zip(t, base, strict=True)))
"""A(λ) for three tokens."""

partition_by_ratio = sp.log(sum(weights))
"""A(λ) for three tokens, written with log-ratios."""

information = sum(teacher * log_ratio for teacher, log_ratio in zip(t, r, strict=True))
fixed = lam * sp.log(t_i) + (1 - lam) * sp.log(b_i) - A
token_ratio = sp.exp(A - (lam - 1) * r_i)


@derivation
def ratio() -> Derivation:
    """Derive how many times smaller a token is under the fixed point than under the teacher, and which token binds."""
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
        ORDERED,
        (
            Step(Define(), partition, name=r"A(\lambda)=(\lambda-1)D_\lambda(\pi_T\Vert \pi_B)", assumptions=THREE),
            Step(
                Rewrite(), t_i**lam * b_i ** (1 - lam), t_i * sp.exp((lam - 1) * sp.log(t_i / b_i)), assumptions=TOKEN
            ),
            Step(
                Rewrite("collect"),
                q_i * (lam * sp.log(t_i) - sp.log(q_i) - (lam - 1) * sp.log(b_i)),
                q_i * A - q_i * sp.log(q_i / (t_i**lam * b_i ** (1 - lam) / sp.exp(A))),
                assumptions=TOKEN,
            ),
            Step(
                Rewrite("expand"),
                sp.log(t_i**lam * b_i ** (1 - lam) / sp.exp(A)),
                fixed,
                r"\log\pi_\lambda(i)",
                assumptions=TOKEN,
            ),
            Step(
                Substitute({q_i: t_i**lam * b_i ** (1 - lam) / sp.exp(A)}),
                t_i / q_i,
                token_ratio.subs(r_i, sp.log(t_i / b_i)),
                r"R_i(\lambda)",
                assumptions=TOKEN,
            ),
            Step(Substitute({lam: sp.Integer(1)}), partition, sp.Integer(0), "A(1)", assumptions=THREE),
            Step(
                Rewrite(),
                token_ratio / token_ratio.subs(r_i, r_j),
                sp.exp((lam - 1) * (r_j - r_i)),
                r"R_i/R_j",
                assumptions=TOKENS,
            ),
            Step(
                Sign(">"),
                sp.log(token_ratio) - sp.log(token_ratio.subs(r_i, r_j)),
                (lam - 1) * (r_j - r_i),
                r"\log(R_i/R_j)",
                assumptions=TOKENS,
            ),
            Step(Differentiate(lam), least, slope, r"(\log R_1)'(\lambda)"),
            Step(
                Sign(">"),
                slope,
                (weights[1] * (r[1] - r[0]) + weights[2] * (r[2] - r[0])) / sum(weights),
                r"(\log R_1)'(\lambda)",
            ),
            Step(Differentiate(lam), slope, curvature, r"(\log R_1)''(\lambda)"),
            Step(Sign(">"), curvature, name=r"(\log R_1)''(\lambda)"),
            Step(Rewrite(), spread, joined, "V_{K+1}", assumptions=MIXTURE),
            Step(Sign(r"\ge"), joined, name="V_{K+1}", assumptions=MIXTURE),
            Step(
                Substitute({A: (lam - 1) * D}),
                A - (lam - 1) * r_min,
                (lam - 1) * (D - r_min),
                r"\log R_{\mathrm{bind}}(\lambda)",
                assumptions=TOKENS,
            ),
        ),
        {
            "ratio": (r"R_i(\lambda)", token_ratio),
            "fixed_point": (r"\log\pi_\lambda(i)", fixed),
            "log-partition": (r"A(\lambda)", partition),
            "threshold": (r"\lambda^*_{\mathrm{token}}", sp.Eq((lam - 1) * (D - r_min), sp.log(c))),
        },
        module="categorical",
    )


@derivation
def distances() -> Derivation:
    """Derive what Rényi's divergence and Hilbert's distance say about the binding ratio."""
    renyi = sp.log(sum(weights)).subs(lam, alpha) / (alpha - 1)
    difference = sp.log(t_i / b_i) - sp.log(t_j / b_j)
    moved = lam * sp.log(t_i) + (1 - lam) * sp.log(b_i) - A - sp.log(t_i)
    return Derivation(
        "distances",
        NEAR_ONE,
        (
            Step(Define(), renyi, name=r"D_\alpha"),
            Step(Limit(alpha, sp.Integer(1), m, sp.Integer(0)), renyi, information),
            Step(
                Substitute({t_i: factor * t_i, t_j: factor * t_j, b_i: other_factor * b_i, b_j: other_factor * b_j}),
                difference,
                name="r_i-r_j",
                assumptions=SCALED,
            ),
            Step(
                Rewrite("collect"),
                moved - moved.subs({t_i: t_j, b_i: b_j}, simultaneous=True),
                (lam - 1) * difference,
                r"\log\frac{\pi_\lambda(i)}{t_i}-\log\frac{\pi_\lambda(j)}{t_j}",
                assumptions=SCALED,
            ),
            Step(
                Sign(">"),
                (lam - 1) * (r[2] - r[0]) - (sp.log(sum(weights)) - (lam - 1) * r[0]),
                -sp.log(sum(weights) / sp.exp((lam - 1) * r[2])),
                r"(\lambda-1)d-\log R_{\mathrm{bind}}",
                assumptions=RANGE,
            ),
            Step(
                Sign(">"),
                (lam - 1) * r[2] - sp.log(sum(weights)),
                -sp.log(sum(weights) / sp.exp((lam - 1) * r[2])),
                r"(\lambda-1)(\max r-D_\lambda)",
                assumptions=RANGE,
            ),
            Step(Rewrite("collect"), sp.log(p / b) - sp.log((1 - p) / (1 - b)), gap, "d", assumptions=AHEAD),
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
    )


@derivation
def token_flip() -> Derivation:
    """Derive the λ at which another of K tokens overtakes the modal token."""
    leading = lead - (lam - 1) * (r_k - r_m)
    flip = 1 + lead / (r_k - r_m)
    overtaken = [
        sp.Piecewise((1 + sp.log(t[0] / t[other]) / (r[other] - r[0]), r[other] > r[0]), (sp.oo, True))
        for other in (1, 2)
    ]
    return Derivation(
        "token_flip",
        LEAD,
        (
            Step(
                Rewrite("collect"),
                sp.log(t_m**lam * b_m ** (1 - lam)) - sp.log(t_k**lam * b_k ** (1 - lam)),
                lam * sp.log(t_m / t_k) + (1 - lam) * sp.log(b_m / b_k),
                r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}",
                assumptions=LEADS,
            ),
            Step(
                Substitute({t_m: t_k * sp.exp(lead), b_m: b_k * sp.exp(lead + r_k - r_m)}),
                lam * sp.log(t_m / t_k) + (1 - lam) * sp.log(b_m / b_k),
                leading,
                r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}",
            ),
            Step(Differentiate(lam), leading, -(r_k - r_m)),
            Step(Sign("<"), -(r_k - r_m)),
            Step(Solve(lam), sp.Eq(leading, 0), flip, r"\lambda_k"),
            Step(
                Sign(">"),
                leading,
                lead + (lam - 1) * (r_m - r_k),
                r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}",
                assumptions=BEHIND,
            ),
            Step(
                Substitute({lead: logit(p), r_k: r_m + logit(b) - logit(p)}),
                flip,
                logit(b) / (logit(b) - logit(p)),
                r"\lambda_{\mathrm{flip}}",
                assumptions=MODAL,
            ),
        ),
        {"flip_point": (r"\lambda_{\mathrm{flip}}", sp.Min(*overtaken))},
        module="categorical",
    )
