"""K tokens: the derivation of the stationary student with the cap inside the advantage."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import AHEAD, collapse, push
from lambda_star.symbolic.categorical.ratios import q_i, r, t, t_i, t_j, weights
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, lam, p, positive, real

__all__ = ["token_student"]

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
TRAINED = Assumptions(
    r"t_i,q_i>0,\quad s_i,\kappa\in\mathbb{R},\quad c>1",
    {t_i: u, t_j: h, q_i: v, s_i: k - g, kappa: m - s, c: 1 + z, mass: s},
)
DEAD = Assumptions(r"s_i<\kappa-\log c,\quad c>1", {s_i: k - g, c: 1 + z, kappa: k - g + sp.log(1 + z) + h})
UNEQUAL = Assumptions(
    r"K=3,\quad q_k>0,\quad \textstyle\sum_k q_k=1,\quad a_1>a_2>a_3",
    {
        **{symbol: value / sum(_teacher) for symbol, value in zip(q, _teacher, strict=True)},
        **dict(zip(advantages, (k - g + u + v, k - g + u, k - g), strict=True)),
    },
)
FREE = Assumptions(
    r"K=3,\quad t_k>0,\quad s_k,\kappa\in\mathbb{R}",
    {
        **dict(zip(t, _teacher, strict=True)),
        **{symbol: sp.log(value) for symbol, value in zip(pushes, _base, strict=True)},
        kappa: k - g,
    },
)
_held = u * (z + s + h) + v * (z + s)
SATURATED = Assumptions(
    r"K=3,\quad s_1>s_2>s_3,\quad M_2<c e^{s_3}<M_3",
    {
        **dict(zip(t, (u, v, k), strict=True)),
        **dict(zip(pushes, map(sp.log, (z + s + h, z + s, z)), strict=True)),
        c: (_held + k * z * m / (1 + m)) / z,
    },
)
PAIR = Assumptions(
    r"0<p,b<1,\quad c>1,\quad s_j\in\mathbb{R},\quad \lambda\in\mathbb{R}",
    {p: u / (1 + u), b: v / (1 + v), c: 1 + z, s_j: k - g, lam: m - h},
)
NEXT = Assumptions(r"s_j>s_{j+1},\quad M_{j-1},t_j>0", {mass: u, t_j: v, s_j: k - g, s_next: k - g - z})
FALLING = Assumptions(
    r"K=3,\quad r_1>r_2>r_3,\quad t_k>0,\quad \lambda>1",
    {**dict(zip(t, _teacher, strict=True)), **dict(zip(r, (k - g + u + v, k - g + u, k - g), strict=True)), lam: 1 + m},
)


def _places(text: str, beyond: tuple[sp.Expr, ...]) -> Assumptions:
    """Return the assumptions on the order of the L and E, from the distances of L_2, L_3, E_1, E_2 and E_3 from L_1."""
    values = dict(zip((*held[1:], *edges), (k - g + step for step in beyond), strict=True))
    return Assumptions(rf"L_1<L_2<L_3,\quad E_3<E_2<E_1,\quad {text}", {held[0]: k - g, **values})


@derivation
def token_student() -> Derivation:
    """Derive where training ends over K tokens with the cap inside the advantage."""
    free = sp.log(t_i / q_i) + s_i
    capped = sp.log(c) + s_i
    potential, capped_potential = q_i * (free + 1), q_i * capped + t_i / c
    average = sum(share * value for share, value in zip(q, advantages, strict=True))
    growth = sum(share * value * (value - average) for share, value in zip(q, advantages, strict=True))
    pairs = sum(q[i] * q[j] * (advantages[i] - advantages[j]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2)))
    pushed = [teacher * sp.exp(one) for teacher, one in zip(t, pushes, strict=True)]
    masses = [one * sp.exp(-kappa) for one in pushed]
    left = 1 - (t[0] * sp.exp(pushes[0] - pushes[2]) + t[1] * sp.exp(pushes[1] - pushes[2])) / c
    least_push = sp.log(sum(pushed)) - pushes[2] - sp.log(c)
    above = sp.log(weights[0] + weights[1]) - (lam - 1) * r[2]
    above_slope = (weights[0] * (r[0] - r[2]) + weights[1] * (r[1] - r[2])) / (weights[0] + weights[1])
    shared = sp.Max(*(sp.Min(one, other) for one, other in zip(held, edges, strict=True)))
    regimes = (
        (held[2], "L_3<E_3", (u, u + v, u + v + h + s + m, u + v + h + s, u + v + h)),
        (edges[2], "L_2<E_3<L_3", (u, u + v + h, u + v + s + m, u + v + s, u + v)),
        (held[1], "E_3<L_2<E_2", (u, u + h, u + s + m, u + s, u - v)),
        (edges[1], "L_1<E_2<L_2", (u + v, u + v + h, u + m, u, u - s)),
        (held[0], "E_2<L_1<E_1", (u, u + h, m, -v, -v - s)),
    )
    student = sp.Tuple(*(sp.Min(one, 1 - sum(q[:place])) for place, one in enumerate(masses)))
    return Derivation(
        "token_student",
        TRAINED,
        (
            Step(Define(), free, name="A_c(i)"),
            Step(Differentiate(q_i), potential, free, r"\frac{\partial\Phi}{\partial q_i}"),
            Step(Differentiate(q_i), capped_potential, capped, r"\frac{\partial\Phi}{\partial q_i}"),
            Step(Substitute({q_i: t_i / c}), potential - capped_potential, sp.Integer(0)),
            Step(Differentiate(q_i), free, -1 / q_i, r"\frac{\partial^2\Phi}{\partial q_i^2}"),
            Step(Sign("<"), -1 / q_i, name=r"\frac{\partial^2\Phi}{\partial q_i^2}"),
            Step(Rewrite("collect"), growth, pairs, r"\Phi'", assumptions=UNEQUAL),
            Step(Sign(">"), pairs, name=r"\Phi'", assumptions=UNEQUAL),
            Step(Solve(q_i), sp.Eq(free, kappa), t_i * sp.exp(s_i - kappa), "q_{i}"),
            Step(Substitute({q_i: t_i * sp.exp(s_i - kappa)}), sp.log(t_i / q_i), kappa - s_i, r"\log\frac{t_i}{q_i}"),
            Step(Sign("<"), capped - kappa, -(kappa - s_i - sp.log(c)), r"A_c(i)-\kappa", assumptions=DEAD),
            Step(Solve(kappa), sp.Eq(sum(masses), 1), sp.log(sum(pushed)), r"\kappa", assumptions=FREE),
            Step(
                Differentiate(kappa),
                mass * sp.exp(-kappa),
                -mass * sp.exp(-kappa),
                r"\frac{\partial}{\partial\kappa}M_{j-1}e^{-\kappa}",
            ),
            Step(Sign("<"), -mass * sp.exp(-kappa), name=r"\frac{\partial}{\partial\kappa}M_{j-1}e^{-\kappa}"),
            Step(
                Sign(">"),
                least_push,
                sp.log(sum(pushed) / (c * sp.exp(pushes[2]))),
                r"\log M_3-s_3-\log c",
                assumptions=SATURATED,
            ),
            Step(
                Substitute({kappa: pushes[2] + sp.log(c)}),
                1 - masses[0] - masses[1],
                left,
                "q_3",
                assumptions=SATURATED,
            ),
            Step(
                Sign(">"),
                t[2] / c - left,
                (sum(pushed) - c * sp.exp(pushes[2])) / (c * sp.exp(pushes[2])),
                r"\frac{t_3}{c}-q_3",
                assumptions=SATURATED,
            ),
            Step(
                Sign(">"),
                left,
                (c * sp.exp(pushes[2]) - pushed[0] - pushed[1]) / (c * sp.exp(pushes[2])),
                "q_3",
                assumptions=SATURATED,
            ),
            Step(
                Sign(">"),
                (sp.log(mass + t_j * sp.exp(s_j)) - s_next) - (sp.log(mass) - s_j),
                sp.log(1 + t_j * sp.exp(s_j) / mass) + (s_j - s_next),
                r"(\log M_j-s_{j+1})-(\log M_{j-1}-s_j)",
                assumptions=NEXT,
            ),
            *(
                Step(Rewrite("compare"), shared, value, r"\kappa", assumptions=_places(where, beyond))
                for value, where, beyond in regimes
            ),
            Step(
                Substitute({kappa: sp.log(pushed[0] + pushed[1])}),
                sp.Min(masses[2], 1 - masses[0] - masses[1]),
                sp.Integer(0),
                "q_3",
                assumptions=FREE,
            ),
            Step(
                Differentiate(lam),
                above,
                above_slope,
                r"\frac{\partial}{\partial\lambda}(\log M_2-s_3)",
                assumptions=FALLING,
            ),
            Step(Sign(">"), above_slope, name=r"\frac{\partial}{\partial\lambda}(\log M_2-s_3)", assumptions=FALLING),
            Step(
                Substitute({kappa: s_j + sp.log(c), s_i: s_j + push, t_i: p}),
                t_i * sp.exp(s_i - kappa),
                p / c * sp.exp(push),
                "q",
                assumptions=PAIR,
            ),
            Step(Solve(lam), sp.Eq(sp.log(p) + push, sp.log(c)), collapse, r"\lambda_c", assumptions=AHEAD),
            Step(
                Substitute({q_j: q_i * t_j / t_i}),
                sp.log(t_i / q_i) - sp.log(t_j / q_j),
                sp.Integer(0),
                "A_c(i)-A_c(j)",
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
    )
