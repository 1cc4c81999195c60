"""K tokens: the derivation of the stationary student with the cap inside the advantage."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.categorical.ratios import first, mean, q_i, r_j, second, shift, t, t_i, t_j, total
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import AHEAD, collapse, push
from lambda_star.symbolic.regions import above, below, between, free, note, rising
from lambda_star.symbolic.rules import Differentiate, Join, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, lam, p, positive, real

__all__ = ["token_student"]

q_j = sp.Symbol("q_j", positive=True)
q = positive("q_1:4")
pushes = real("s_1:4")
s_i, s_j, s_next, kappa = real("s_i s_j s_{j+1} kappa")
"""The pushes (λ−1)r, and the advantage that living tokens share."""

mass, all_mass = positive(r"M_{j-1} M_K")
own, left, beyond = positive(r"u_j v_j \delta")
"""The mass of a token that the cap does not touch, and what the tokens before it leave."""

L_i, L_j, L_n, E_i, E_j, E_n = real("L_i L_j L_n E_i E_j E_n")
"""The logarithms of the weights M, and the largest advantages s + log c, of a token and of one before and behind it."""

held, edges = real("L_1:4"), real("E_1:4")
"""The same for three tokens."""

TRAINED = assume(
    above(0, t_i, t_j, q_i, q_j, each=True), free(s_i, s_j, kappa), above(1, c), above(0, all_mass, mass, each=True)
)
DEAD = assume(free(s_i), above(1, c), above(0, beyond))
RATE = assume(free(first, second, mean))
SATURATED = assume(
    above(0, mass, t_j, each=True), free(s_j, log=1), between(mass * sp.exp(-s_j), c, mass * sp.exp(-s_j) + t_j)
)
NEXT = assume(above(0, mass, t_j, each=True), rising(s_next, s_j))
PAIR = assume(between(0, p, b, 1, each=True), above(1, c), free(s_j), free(lam))
FALLING = assume(above(0, total, shift, each=True), free(lam, r_j), above(total * r_j, first))
THREE = assume(note("K=3"), above(0, *t, each=True), between(0, *q, 1, each=True), free(*pushes, kappa), above(1, c))
UNTOUCHED = assume(rising(L_i, L_j, E_j, E_i), above(L_j, L_n), below(E_n, L_j))
CAPPED = assume(rising(L_i, E_j, L_j, L_n), above(E_j, E_i), below(E_n, E_j))
KEEPS, YIELDS = assume(above(0, own, left)), assume(above(0, left, own))


@derivation
def token_student() -> Derivation:
    """Derive where training ends over K tokens with the cap inside the advantage."""
    free_advantage = sp.log(t_i / q_i) + s_i
    capped = sp.log(c) + s_i
    potential, capped_potential = q_i * (free_advantage + 1), q_i * capped + t_i / c
    pushed = [teacher * sp.exp(one) for teacher, one in zip(t, pushes, strict=True)]
    masses = [one * sp.exp(-kappa) for one in pushed]
    share = t_i * sp.exp(s_i - kappa)
    remaining = 1 - mass * sp.exp(-kappa)
    at_cap = 1 - mass * sp.exp(-s_j) / c
    margin = sp.log(total + first * shift) - (lam + shift - 1) * r_j
    margin_slope = first / (total + first * shift) - r_j
    pair = sp.Max(*(sp.Min(*one) for one in ((L_i, E_i), (L_j, E_j), (L_n, E_n))))
    shared = sp.Max(*(sp.Min(one, other) for one, other in zip(held, edges, strict=True)))
    in_weights = {one: sp.log(sum(pushed[: place + 1])) for place, one in enumerate(held)}
    in_weights |= {one: push_of + sp.log(c) for one, push_of in zip(edges, pushes, strict=True)}
    in_all = shared.subs(in_weights, simultaneous=True)
    lefts = [1 - sum(q[:place]) for place in range(3)]
    students = [sp.Min(one, rest) for one, rest in zip(masses, lefts, strict=True)]
    rest_of = r"\frac{t_j}{c}-q_j"
    return Derivation(
        "token_student",
        TRAINED,
        (
            Step(Differentiate(q_i), potential, free_advantage, r"\frac{\partial\Phi}{\partial q_i}"),
            Step(Differentiate(q_i), capped_potential, capped, r"\frac{\partial\Phi}{\partial q_i}"),
            Step(Substitute({q_i: t_i / c}), potential - capped_potential, sp.Integer(0)),
            Step(Differentiate(q_i), free_advantage, -1 / q_i, r"\frac{\partial^2\Phi}{\partial q_i^2}", sign="<"),
            Step(Substitute({mean: first}), second - mean * first, second - first**2, r"\Phi'", RATE),
            Step(Solve(q_i), sp.Eq(free_advantage, kappa), share, "q_{i}"),
            Step(Substitute({q_i: share}), sp.log(t_i / q_i), kappa - s_i, r"\log\frac{t_i}{q_i}"),
            Step(Substitute({kappa: capped + beyond}), capped - kappa, -beyond, r"A_c(i)-\kappa", DEAD, sign="<"),
            Step(Solve(kappa), sp.Eq(all_mass * sp.exp(-kappa), 1), sp.log(all_mass), r"\kappa"),
            Step(
                Differentiate(kappa),
                mass * sp.exp(-kappa),
                -mass * sp.exp(-kappa),
                r"\frac{\partial}{\partial\kappa}M_{j-1}e^{-\kappa}",
                sign="<",
            ),
            Step(Substitute({kappa: s_j + sp.log(c)}), remaining, at_cap, "q_j", SATURATED),
            Step(Sign(">"), t_j / c - at_cap, (mass * sp.exp(-s_j) + t_j - c) / c, rest_of, SATURATED),
            Step(Sign(">"), at_cap, (c - mass * sp.exp(-s_j)) / c, "q_j", SATURATED),
            Step(
                Sign(">"),
                (sp.log(mass + t_j * sp.exp(s_j)) - s_next) - (sp.log(mass) - s_j),
                sp.log(1 + t_j * sp.exp(s_j) / mass) + (s_j - s_next),
                r"(L_j-s_{j+1})-(L_{j-1}-s_j)",
                NEXT,
            ),
            Step(Rewrite("compare"), pair, L_j, r"\kappa", UNTOUCHED),
            Step(Rewrite("compare"), pair, E_j, r"\kappa", CAPPED),
            Step(Substitute(in_weights), shared, in_all, r"\kappa", THREE),
            Step(Substitute({kappa: sp.log(mass)}), remaining, sp.Integer(0), "v_j"),
            Step(
                Join((KEEPS, YIELDS)),
                sp.Tuple(own, left),
                sp.Min(own, left),
                "q_j",
                assume(above(0, own, left, each=True)),
            ),
            *(
                Step(Substitute({own: one, left: rest}), sp.Min(own, left), sp.Min(one, rest), f"q_{place}", THREE)
                for place, (one, rest) in enumerate(zip(masses, lefts, strict=True), start=1)
            ),
            Step(Differentiate(shift), margin, margin_slope, "", FALLING),
            Step(
                Substitute({shift: sp.Integer(0)}),
                margin_slope,
                (first - total * r_j) / total,
                r"\frac{\partial}{\partial\lambda}(L_{j-1}-s_j)",
                FALLING,
                sign=">",
            ),
            Step(Substitute({kappa: s_j + sp.log(c), s_i: s_j + push, t_i: p}), share, p / c * sp.exp(push), "q", PAIR),
            Step(Solve(lam), sp.Eq(sp.log(p) + push, sp.log(c)), collapse, r"\lambda_c", AHEAD),
            Step(
                Substitute({q_j: q_i * t_j / t_i}),
                sp.log(t_i / q_i) - sp.log(t_j / q_j),
                sp.Integer(0),
                "A_c(i)-A_c(j)",
            ),
        ),
        {"stationary_student": (r"(q_1,q_2,q_3)", sp.Tuple(*students)), "common advantage": (r"\kappa", in_all)},
        module="categorical",
        given={
            "A_c(i)": free_advantage,
            r"\Phi_i": potential,
            r"\Phi_i^c": capped_potential,
            r"\Phi'": second - mean * first,
            r"M_Ke^{-\kappa}": all_mass * sp.exp(-kappa),
            "v_j": remaining,
            "L_j-s_{j+1}": sp.log(mass + t_j * sp.exp(s_j)) - s_next,
            "L_{j-1}-s_j": sp.log(mass) - s_j,
            r"\max(\min(L,E))": pair,
            r"\max_j\min(L_j,E_j)": shared,
            r"L_{j-1}(\lambda+h)-s_j(\lambda+h)": margin,
            "L_1-s_2": sp.log(p) + push,
            r"\log\frac{t_i}{q_i}-\log\frac{t_j}{q_j}": sp.log(t_i / q_i) - sp.log(t_j / q_j),
            "u_j": own,
        },
        uses=("regimes", "ratio"),
    )
