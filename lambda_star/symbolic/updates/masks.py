"""Rules that drop the advantage of some tokens: top-k losses and truncated sampling."""

from __future__ import annotations

from itertools import pairwise

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions, assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import push
from lambda_star.symbolic.regions import above, between, free
from lambda_star.symbolic.rules import Differentiate, Join, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, gap, lam, logit, p, positive, q, real
from lambda_star.symbolic.updates.parts import (
    clip_name,
    dies,
    height_m,
    height_t,
    leaves,
    log_m,
    log_t,
    rule,
    total,
    velocity,
    where,
)

__all__ = ["top_k", "top_k_through", "truncated_sampling"]

half = sp.Rational(1, 2)
value_m, value_t = sp.log(height_m / q), sp.log(height_t / (1 - q))
peak = p * sp.exp((lam - 1) * log_m)
"""The height h_m of the modal token, written out."""

log_clip_of = sp.Symbol(rf"\log {clip_name}", real=True)
modal_end = 1 + sp.log(1 / p) / log_m
_place = (between(half, p, 1), between(0, b, p))
LEADS = where(*_place, free(lam))
TRAILS = where(*_place, between(0, q, half), between(0, height_t, 1 - p))
HELD = where(*_place, between(0, height_m, 1))
log_clip = rf"\log {clip_name}"
at_start = sp.Eq((lam - 1) * log_m, 0)


def _stages(*marks: sp.Expr) -> tuple[Assumptions, ...]:
    """Return the regions of the modal token's height before, between and beyond some heights."""
    ends = (sp.Integer(0), *marks)
    parts = (*(between(low, height_m, high) for low, high in pairwise(ends)), above(marks[-1], height_m))
    return tuple(assume(part) for part in parts)


@derivation
def top_k() -> Derivation:
    """Derive where the tail dies if the student's most probable token alone has an advantage."""
    regions = _stages(sp.Integer(1))
    alive = sp.Min(height_m, 1)
    level = sp.Symbol(r"Z_\lambda", positive=True)
    in_log = -sp.log(1 / p) * log_t / log_m
    student = sp.Min(peak, 1)
    return rule(
        "top_k",
        LEADS,
        (
            Step(Solve(q), sp.Eq(value_m, 0), height_m, "q", HELD),
            Step(Differentiate(q), value_m, -1 / q, r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)", sign="<"),
            Step(Sign(">"), -value_t, sp.log((1 - q) / height_t), velocity, TRAILS),
            Step(Solve(lam), at_start, sp.Integer(1), leaves),
            Step(
                Sign(">"),
                height_m - height_m / level,
                height_m * (level - 1) / level,
                r"h_m-q_\lambda",
                assume(above(0, height_m), above(1, level)),
            ),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m, 0), modal_end, dies),
            Step(Substitute({q: sp.Integer(1)}), value_m, sp.log(height_m), f"({velocity})(1)", regions[1], sign=">"),
            Step(Join(regions), sp.Tuple(height_m, 1), alive, "q", assume(above(0, height_m))),
            Step(Substitute({height_m: peak}), alive, student, "q"),
            Step(Substitute({lam: modal_end}), sp.log(p) + push, in_log, log_clip),
            Step(Substitute({log_clip_of: in_log}), sp.exp(log_clip_of), sp.exp(in_log), clip_name),
        ),
        (sp.Integer(1), modal_end, student, sp.exp(in_log)),
        given={
            velocity: value_m,
            r"F_\tau": value_t,
            r"\log\frac{h_m}{p}": (lam - 1) * log_m,
            r"q_\lambda": height_m / level,
            "F_m(1)": sp.log(p) + (lam - 1) * log_m,
            log_clip: sp.log(p) + push,
            f"e^{{{log_clip}}}": sp.exp(log_clip_of),
        },
    )


