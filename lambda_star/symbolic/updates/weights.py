"""Rules that weight, clip or drop the advantage, instead of capping the log-ratio of a token."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import edge, push
from lambda_star.symbolic.places import fixed as fixed_student
from lambda_star.symbolic.regions import above, between, free, let
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, lam, logit, p, positive, q
from lambda_star.symbolic.updates.parts import (
    RULE,
    adv_m,
    bound,
    free_m,
    free_t,
    height_m,
    height_t,
    leaves,
    log_m,
    log_t,
    positive_factor,
    power_m,
    power_t,
    rollout,
    rule,
    share,
    soft_gap,
    target,
    total,
    weight_m,
    weight_t,
    where,
)

__all__ = ["advantage_clamp", "importance_weight", "ppo", "reward_clip", "teacher_weight"]

value_m, value_t = sp.log(height_m / q), sp.log(height_t / (1 - q))
at_fixed = {q: height_m / total}
t_a, b_a = positive("t_a b_a")
PAIR = assume(above(0, b_a, t_a), free(lam))
"""One outcome under teacher and base."""


level = sp.Symbol(r"Z_\lambda", positive=True)
heights = {height_m: power_m, height_t: power_t}


@derivation
def advantage_clamp() -> Derivation:
    """Derive the students that are neutral under a clamp on the whole advantage."""
    clip = sp.exp(bound)
    one = t_a**lam * b_a ** (1 - lam)
    low, high = 1 - height_t / clip, height_m / clip
    width = r"\frac{h_m}{e^C}-\left(1-\frac{h_\tau}{e^C}\right)"
    split = (between(0, height_m, level), let(height_t, level - height_m))
    bounded = above(0, bound, log=1)
    narrow, wide = (
        assume(bounded, part, *split, between(0, q, 1)) for part in (between(0, level, clip), above(clip, level))
    )
    every = assume(bounded, above(0, level), *split, between(0, q, 1))
    outside = assume(bounded, between(0, height_t, clip), between(0, q, 1 - height_t / clip))
    inside = assume(bounded, between(0, height_m, clip), between(height_m / clip, q, 1))
    full = 1 + (bound + sp.log(1 / p)) / log_m
    general = sp.Piecewise((height_m / total, sp.log(total) <= bound), (low, True))
    student, edge_of = general.subs(heights), sp.Eq(sp.log(total), bound)
    return rule(
        "advantage_clamp",
        RULE,
        (
            Step(Substitute(at_fixed), value_m, sp.log(total), "A_m(q_\\lambda)"),
            Step(Substitute(at_fixed), value_t, sp.log(total), "A_\\tau(q_\\lambda)"),
            Step(Substitute(heights), edge_of, edge_of.subs(heights), leaves),
            Step(Substitute({lam: sp.Integer(0)}), one, b_a, "h_a", PAIR),
            Step(Substitute({lam: sp.Integer(1)}), one, t_a, "h_a", PAIR),
            Step(Differentiate(lam), one, one * sp.log(t_a / b_a), "", PAIR),
            Step(Differentiate(lam), one * sp.log(t_a / b_a), one * sp.log(t_a / b_a) ** 2, "", PAIR, sign=">"),
            Step(Solve(q), sp.Eq(value_m, bound), high, "q", where(between(0, height_m, clip))),
            Step(Solve(q), sp.Eq(value_t, bound), low, "q", where(between(0, height_t, clip))),
            Step(Sign(">"), high - low, (total - clip) / clip, width, wide),
            Step(Sign("<"), value_t - bound, -sp.log((1 - q) * clip / height_t), r"A_\tau-C", outside),
            Step(Sign("<"), value_m - bound, -sp.log(q * clip / height_m), "A_m-C", inside),
            Step(Substitute({q: b}), free_t, -lam * sp.log((1 - b) / (1 - p)), r"A_\tau(b)", sign="<"),
            Step(Join((narrow, wide)), sp.Tuple(height_m / total, low), general, "q", every),
            Step(Substitute(heights), general, student, "q"),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m, bound), full, r"\lambda"),
        ),
        (edge_of.subs(heights), sp.oo, student, sp.oo),
        given={
            "A_m": value_m,
            r"A_\tau": value_t,
            r"q_\lambda": height_m / total,
            r"\log Z_\lambda=C": edge_of,
            "h_a": one,
            r"A_\tau(q)": free_t,
            "F_m(1)": sp.log(p) + (lam - 1) * log_m,
        },
        uses=("tail_dies",),
    )


@derivation
def reward_clip() -> Derivation:
    """Derive the fixed point and the tail ratio if the log-ratio of the reward is clipped."""
    cut, small, great = positive("R r_1 r_2")
    soft = sp.exp((lam - 1) * soft_gap)
    odds = logit(p) - logit(q) + (lam - 1) * soft_gap
    student = p * soft / (1 - p + p * soft)
    soft_ratio, soft_star = (1 - p) + p * soft, 1 + edge / soft_gap
    region = assume(between(0, p, q, 1, each=True), above(1, c), above(1, lam), above(0, soft_gap, Delta))
    loose, one_cut, both_cut = (
        assume(above(0, *order)) for order in ((small, great, cut), (small, cut, great), (cut, small, great))
    )
    clipped = sp.Min(small, cut) + sp.Min(great, cut)
    general = sp.Piecewise((sp.oo, cut >= great), (1, True))
    greatest = {great: sp.Max(log_m, -log_t)}
    written_gap = {soft_gap: sp.Min(log_m, cut) + sp.Min(-log_t, cut)}
    with_cut = where(above(0, cut))
    return rule(
        "reward_clip",
        region,
        (
            Step(Solve(q), sp.Eq(odds, 0), student, "q"),
            Step(Substitute(written_gap), student, student.subs(written_gap), "q", with_cut),
            Step(Substitute({q: student}), (1 - p) / (1 - q), soft_ratio, r"\frac{1-p}{1-q}"),
            Step(Solve(lam), sp.Eq(soft_ratio, c), soft_star, r"\tilde\lambda^*"),
            Step(
                Sign(">"),
                edge / soft_gap - edge / Delta,
                edge * (Delta - soft_gap) / (Delta * soft_gap),
                r"\tilde\lambda^*-\lambda^*",
            ),
            Step(Rewrite("compare"), clipped, small + great, r"\tilde\Delta", loose),
            Step(Rewrite("compare"), clipped, small + cut, r"\tilde\Delta", one_cut),
            Step(Rewrite("compare"), clipped, 2 * cut, r"\tilde\Delta", both_cut),
            Step(
                Join((loose, one_cut, both_cut)),
                sp.Tuple(sp.oo, 1, 1),
                general,
                leaves,
                assume(above(0, small, great), above(0, cut)),
            ),
            Step(Substitute(greatest), general, general.subs(greatest), leaves, with_cut),
            Step(Limit(q, sp.Integer(1)), sp.log((1 - p) / (1 - q)), sp.oo, r"\sup F_\tau"),
        ),
        (general.subs(greatest), sp.oo, student.subs(written_gap), sp.oo),
        given={
            r"F_m-F_\tau": odds,
            r"r": (1 - p) / (1 - q),
            r"(\lambda^*-1)_{\Delta}": edge / Delta,
            r"\tilde\Delta": clipped,
            r"F_\tau": sp.log((1 - p) / (1 - q)),
        },
        uses=("tail_dies",),
    )


@derivation
def importance_weight() -> Derivation:
    """Derive that a truncated importance weight keeps the fixed point."""
    factor = (1 - rollout) * weight_m + rollout * weight_t
    region = assume(between(0, rollout, q, 1, each=True), above(1, c), above(0, weight_m, weight_t, each=True))
    return rule(
        "importance_weight",
        region,
        (
            Step(Substitute({weight_m: c * rollout / q}), q * weight_m, c * rollout, r"q w_m", sign=">"),
            Step(Substitute({rollout: q}), c * rollout / q, c, r"\tfrac{c\mu}{\pi}"),
            Step(Substitute({share: rollout}), positive_factor, factor, sign=">"),
        ),
        (sp.oo, sp.oo, fixed_student, sp.oo),
        given={"q w_m": q * weight_m, r"\tfrac{c\mu}{\pi}": c * rollout / q},
        uses=("same_sign", "none"),
    )


@derivation
def ppo() -> Derivation:
    """Derive that PPO's clip of the ratio of new to old student keeps the fixed point."""
    old, new_ratio = positive(r"q_{\mathrm{old}} \rho")
    region = assume(between(0, q, old, 1, each=True), above(0, new_ratio, weight_m, weight_t, each=True), free(adv_m))
    return rule(
        "ppo",
        region,
        (
            Step(Differentiate(q), q / old * adv_m, adv_m / old, r"\frac{\partial}{\partial q}(\rho A_m)"),
            Step(Substitute({q: new_ratio * old}), q * (adv_m / old), new_ratio * adv_m),
            Step(Substitute({share: q, weight_t: sp.Integer(0)}), positive_factor, (1 - q) * weight_m, sign=">"),
            Step(Substitute({share: q, weight_m: sp.Integer(0)}), positive_factor, q * weight_t, sign=">"),
        ),
        (sp.oo, sp.oo, fixed_student, sp.oo),
        given={r"\rho A_m": q / old * adv_m},
        uses=("same_sign", "none"),
    )


