"""Rules that bound the restoring force, under which the tail dies at a finite λ."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import collapse, edge, fixed, push, ratio, s, star
from lambda_star.symbolic.regions import above, between, free
from lambda_star.symbolic.rules import Differentiate, Join, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, q
from lambda_star.symbolic.updates.parts import (
    RULE,
    bound,
    clip_name,
    depth,
    dies,
    joined,
    kept,
    leaves,
    log_m,
    log_t,
    rule,
    share,
    stages,
    target,
    unbounded,
    velocity,
    where,
)

__all__ = ["kl_to_base_cap", "log_prob_floor", "log_ratio_cap", "log_ratio_cap_through", "log_ratio_clamp"]

saturated = p / c * sp.exp(s)
capped = sp.log(p / q) - sp.log(c) + s
PLACE = (between(0, p, 1), above(1, c))
rising = r"\frac{\partial\lambda_{\mathrm{dies}}}{\partial "
falling = r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)"


def _end(modal: sp.Expr, tail: sp.Expr) -> sp.Eq:
    """Return the equation F_m(1) = sup F_τ, given both without the term (λ−1)r."""
    return sp.Eq(modal + (lam - 1) * log_m, tail + (lam - 1) * log_t)


def _forces(modal: sp.Expr, tail: sp.Expr) -> dict[str, sp.Basic]:
    """What a rule starts from: its largest force on the tail, and that on the modal token as the tail dies."""
    return {r"F_m(1)=\sup F_\tau": _end(modal, tail), clip_name: p * sp.exp(push), "J'(q)": unbounded}


@derivation
def log_ratio_cap() -> Derivation:
    """Derive the collapse point of the cap on the log-ratio from the general law."""
    in_base = sp.log(c / p) / (b * (1 - b) * gap**2)
    marks = edge, sp.log(c / p)
    student = joined((kept, saturated, sp.Integer(1)), marks, *PLACE)
    return rule(
        "log_ratio_cap",
        RULE,
        (
            Step(Solve(lam), sp.Eq(ratio, c), star, leaves),
            Step(
                Substitute({q: sp.Integer(1)}),
                sp.log(p / q) + (lam - 1) * log_m,
                sp.log(p) + (lam - 1) * log_m,
                "F_m(1)",
            ),
            Step(Solve(lam), _end(sp.log(p), sp.log(c)), collapse, dies),
            Step(Substitute({q: sp.Integer(1)}), capped, s - marks[1], velocity, stages(marks, *PLACE)[2], sign=">"),
            *student,
            Step(Substitute({lam: collapse}), p * sp.exp(push), c, clip_name),
            Step(Differentiate(c), collapse, 1 / (c * gap), rising + "c}", sign=">"),
            Step(Differentiate(b), collapse, in_base, rising + "b}", sign=">"),
        ),
        (star, collapse, student[1].after, c),
        given={**_forces(sp.log(p), sp.log(c)), "F_m": sp.log(p / q) + (lam - 1) * log_m, velocity: capped},
        uses=("threshold", "regimes", "tail_dies"),
    )


@derivation
def log_ratio_cap_through() -> Derivation:
    """Derive where the tail sticks and dies if the cap on the log-ratio is differentiated through."""
    objective = q * (sp.log(p / q) + s) + (1 - q) * sp.log(c)
    untouched = q * (sp.log(p / q) + s) + (1 - q) * sp.log((1 - p) / (1 - q))
    before = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + s
    free_push = assume(*PLACE, free(s, log=1), between(0, q, 1))
    beyond = capped - 1
    hold = 1 - (1 - p) / c
    past, end = p / (sp.E * c) * sp.exp(s), collapse + 1 / gap
    marks = (edge, edge + 1, sp.log(c / p) + 1)
    sticking = assume(*PLACE, between(0, share, 1))
    sliding, dead = stages(marks, *PLACE)[2:]
    student = joined((kept, hold, past, sp.Integer(1)), marks, *PLACE)
    return rule(
        "log_ratio_cap_through",
        RULE,
        (
            Step(Differentiate(q), untouched, before, "J'(q)", free_push),
            Step(Differentiate(q), objective, beyond, "J'(q)", free_push),
            Step(Substitute({q: hold}), before, s - edge, "J'(q_c)", free_push),
            Step(Substitute({q: hold}), beyond, s - edge - 1, "J'(q_c)", free_push),
            Step(Substitute({s: push}), s - edge, gap * (lam - star), "J'(q_c)"),
            Step(Solve(lam), sp.Eq(gap * (lam - star), 0), star, leaves),
            Step(Substitute({s: edge + share}), s - edge, share, "J'(q_c)", sticking, sign=">"),
            Step(Substitute({s: edge + share}), s - edge - 1, -(1 - share), "J'(q_c)", sticking, sign="<"),
            Step(Solve(q), sp.Eq(beyond, 0), past, "q", sliding),
            Step(Substitute({s: edge + 1}), past, hold, "q", free_push),
            Step(Differentiate(q), beyond, -1 / q, "J''(q)", sliding, sign="<"),
            Step(Substitute({q: sp.Integer(1)}), beyond, s - marks[2], "J'(1)", dead, sign=">"),
            Step(Substitute({s: push}), s - marks[2], gap * (lam - end), "J'(1)"),
            Step(Solve(lam), sp.Eq(gap * (lam - end), 0), end, dies),
            *student,
            Step(Substitute({lam: end}), p * sp.exp(push), sp.E * c, clip_name),
        ),
        (star, end, student[1].after, sp.E * c),
        given={"J": untouched, "J_c": objective, clip_name: p * sp.exp(push)},
        uses=("threshold", "fixed_point"),
    )


@derivation
def log_ratio_clamp() -> Derivation:
    """Derive where the tail dies if the log-ratio is clamped on both sides."""
    clip = sp.exp(bound)
    sizes = (between(sp.exp(-bound), p, 1), between(1 / (1 + clip), p, sp.exp(-bound)), between(0, p, 1 / (1 + clip)))
    below_teacher = between(0, b, p)
    high, middle, lower = (where(size, below_teacher) for size in sizes)
    low = where(between(0, p, sp.exp(-bound)), below_teacher)
    inner = where(between(0, target, share, 1, each=True))
    tail_edge, modal_edge = 1 - (1 - p) / clip, p * clip
    modal_held = -bound - sp.log((1 - p) / (1 - q)) + s
    both, capped_end = -2 * bound + s, sp.log(p) - bound + s
    first, second = 1 + (bound + sp.log(1 / p)) / gap, 1 + 2 * bound / gap
    held, slid = 1 - (1 - p) * sp.exp(bound - s), saturated.subs(c, clip)
    tail_push, modal_push = edge.subs(c, clip), bound + sp.log((1 - p) / (1 - p * clip))
    tail_star, modal_star = star.subs(c, clip), 1 + modal_push / gap
    least = sp.Piecewise((modal_star, p * (1 + clip) < 1), (tail_star, True))
    last = sp.Min(bound + sp.log(1 / p), 2 * bound)
    end = 1 + last / gap
    by_modal = sp.Piecewise((kept, s <= modal_push), (held, True))
    by_tail = sp.Piecewise((kept, s <= tail_push), (slid, True))
    student = sp.Piecewise((1, s > last), (by_modal, p * (1 + clip) < 1), (by_tail, True))
    own_clip = sp.Min(clip, p * sp.exp(2 * bound))
    lasts = (bound + sp.log(1 / p), 2 * bound, 2 * bound)
    firsts = (tail_push, tail_push, modal_push)
    cap = above(0, bound, log=1)
    parted = [
        stages((low_push, high_push), cap, size) for low_push, high_push, size in zip(firsts, lasts, sizes, strict=True)
    ]
    values = ((kept, slid, 1), (kept, slid, 1), (kept, held, 1))
    every = where(between(0, p, 1), below_teacher, free(lam))
    gone = assume(cap, above(2 * bound, s, log=1), between(0, q, 1))
    all_pushes = assume(cap, between(0, p, 1), free(s, log=1))
    return rule(
        "log_ratio_clamp",
        RULE,
        (
            Step(Solve(lam), _end(sp.log(p), bound), first, dies, high),
            Step(Solve(lam), _end(-bound, bound), second, dies, low),
            Step(Sign(">"), bound + sp.log(1 / p) - 2 * bound, sp.log(1 / (p * clip)), r"C+\log\frac1p-2C", low),
            Step(Join((high, low)), sp.Tuple(first, second), end, dies, every),
            Step(Rewrite("factor"), tail_edge - modal_edge, (1 - sp.exp(-bound)) * (1 - p * (1 + clip))),
            Step(Solve(lam), sp.Eq(logit(p) + push, bound + sp.log(p / (1 - modal_edge))), modal_star, leaves, lower),
            Step(Substitute({c: clip}), star, tail_star, leaves),
            Step(Join((lower, high, middle)), sp.Tuple(modal_star, tail_star, tail_star), least, leaves, every),
            Step(Solve(q), sp.Eq(modal_held, 0), held, "q", parted[2][1]),
            Step(Solve(s), sp.Eq(both, 0), 2 * bound, "s", all_pushes),
            Step(Substitute({s: 2 * bound}), held, tail_edge, "q", all_pushes),
            Step(Substitute({s: 2 * bound}), slid, modal_edge, "q", all_pushes),
            Step(Rewrite("collect"), capped_end, s - lasts[0], f"({velocity})(1)", parted[0][2], sign=">"),
            Step(
                Differentiate(s), both, sp.Integer(1), rf"\frac{{\partial}}{{\partial s}}({velocity})", gone, sign=">"
            ),
            Step(Join(sum(parted, ())), sp.Tuple(*sum(values, ())), student, "q", all_pushes),
            Step(Substitute({s: push}), student, student.subs(s, push), "q", every),
            Step(Substitute({lam: first}), p * sp.exp(push), clip, clip_name, high),
            Step(Substitute({lam: second}), p * sp.exp(push), p * clip**2, clip_name, low),
            Step(Join((high, low)), sp.Tuple(clip, p * clip**2), own_clip, clip_name, every),
            Step(
                Substitute({q: target * share}),
                sp.log(target / q),
                sp.log(1 / share),
                r"\log\frac{q_\lambda}{q}",
                inner,
                sign=">",
            ),
            Step(
                Substitute({q: target * share}),
                sp.log((1 - target) / (1 - q)),
                -sp.log((1 - target * share) / (1 - target)),
                r"\log\frac{1-q_\lambda}{1-q}",
                inner,
                sign="<",
            ),
        ),
        (least, end, student.subs(s, push), own_clip),
        given={
            **_forces(sp.log(p), bound),
            r"F_m(1)=-C": _end(-bound, bound),
            r"C+\log\frac1p": bound + sp.log(1 / p),
            "q_C": tail_edge,
            "pe^C": modal_edge,
            velocity: modal_held,
            rf"({velocity})_C": both,
            rf"({velocity})(1)": capped_end,
            r"q_\tau": slid,
            r"\theta_\lambda": logit(p) + push,
            r"\mathrm{logit}(pe^C)": bound + sp.log(p / (1 - modal_edge)),
            r"\log\frac{q_\lambda}{q}": sp.log(target / q),
            r"\log\frac{1-q_\lambda}{1-q}": sp.log((1 - target) / (1 - q)),
        },
        uses=("threshold", "fixed_point"),
    )


@derivation
def log_prob_floor() -> Derivation:
    """Derive where the tail dies if log-probabilities of the student are bounded from below."""
    place = (above(sp.log(2), depth, log=1), between(sp.exp(-depth), p, 1))
    own_clip = (1 - p) * sp.exp(depth)
    tail_held = sp.log(p / q) - (sp.log(1 - p) + depth) + s
    start, end = 1 + (sp.log(sp.exp(depth) - 1) - logit(p)) / gap, 1 + (depth - logit(p)) / gap
    slid = saturated.subs(c, own_clip)
    pushes = sp.log(sp.exp(depth) - 1) - logit(p), depth - logit(p)
    student = joined((kept, slid, sp.Integer(1)), pushes, *place)
    _, sliding, dead = stages(pushes, *place)
    anywhere = where(*place, between(0, b, p), free(lam))
    return rule(
        "log_prob_floor",
        anywhere,
        (
            Step(Substitute({q: 1 - sp.exp(-depth)}), logit(q), sp.log(sp.exp(depth) - 1), r"\mathrm{logit}(1-e^{-L})"),
            Step(Solve(lam), sp.Eq(logit(p) + push, sp.log(sp.exp(depth) - 1)), start, leaves),
            Step(Rewrite(), start, star.subs(c, own_clip), leaves),
            Step(Solve(q), sp.Eq(tail_held, 0), slid, "q", sliding),
            Step(Solve(lam), _end(sp.log(p), sp.log(1 - p) + depth), end, dies),
            Step(Rewrite(), end, collapse.subs(c, own_clip), dies),
            Step(Substitute({q: sp.Integer(1)}), tail_held, s - pushes[1], f"({velocity})(1)", dead, sign=">"),
            *student,
            Step(Substitute({lam: end}), p * sp.exp(push), own_clip, clip_name),
            Step(Differentiate(depth), end, 1 / gap, rising + "L}", sign=">"),
        ),
        (start, end, student[1].after, own_clip),
        given={
            **_forces(sp.log(p), sp.log(1 - p) + depth),
            r"\theta": logit(q),
            r"\theta_\lambda": logit(p) + push,
            velocity: tail_held,
        },
        uses=("threshold", "regimes"),
    )


@derivation
def kl_to_base_cap() -> Derivation:
    """Derive where the tail dies if the cap acts on the ratio of base to student."""
    value = lam * log_m + sp.log(b / q)
    tail_held = s + sp.log(b / q) - sp.log(c)
    base_ratio = (1 - b) + b * sp.exp(lam * gap)
    start, end = sp.log(1 + (c - 1) / b) / gap, sp.log(c / b) / gap
    slid = b / c * sp.exp(s)
    place = (between(0, b, 1), above(1, c))
    held = b * sp.exp(s) / (b * sp.exp(s) + 1 - b)
    own_clip = c * (1 - p) / (1 - b)
    pushes = sp.log(1 + (c - 1) / b), sp.log(c / b)
    sliding, dead = stages(pushes, *place)[1:]
    cases = sp.Piecewise((held, s <= pushes[0]), (slid, s <= pushes[1]), (1, True))
    student = cases.subs(s, lam * gap)
    agreed = sp.Eq(lam * log_m + sp.log(b), lam * log_t + sp.log(c))
    return rule(
        "kl_to_base_cap",
        where(free(lam)),
        (
            Step(Rewrite("collect"), value, sp.log(p / q) + (lam - 1) * log_m, "F_m"),
            Step(Substitute({q: fixed}), (1 - b) / (1 - q), base_ratio, r"\frac{1-b}{1-q_\lambda}"),
            Step(Solve(lam), sp.Eq(base_ratio, c), start, leaves),
            Step(Solve(q), sp.Eq(tail_held, 0), slid, "q", sliding),
            Step(Solve(lam), agreed, end, dies),
            Step(Substitute({q: sp.Integer(1)}), tail_held, s - pushes[1], f"({velocity})(1)", dead, sign=">"),
            Step(Substitute({s: lam * gap}), held, fixed, r"q_\lambda", where(free(lam))),
            Step(Join(stages(pushes, *place)), sp.Tuple(held, slid, 1), cases, "q", assume(*place, free(s, log=1))),
            Step(Substitute({s: lam * gap}), cases, student, "q", where(free(lam))),
            Step(Rewrite("subtract"), 1 - end, sp.log(p * (1 - b) / (c * (1 - p))) / gap, r"1-\lambda_{\mathrm{dies}}"),
            Step(Substitute({lam: end}), p * sp.exp(push), own_clip, clip_name),
        ),
        (start, end, student, own_clip),
        given={
            "F_m": value,
            r"\frac{1-b}{1-q}": (1 - b) / (1 - q),
            velocity: tail_held,
            "q_s": held,
            r"F_m(1)=\sup F_\tau": agreed,
            clip_name: p * sp.exp(push),
        },
        uses=("fixed_point",),
    )
