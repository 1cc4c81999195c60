"""Rules that weight, clip or drop the advantage, instead of capping the log-ratio of a token."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.bernoulli import edge, fixed, push
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Differentiate, Limit, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, lam, logit, p, q
from lambda_star.symbolic.updates.parts import (
    RULE,
    VALUES,
    adv_m,
    bound,
    free_m,
    free_t,
    g,
    h,
    height_m,
    height_t,
    k,
    log_m,
    log_t,
    m,
    n,
    positive_factor,
    power_m,
    power_t,
    rollout,
    rule,
    s,
    share,
    soft_gap,
    t,
    total,
    u,
    v,
    weight_m,
    weight_t,
    where,
    z,
)

__all__ = ["advantage_clamp", "importance_weight", "ppo", "reward_clip", "teacher_weight"]

value_m, value_t = sp.log(height_m / q), sp.log(height_t / (1 - q))
at_fixed = {q: height_m / total}
written = power_m + power_t


@derivation
def advantage_clamp() -> Derivation:
    """Derive the students that are neutral under a clamp on the whole advantage."""
    clip = sp.exp(bound)
    slope, curve = power_m * log_m + power_t * log_t, power_m * log_m**2 + power_t * log_t**2
    low, high = 1 - height_t / clip, height_m / clip
    width = r"\frac{h_m}{e^C}-\left(1-\frac{h_\tau}{e^C}\right)"
    top = 1 + k
    wide = where(r"Z_\lambda>e^C", {height_m: top * (1 + g) * u / (1 + u), height_t: top * (1 + g) / (1 + u)})
    below = where(r"1-q>\frac{h_\tau}{e^C}", {height_t: top * t / (1 + t), q: z / ((1 + z) * (1 + t))})
    above = where(r"q>\frac{h_m}{e^C}", {height_m: top * z / (1 + z) * t / (1 + t)})
    anywhere = where(r"0<b<p<1,\quad \lambda\in\mathbb{R}", {lam: m - n})
    full = 1 + (bound + sp.log(1 / p)) / log_m
    student = sp.Piecewise((fixed, sp.log(written) <= bound), (1 - power_t / clip, True))
    second = r"\frac{\partial^2Z_\lambda}{\partial\lambda^2}"
    return rule(
        "advantage_clamp",
        RULE,
        (
            Step(Substitute(at_fixed), value_m, sp.log(total), "A_m(q_\\lambda)"),
            Step(Substitute(at_fixed), value_t, sp.log(total), "A_\\tau(q_\\lambda)"),
            Step(Substitute({lam: sp.Integer(0)}), written, sp.Integer(1), "Z_0"),
            Step(Substitute({lam: sp.Integer(1)}), written, sp.Integer(1), "Z_1"),
            Step(Differentiate(lam), written, slope, r"\frac{\partial Z_\lambda}{\partial\lambda}", anywhere),
            Step(Differentiate(lam), slope, curve, second, anywhere),
            Step(Sign(">"), curve, name=second, assumptions=anywhere),
            Step(Solve(q), sp.Eq(value_m, bound), high, "q"),
            Step(Solve(q), sp.Eq(value_t, bound), low, "q"),
            Step(Sign(">"), high - low, (total - clip) / clip, width, wide),
            Step(Sign("<"), value_t - bound, -sp.log((1 - q) * clip / height_t), r"A_\tau-C", below),
            Step(Sign("<"), value_m - bound, -sp.log(q * clip / height_m), "A_m-C", above),
            Step(Substitute({q: b}), free_t, lam * log_t, r"A_\tau(b)"),
            Step(Sign("<"), lam * log_t, -lam * sp.log((1 - b) / (1 - p)), r"A_\tau(b)"),
            Step(Sign(">"), height_t / clip, name="1-q"),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m, bound), full, r"\lambda"),
        ),
        (sp.Eq(sp.log(written), bound), sp.oo, student, sp.oo),
    )


@derivation
def reward_clip() -> Derivation:
    """Derive the fixed point and the tail ratio if the log-ratio of the reward is clipped."""
    cut = sp.Symbol("R", positive=True)
    soft = sp.exp((lam - 1) * soft_gap)
    odds = logit(p) - logit(q) + (lam - 1) * soft_gap
    student = p * soft / (1 - p + p * soft)
    soft_ratio, soft_star = (1 - p) + p * soft, 1 + edge / soft_gap
    region = where(r"0<b<p<1,\quad c>1,\quad 0<\tilde\Delta<\Delta", {soft_gap: n, Delta: n + v})
    written_gap = sp.Min(log_m, cut) + sp.Min(-log_t, cut)
    full = {soft_gap: written_gap}
    return rule(
        "reward_clip",
        region,
        (
            Step(Solve(q), sp.Eq(odds, 0), student, "q"),
            Step(Substitute({q: student}), (1 - p) / (1 - q), soft_ratio, r"\frac{1-p}{1-q}"),
            Step(Solve(lam), sp.Eq(soft_ratio, c), soft_star, r"\tilde\lambda^*"),
            Step(
                Sign(">"),
                edge / soft_gap - edge / Delta,
                edge * (Delta - soft_gap) / (Delta * soft_gap),
                r"\tilde\lambda^*-\lambda^*",
            ),
            Step(Limit(q, sp.Integer(1), z, sp.oo), sp.log((1 - p) / (1 - q)), sp.oo),
        ),
        (
            sp.Piecewise((sp.oo, cut >= sp.Max(log_m, -log_t)), (1, True)),
            sp.oo,
            student.subs(full),
            sp.oo,
        ),
    )


@derivation
def importance_weight() -> Derivation:
    """Derive that a truncated importance weight keeps the fixed point."""
    factor = (1 - rollout) * weight_m + rollout * weight_t
    region = where(r"0<\mu,q<1,\quad c>1,\quad w_m,w_\tau>0", {rollout: u / (1 + u), weight_m: g, weight_t: h})
    return rule(
        "importance_weight",
        region,
        (
            Step(Substitute({weight_m: c * rollout / q}), q * weight_m, c * rollout, r"q w_m"),
            Step(Sign(">"), c * rollout / q, name="w_m"),
            Step(Substitute({rollout: q}), c * rollout / q, c),
            Step(Substitute({share: rollout}), positive_factor, factor),
            Step(Sign(">"), factor),
        ),
        (sp.oo, sp.oo, fixed, sp.oo),
    )


@derivation
def ppo() -> Derivation:
    """Derive that PPO's clip of the ratio of new to old student keeps the fixed point."""
    moved = sp.Symbol("y", real=True)
    region = where(
        r"0<q<1,\quad y,A_m\in\mathbb{R},\quad w_m,w_\tau>0", {weight_m: g, weight_t: h, adv_m: m - n, moved: s - t}
    )
    return rule(
        "ppo",
        region,
        (
            Step(Differentiate(moved), sp.exp(moved) * adv_m, sp.exp(moved) * adv_m),
            Step(Sign(">"), sp.exp(moved), name="w_m"),
            Step(Sign(">"), (1 - q) * weight_m),
            Step(Sign(">"), q * weight_t),
        ),
        (sp.oo, sp.oo, fixed, sp.oo),
    )


