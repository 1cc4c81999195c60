"""One output position over K tokens: where training ends when the clip sits inside the update."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.bernoulli import AHEAD, collapse, push
from lambda_star.symbolic.categorical.ratios import q_i, r, t, t_i, t_j, weights
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, lam, p, positive, real

__all__ = ["token_student_derivation"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
q_j = sp.Symbol("q_j", positive=True)
q = positive("q_1:4")
pushes, advantages = real("s_1:4"), real("a_1:4")
s_i, s_j, s_next, kappa = real("s_i s_j s_{j+1} kappa")
"""The pushes (λ−1)r, the advantages, and the advantage that living tokens share."""

mass = sp.Symbol("M_{j-1}", positive=True)
held, edges = real("L_1:4"), real("E_1:4")
"""The logarithms of the weights M_j, and the largest advantage that each token can have, s_j + log c."""

_teacher, _base = positive("u_1:4"), positive("v_1:4")
TRAINED = Domain(
    r"t_i,q_i>0,\quad s_i,\kappa\in\mathbb{R},\quad c>1",
    {t_i: u, t_j: h, q_i: v, s_i: k - g, kappa: m - s, c: 1 + z, mass: s},
)
DEAD = Domain(r"s_i<\kappa-\log c,\quad c>1", {s_i: k - g, c: 1 + z, kappa: k - g + sp.log(1 + z) + h})
UNEQUAL = Domain(
    r"K=3,\quad q_k>0,\quad \textstyle\sum_k q_k=1,\quad a_1>a_2>a_3",
    {
        **{symbol: value / sum(_teacher) for symbol, value in zip(q, _teacher, strict=True)},
        **dict(zip(advantages, (k - g + u + v, k - g + u, k - g), strict=True)),
    },
)
FREE = Domain(
    r"K=3,\quad t_k>0,\quad s_k,\kappa\in\mathbb{R}",
    {
        **dict(zip(t, _teacher, strict=True)),
        **{symbol: sp.log(value) for symbol, value in zip(pushes, _base, strict=True)},
        kappa: k - g,
    },
)
_held = u * (z + s + h) + v * (z + s)
SATURATED = Domain(
    r"K=3,\quad s_1>s_2>s_3,\quad M_2<c e^{s_3}<M_3",
    {
        **dict(zip(t, (u, v, k), strict=True)),
        **dict(zip(pushes, map(sp.log, (z + s + h, z + s, z)), strict=True)),
        c: (_held + k * z * m / (1 + m)) / z,
    },
)
PAIR = Domain(
    r"0<p,b<1,\quad c>1,\quad s_j\in\mathbb{R},\quad \lambda\in\mathbb{R}",
    {p: u / (1 + u), b: v / (1 + v), c: 1 + z, s_j: k - g, lam: m - h},
)
NEXT = Domain(r"s_j>s_{j+1},\quad M_{j-1},t_j>0", {mass: u, t_j: v, s_j: k - g, s_next: k - g - z})
FALLING = Domain(
    r"K=3,\quad r_1>r_2>r_3,\quad t_k>0,\quad \lambda>1",
    {
        **dict(zip(t, _teacher, strict=True)),
        **dict(zip(r, (k - g + u + v, k - g + u, k - g), strict=True)),
        lam: 1 + m,
    },
)


def _places(text: str, beyond: tuple[sp.Expr, ...]) -> Domain:
    """The order of the L and the E, by how far each of L_2, L_3, E_1, E_2 and E_3 lies beyond L_1."""
    values = dict(zip((*held[1:], *edges), (k - g + step for step in beyond), strict=True))
    return Domain(rf"L_1<L_2<L_3,\quad E_3<E_2<E_1,\quad {text}", {held[0]: k - g, **values})


@cache
def token_student_derivation() -> Derivation:
    """Where training ends over K tokens when the clip sits inside the update.

    >>> token_student_derivation().check()
    30
    """
    free = sp.log(t_i / q_i) + s_i
    capped = sp.log(c) + s_i
    potential, capped_potential = q_i * (free + 1), q_i * capped + t_i / c
    average = sum(share * value for share, value in zip(q, advantages, strict=True))
    growth = sum(share * value * (value - average) for share, value in zip(q, advantages, strict=True))
    pairs = sum(q[i] * q[j] * (advantages[i] - advantages[j]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2)))
    pushed = [teacher * sp.exp(one) for teacher, one in zip(t, pushes, strict=True)]
    masses = [one * sp.exp(-kappa) for one in pushed]
    rest = 1 - (t[0] * sp.exp(pushes[0] - pushes[2]) + t[1] * sp.exp(pushes[1] - pushes[2])) / c
    least_push = sp.log(sum(pushed)) - pushes[2] - sp.log(c)
    above = sp.log(weights[0] + weights[1]) - (lam - 1) * r[2]
    above_slope = (weights[0] * (r[0] - r[2]) + weights[1] * (r[1] - r[2])) / (weights[0] + weights[1])
    shared = sp.Max(*(sp.Min(one, other) for one, other in zip(held, edges, strict=True)))
    regimes = (
        (
            "With every token untouched it is that of the fixed point.",
            held[2],
            r"L_3<E_3",
            (u, u + v, u + v + h + s + m, u + v + h + s, u + v + h),
        ),
        ("With the last token saturated.", edges[2], r"L_2<E_3<L_3", (u, u + v + h, u + v + s + m, u + v + s, u + v)),
        (
            "With the last token dead and the others untouched.",
            held[1],
            r"E_3<L_2<E_2",
            (u, u + h, u + s + m, u + s, u - v),
        ),
        (
            "With the last token dead and the one before it saturated.",
            edges[1],
            r"L_1<E_2<L_2",
            (u + v, u + v + h, u + m, u, u - s),
        ),
        ("With only the first token left.", held[0], r"E_2<L_1<E_1", (u, u + h, m, -v, -v - s)),
    )
    student = sp.Tuple(
        *(sp.Min(one, 1 - sum(q[:place])) for place, one in enumerate(masses)),
    )
    return Derivation(
        "token_student",
        "Three regimes over K tokens",
        TRAINED,
        (
            Step(
                r"The model of [one position](bernoulli.md), with the push $s_i=(\lambda-1)r_i$ of each token: the clip sits inside the "
                r"update, $A_c(i)=\min\left(\log\frac{t_i}{q_i},\log c\right)+s_i$, and $\log q_i$ moves by $A_c(i)$ less its mean under the "
                r"student $q$. The advantage of a token that the clip does not touch:",
                Define(),
                free,
                free,
                name="A_c(i)",
            ),
            Step(
                "It is the slope of a potential.",
                Differentiate(q_i),
                potential,
                free,
                name=r"\frac{\partial\Phi}{\partial q_i}",
            ),
            Step(
                r"From $q_i=t_i/c$ down the clip acts, and the potential goes on as a straight line.",
                Differentiate(q_i),
                capped_potential,
                capped,
                name=r"\frac{\partial\Phi}{\partial q_i}",
            ),
            Step(
                "There the two pieces meet.",
                Substitute({q_i: t_i / c}),
                potential - capped_potential,
                sp.Integer(0),
            ),
            Step(
                "The curvature of the first piece; the second has none.",
                Differentiate(q_i),
                free,
                -1 / q_i,
                name=r"\frac{\partial^2\Phi}{\partial q_i^2}",
            ),
            Step(
                "The potential is concave, so where no token can gain by moving it has its maximum.",
                Sign("<"),
                -1 / q_i,
                -1 / q_i,
                name=r"\frac{\partial^2\Phi}{\partial q_i^2}",
            ),
            Step(
                r"Training climbs it. With $a_i$ for $A_c(i)$, its rate is the variance of the advantages under the student; for $K=3$:",
                Rewrite("collect"),
                growth,
                pairs,
                name=r"\Phi'",
                domain=UNEQUAL,
            ),
            Step(
                r"It grows until all tokens that are left have one advantage, which we call κ; shown for $K=3$, and a variance for any $K$.",
                Sign(">"),
                pairs,
                pairs,
                name=r"\Phi'",
                domain=UNEQUAL,
            ),
            Step(
                r"Any $K$: a token that the clip does not touch then has the mass",
                Solve(q_i),
                sp.Eq(free, kappa),
                t_i * sp.exp(s_i - kappa),
                name="q_{i}",
            ),
            Step(
                r"The clip does not touch it as long as this is at most $\log c$:",
                Substitute({q_i: t_i * sp.exp(s_i - kappa)}),
                sp.log(t_i / q_i),
                kappa - s_i,
                name=r"\log\frac{t_i}{q_i}",
            ),
            Step(
                r"Any $K$: a token with $s_i<\kappa-\log c$ stays below κ however small it becomes. It **dies**.",
                Sign("<"),
                capped - kappa,
                -(kappa - s_i - sp.log(c)),
                name=r"A_c(i)-\kappa",
                domain=DEAD,
            ),
            Step(
                r"If the clip touches no token, the masses add up to 1 at $\kappa=\log M_3$ with $M_j=\sum_{i\le j}t_ie^{s_i}$: that is "
                r"$A(\lambda)$, and the student is the fixed point, **preserving**. For $K=3$:",
                Solve(kappa),
                sp.Eq(sum(masses), 1),
                sp.log(sum(pushed)),
                name=r"\kappa",
                domain=FREE,
            ),
            Step(
                r"Any $K$: as κ grows the untouched tokens lose mass.",
                Differentiate(kappa),
                mass * sp.exp(-kappa),
                -mass * sp.exp(-kappa),
                name=r"\frac{\partial}{\partial\kappa}M_{j-1}e^{-\kappa}",
            ),
            Step(
                r"They do so strictly, and each token that drops out takes its last $t_i/c$ with it. So the mass passes 1 at one κ: on the way, or "
                "where a token drops out, which then holds what the others leave.",
                Sign("<"),
                -mass * sp.exp(-kappa),
                -mass * sp.exp(-kappa),
                name=r"\frac{\partial}{\partial\kappa}M_{j-1}e^{-\kappa}",
            ),
            Step(
                r"Number the tokens so that the pushes fall. For $K=3$ the clip first touches the last one, the binding token, where this is "
                r"positive; that is $\log R_3(\lambda)>\log c$.",
                Sign(">"),
                least_push,
                sp.log(sum(pushed) / (c * sp.exp(pushes[2]))),
                name=r"\log M_3-s_3-\log c",
                domain=SATURATED,
            ),
            Step(
                r"Its advantage is then the constant $\kappa=s_3+\log c$, and it holds what the others leave: **saturated**.",
                Substitute({kappa: pushes[2] + sp.log(c)}),
                1 - masses[0] - masses[1],
                rest,
                name="q_3",
                domain=SATURATED,
            ),
            Step(
                r"That is less than $t_3/c$, so the clip does act.",
                Sign(">"),
                t[2] / c - rest,
                (sum(pushed) - c * sp.exp(pushes[2])) / (c * sp.exp(pushes[2])),
                name=r"\frac{t_3}{c}-q_3",
                domain=SATURATED,
            ),
            Step(
                r"It is positive as long as $\log M_2<s_3+\log c$. From there on the token is dead, and the others go on without it.",
                Sign(">"),
                rest,
                (c * sp.exp(pushes[2]) - pushed[0] - pushed[1]) / (c * sp.exp(pushes[2])),
                name="q_3",
                domain=SATURATED,
            ),
            Step(
                r"Any $K$: token $j$ lives where $\log M_{j-1}-s_j<\log c$. From each token to the next that number grows, so all after a "
                r"dead one are dead, and the binding token dies first.",
                Sign(">"),
                (sp.log(mass + t_j * sp.exp(s_j)) - s_next) - (sp.log(mass) - s_j),
                sp.log(1 + t_j * sp.exp(s_j) / mass) + (s_j - s_next),
                name=r"(\log M_j-s_{j+1})-(\log M_{j-1}-s_j)",
                domain=NEXT,
            ),
            *(
                Step(
                    (
                        r"In one formula, with $L_j=\log M_j$ and $E_j=s_j+\log c$: $\kappa=\max_j\min(L_j,E_j)$. "
                        if not place
                        else ""
                    )
                    + words,
                    Rewrite("compare"),
                    shared,
                    value,
                    name=r"\kappa",
                    domain=_places(where, beyond),
                )
                for place, (words, value, where, beyond) in enumerate(regimes)
            ),
            Step(
                r"The masses in one formula, $q_j=\min\left(t_je^{s_j-\kappa},1-\sum_{i<j}q_i\right)$: a saturated token holds what the "
                r"others leave, and a dead one is left nothing. For $K=3$ and $\kappa=\log M_2$:",
                Substitute({kappa: sp.log(pushed[0] + pushed[1])}),
                sp.Min(masses[2], 1 - masses[0] - masses[1]),
                sp.Integer(0),
                name="q_3",
                domain=FREE,
            ),
            Step(
                r"How the left side of the condition for life changes with λ, for $K=3$.",
                Differentiate(lam),
                above,
                above_slope,
                name=r"\frac{\partial}{\partial\lambda}(\log M_2-s_3)",
                domain=FALLING,
            ),
            Step(
                r"It grows: each token dies at one λ, the root of $\log M_{j-1}=s_j+\log c$. For the binding token that is the equation of "
                r"$\lambda^*_{\mathrm{token}}$ without its own summand.",
                Sign(">"),
                above_slope,
                above_slope,
                name=r"\frac{\partial}{\partial\lambda}(\log M_2-s_3)",
                domain=FALLING,
            ),
            Step(
                r"Two tokens: the saturated student of one position.",
                Substitute({kappa: s_j + sp.log(c), s_i: s_j + push, t_i: p}),
                t_i * sp.exp(s_i - kappa),
                p / c * sp.exp(push),
                name="q",
                domain=PAIR,
            ),
            Step(
                r"And the λ at which its tail dies: the collapse point.",
                Solve(lam),
                sp.Eq(sp.log(p) + push, sp.log(c)),
                collapse,
                name=r"\lambda_c",
                domain=AHEAD,
            ),
            Step(
                r"Any $K$: two tokens with the same log-ratio have $b_i:b_j=t_i:t_j$ at the base. Where the student has that proportion their "
                r"advantages agree, so it stays, and the two act as one token.",
                Substitute({q_j: q_i * t_j / t_i}),
                sp.log(t_i / q_i) - sp.log(t_j / q_j),
                sp.Integer(0),
                name="A_c(i)-A_c(j)",
            ),
        ),
        {
            "stationary_student": (r"(q_1,q_2,q_3)", student),
            "common advantage": (
                r"\kappa",
                sp.Max(
                    *(sp.Min(sp.log(sum(pushed[: place + 1])), one + sp.log(c)) for place, one in enumerate(pushes))
                ),
            ),
        },
        module="categorical",
        remarks=r"""The results are for three tokens, numbered so that their pushes fall. For $\lambda<1$ the order of the pushes is the other way round, and the
formulas are the same. Where tokens with equal log-ratio hold the last place together, every division among them is stationary; training from
the base ends at $q_i:q_j=t_i:t_j$, the one that they have as a single token.""",
    )