@derivation
def top_k_through() -> Derivation:
    """Derive the same for a top-k loss that is differentiated and has no bucket for the other tokens."""
    stuck = 1 + sp.log(sp.E / (2 * p)) / log_m
    end = 1 + sp.log(sp.E / p) / log_m
    outside = 1 - value_t
    regions = _stages(sp.E / 2, sp.E)
    alive = sp.Max(half, sp.Min(height_m / sp.E, 1))
    student = sp.Max(half, sp.Min(peak / sp.E, 1))
    in_log = (gap - sp.log(1 / p) * log_t) / log_m
    drift = sp.log(p) + (lam - 1) * log_m - 1
    return rule(
        "top_k_through",
        LEADS,
        (
            Step(Differentiate(q), q * value_m, value_m - 1, velocity),
            Step(Solve(q), sp.Eq(value_m - 1, 0), height_m / sp.E, "q", HELD),
            Step(
                Substitute({q: half}), value_m - 1, sp.log(2 * height_m / sp.E), r"F_m(\frac12)", regions[0], sign="<"
            ),
            Step(Differentiate(q), (1 - q) * value_t, outside, velocity),
            Step(Sign(">"), outside, 1 + sp.log((1 - q) / height_t), velocity, TRAILS),
            Step(Solve(lam), sp.Eq(drift, sp.log(half)), stuck, r"\lambda"),
            Step(Solve(lam), sp.Eq(drift, 0), end, dies),
            Step(
                Substitute({q: sp.Integer(1)}),
                value_m - 1,
                sp.log(height_m / sp.E),
                f"({velocity})(1)",
                regions[2],
                sign=">",
            ),
            Step(Join(regions), sp.Tuple(half, height_m / sp.E, 1), alive, "q", assume(above(0, height_m))),
            Step(Substitute({height_m: peak}), alive, student, "q"),
            Step(Substitute({lam: end}), sp.log(p) + push, in_log, log_clip),
            Step(Substitute({log_clip_of: in_log}), sp.exp(log_clip_of), sp.exp(in_log), clip_name),
        ),
        (sp.Integer(1), end, student, sp.exp(in_log)),
        given={
            r"J_m(q)": q * value_m,
            r"J_\tau(q)": (1 - q) * value_t,
            "F_m(1)": drift,
            r"\log\frac12": sp.log(half),
            log_clip: sp.log(p) + push,
            f"e^{{{log_clip}}}": sp.exp(log_clip_of),
        },
        uses=("top_k",),
    )


@derivation
def truncated_sampling() -> Derivation:
    """Derive where the tokens die that are never sampled."""
    own, share, height, token = positive("pi_a sigma h_a t_a")
    value, others, log_ratio = real("A_a M r_a")
    whole, summed = sp.Symbol("Z_S", positive=True), sp.Symbol(r"\sum_{a\in S}t_ae^{(\lambda-1)r_a}", positive=True)
    summand = token * sp.exp((lam - 1) * log_ratio)
    region = assume(
        above(0, own, share, height, token, summed, each=True), free(value, others, lam), above(0, log_ratio)
    )
    drawn = own / share * value * (1 - own) - others * own
    edge_mass = sp.Symbol("nu", positive=True)
    entering = where(between(0, edge_mass, 1), free(lam))
    entry = 1 + (logit(edge_mass) - logit(p)) / gap
    early, late = (where(part, free(lam)) for part in (between(0, edge_mass, p), between(p, edge_mass, 1)))
    first_leaves = sp.Max(1, entry)
    return Derivation(
        "truncated_sampling",
        region,
        (
            Step(Rewrite("collect"), drawn, own * (value / share - (own * value / share + others)), r"z_a'"),
            Step(Solve(own), sp.Eq(sp.log(height / own) / share, 0), height, r"\pi_a"),
            Step(Substitute({lam: sp.Integer(1)}), summand, token),
            Step(Differentiate(lam), summand, log_ratio * summand),
            Step(Differentiate(lam), log_ratio * summand, log_ratio**2 * summand, sign=">"),
            Step(Substitute({whole: summed}), sp.Eq(whole, 1), sp.Eq(summed, 1), dies),
            Step(Solve(lam), sp.Eq(sp.log(p) + (lam - 1) * log_m, 0), modal_end, dies, where(free(lam))),
            Step(Solve(lam), sp.Eq(logit(p) + push, logit(edge_mass)), entry, leaves, entering),
            Step(Sign("<"), entry - 1, -sp.log(p * (1 - edge_mass) / (edge_mass * (1 - p))) / gap, "", early),
            Step(
                Join((early, late)),
                sp.Tuple(1, entry),
                first_leaves,
                leaves,
                where(between(0, edge_mass, 1), free(lam)),
            ),
            Step(Substitute({q: height_m / total}), value_m, sp.log(total), velocity, where()),
        ),
        {"dies": (dies, sp.Eq(summed, 1)), "two outcomes": (dies, modal_end), "leaves": (leaves, first_leaves)},
        module="updates",
        given={
            "z_a'": drawn,
            r"F_a": sp.log(height / own) / share,
            "h_a": summand,
            "Z_S=1": sp.Eq(whole, 1),
            "F_m(1)": sp.log(p) + (lam - 1) * log_m,
            r"\theta_\lambda": logit(p) + push,
            r"\mathrm{logit}(\nu)": logit(edge_mass),
            velocity: value_m,
        },
    )