@derivation
def teacher_weight() -> Derivation:
    """Derive where training ends if the capped ratio of teacher to student weights the advantage."""
    odds = VALUES[p] / (1 - VALUES[p])
    forces = p / q * value_m, (1 - p) / (1 - q) * value_t
    slopes = -p / q**2 * (value_m + 1), (1 - p) / (1 - q) ** 2 * (value_t + 1)
    names = r"\frac{\mathrm{d}F_m}{\mathrm{d}q}", r"\frac{\mathrm{d}F_\tau}{\mathrm{d}q}"
    modal_gains = where(r"0<q<h_m", {height_m: z / (1 + z) * (1 + g)})
    tail_gains = where(r"1-q<h_\tau", {height_t: (1 + h) / (1 + z)})
    thin = (1 + k) / (1 + odds * (1 + u))
    past = where(r"Z_\lambda>1,\quad q_\lambda>p,\quad c>1", {height_m: thin * odds * (1 + u), height_t: thin})
    level = sp.log(total)
    uncapped, capped = p * total / height_m - (1 - p) * total / height_t, p * total / height_m - c
    advantages = sp.log(power_m / q), sp.log(power_t / (1 - q))
    balance = sp.Eq(p / q * advantages[0], sp.Min(c, (1 - p) / (1 - q)) * advantages[1])
    at_star = r"(F_m-F_\tau)(q_\lambda)"
    return rule(
        "teacher_weight",
        RULE,
        (
            Step(Differentiate(q), forces[0], slopes[0], names[0], modal_gains),
            Step(Sign("<"), slopes[0], name=names[0], assumptions=modal_gains),
            Step(Differentiate(q), forces[1], slopes[1], names[1], tail_gains),
            Step(Sign(">"), slopes[1], name=names[1], assumptions=tail_gains),
            Step(Differentiate(q), c * value_t, c / (1 - q), names[1]),
            Step(Sign(">"), c / (1 - q), name=names[1]),
            Step(Substitute({q: p}), p / q * free_m - (1 - p) / (1 - q) * free_t, push, r"(F_m-F_\tau)(p)"),
            Step(Sign(">"), push, name=r"(F_m-F_\tau)(p)"),
            Step(Substitute(at_fixed), forces[0] - forces[1], uncapped * level, at_star),
            Step(Sign("<"), uncapped * level, name=at_star, assumptions=past),
            Step(Substitute(at_fixed), forces[0] - c * value_t, capped * level, at_star),
            Step(Sign("<"), capped * level, name=at_star, assumptions=past),
            Step(Limit(q, sp.Integer(1), z, sp.oo), c * free_t, sp.oo, r"\sup F_\tau"),
        ),
        (sp.Integer(1), sp.oo, balance, sp.oo),
    )