@derivation
def teacher_weight() -> Derivation:
    """Derive where training ends if the capped ratio of teacher to student weights the advantage."""
    forces = p / q * value_m, (1 - p) / (1 - q) * value_t
    slopes = -p / q**2 * (value_m + 1), (1 - p) / (1 - q) ** 2 * (value_t + 1)
    names = r"\frac{\mathrm{d}F_m}{\mathrm{d}q}", r"\frac{\mathrm{d}F_\tau}{\mathrm{d}q}"
    modal_gains, tail_gains = where(above(q, height_m)), where(above(1 - q, height_t))
    past = assume(
        between(0, p, 1),
        above(1, c),
        between(p, target, 1),
        above(1, level),
        let(height_m, level * target),
        let(height_t, level * (1 - target)),
        between(0, q, 1),
    )
    balance = sp.Eq(p / q * value_m, sp.Min(c, (1 - p) / (1 - q)) * value_t)
    at_p, at_target = p / q * free_m - (1 - p) / (1 - q) * free_t, {q: target}
    at_star = r"(F_m-F_\tau)(q_\lambda)"
    return rule(
        "teacher_weight",
        RULE,
        (
            Step(Differentiate(q), forces[0], slopes[0], names[0], modal_gains, sign="<"),
            Step(Differentiate(q), forces[1], slopes[1], names[1], tail_gains, sign=">"),
            Step(Differentiate(q), c * value_t, c / (1 - q), names[1], sign=">"),
            Step(Substitute({q: p}), at_p, push, r"(F_m-F_\tau)(p)", sign=">"),
            Step(Solve(lam), sp.Eq(push, 0), sp.Integer(1), leaves, where(free(lam))),
            Step(
                Substitute(at_target),
                forces[0] - forces[1],
                -(target - p) / (target * (1 - target)) * sp.log(level),
                at_star,
                past,
                sign="<",
            ),
            Step(
                Substitute(at_target),
                forces[0] - c * value_t,
                -(c * target - p) / target * sp.log(level),
                at_star,
                past,
                sign="<",
            ),
            Step(Limit(q, sp.Integer(1)), c * free_t, sp.oo, r"\sup F_\tau"),
            Step(Substitute(heights), balance, balance.subs(heights), "q"),
        ),
        (sp.Integer(1), sp.oo, balance.subs(heights), sp.oo),
        given={
            "F_m": forces[0],
            r"F_\tau": forces[1],
            r"F_\tau^c": c * value_t,
            r"F_m-F_\tau": at_p,
            r"cA_\tau": c * free_t,
            r"F_m=F_\tau": balance,
        },
        uses=("tail_dies",),
    )
