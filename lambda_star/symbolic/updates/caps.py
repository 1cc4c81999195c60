"""Rules that bound the restoring force, under which the tail dies at a finite λ."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.bernoulli import collapse, edge, fixed, push, star
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, q
from lambda_star.symbolic.updates.parts import (
    RULE,
    bound,
    clip_name,
    depth,
    dies,
    free,
    k,
    leaves,
    log_m,
    log_t,
    rule,
    s,
    share,
    short,
    t,
    target,
    u,
    velocity,
    where,
    z,
)

__all__ = ["kl_to_base_cap", "log_prob_floor", "log_ratio_cap", "log_ratio_cap_through", "log_ratio_clamp"]

saturated = p / c * sp.exp(push)
capped = sp.log(p / q) - sp.log(c) + push
rising = r"\frac{\partial\lambda_{\mathrm{dies}}}{\partial "
falling = r"\frac{\mathrm{d}}{\mathrm{d}q}(F_m-F_\tau)"


def _end(modal: sp.Expr, tail: sp.Expr) -> sp.Eq:
    """Return the equation F_m(1) = sup F_τ, given both without the term (λ−1)r."""
    return sp.Eq(modal + (lam - 1) * log_m, tail + (lam - 1) * log_t)


@derivation
def log_ratio_cap() -> Derivation:
    """Derive the collapse point of the cap on the log-ratio from the general law."""
    in_base = (collapse - 1) / (b * (1 - b) * gap)
    return rule(
        "log_ratio_cap",
        RULE,
        (
            Step(
                Substitute({q: sp.Integer(1)}),
                sp.log(p / q) + (lam - 1) * log_m,
                sp.log(p) + (lam - 1) * log_m,
                "F_m(1)",
            ),
            Step(Solve(lam), _end(sp.log(p), sp.log(c)), collapse, dies),
            Step(Differentiate(c), collapse, 1 / (c * gap), rising + "c}"),
            Step(Sign(">"), 1 / (c * gap), name=rising + "c}"),
            Step(Differentiate(b), collapse, in_base, rising + "b}"),
            Step(Sign(">"), in_base, sp.log(c / p) / (b * (1 - b) * gap**2), rising + "b}"),
        ),
        (star, collapse, sp.Piecewise((fixed, push <= edge), (saturated, push < sp.log(c / p)), (1, True)), c),
    )


@derivation
def log_ratio_cap_through() -> Derivation:
    """Derive where the tail sticks and dies if the cap on the log-ratio is differentiated through."""
    value_m, value_t = sp.log(p / q) + (lam - 1) * log_m, sp.log(c) + (lam - 1) * log_t
    objective = q * value_m + (1 - q) * value_t
    untouched = q * value_m + (1 - q) * (sp.log((1 - p) / (1 - q)) + (lam - 1) * log_t)
    beyond = capped - 1
    hold = 1 - (1 - p) / c
    sticking = where(r"0<b<p<1,\quad c>1,\quad 0<x<1", {share: t / (1 + t)})
    there = {lam: star + share / gap}
    past, end = p / (sp.E * c) * sp.exp(push), collapse + 1 / gap
    return rule(
        "log_ratio_cap_through",
        RULE,
        (
            Step(Differentiate(q), untouched, free, "J'(q)"),
            Step(Differentiate(q), objective, beyond, "J'(q)"),
            Step(Substitute({q: hold}), free, push - edge, "J'"),
            Step(Substitute({q: hold}), beyond, push - edge - 1, "J'"),
            Step(Substitute(there), push - edge, share, "J'", sticking),
            Step(Substitute(there), push - edge - 1, share - 1, "J'", sticking),
            Step(Sign("<"), share - 1, -(1 - share), "J'", sticking),
            Step(Solve(q), short(sp.Eq(beyond, 0)), short(past), "q"),
            Step(Substitute({lam: star + 1 / gap}), past, hold, "q"),
            Step(Differentiate(q), beyond, -1 / q, "J''(q)"),
            Step(Sign("<"), -1 / q, name="J''(q)"),
            Step(Solve(lam), short(sp.Eq(past, 1)), short(end), dies),
            Step(Substitute({lam: end}), p * sp.exp(push), sp.E * c, clip_name),
        ),
        (
            star,
            end,
            sp.Piecewise((fixed, push <= edge), (hold, push <= edge + 1), (past, lam < end), (1, True)),
            sp.E * c,
        ),
    )


@derivation
def log_ratio_clamp() -> Derivation:
    """Derive where the tail dies if the log-ratio is clamped on both sides."""
    top = 1 + k
    low = where(r"p e^C<1", {p: s / ((1 + s) * top), b: s / ((1 + s) * top) * u / (1 + u)})
    lower = where(r"p(1+e^C)<1", {p: s / ((1 + s) * (1 + top)), b: s / ((1 + s) * (1 + top)) * u / (1 + u)})
    inner = where(r"0<q<q_\lambda<1", {q: t / (1 + t) * z / (1 + z), target: t / (1 + t)})
    clip = sp.exp(bound)
    tail_edge, modal_edge = 1 - (1 - p) / clip, p * clip
    modal_held = -bound - sp.log((1 - p) / (1 - q)) + push
    both = -2 * bound + push
    first, second = 1 + (bound + sp.log(1 / p)) / gap, 1 + 2 * bound / gap
    held = 1 - (1 - p) * sp.exp(bound - push)
    tail_star, modal_star = star.subs(c, clip), 1 + (bound + sp.log((1 - p) / (1 - p * clip))) / gap
    least = sp.Piecewise((modal_star, p * (1 + clip) < 1), (tail_star, True))
    end = 1 + sp.Min(bound + sp.log(1 / p), 2 * bound) / gap
    student = sp.Piecewise(
        (1, lam > end),
        (sp.Piecewise((fixed, lam <= modal_star), (held, True)), p * (1 + clip) < 1),
        (sp.Piecewise((fixed, lam <= tail_star), (saturated.subs(c, clip), True)), True),
    )
    return rule(
        "log_ratio_clamp",
        RULE,
        (
            Step(Solve(lam), _end(sp.log(p), bound), first, dies),
            Step(Solve(lam), _end(-bound, bound), second, dies, low),
            Step(
                Sign(">"),
                bound + sp.log(1 / p) - 2 * bound,
                sp.log(1 / (p * clip)),
                name=r"C+\log\frac1p-2C",
                assumptions=low,
            ),
            Step(Rewrite("factor"), tail_edge - modal_edge, (1 - sp.exp(-bound)) * (1 - p * (1 + clip))),
            Step(
                Solve(lam),
                sp.Eq(logit(p) + push, bound + sp.log(p / (1 - modal_edge))),
                modal_star,
                leaves,
                lower,
            ),
            Step(Define(), modal_held, name=velocity),
            Step(Solve(q), short(sp.Eq(modal_held, 0)), short(held), "q"),
            Step(Define(), both, name=velocity),
            Step(Solve(lam), sp.Eq(both, 0), second, dies),
            Step(Substitute({lam: second}), held, tail_edge, "q"),
            Step(Substitute({lam: second}), saturated.subs(c, clip), modal_edge, "q"),
            Step(Substitute({lam: first}), p * sp.exp(push), clip, clip_name),
            Step(Substitute({lam: second}), p * sp.exp(push), p * sp.exp(2 * bound), clip_name, low),
            Step(Sign(">"), sp.log(target / q), name=r"\log\frac{q_\lambda}{q}", assumptions=inner),
            Step(Sign("<"), sp.log((1 - target) / (1 - q)), name=r"\log\frac{1-q_\lambda}{1-q}", assumptions=inner),
        ),
        (least, end, student, sp.Min(clip, p * sp.exp(2 * bound))),
    )


@derivation
def log_prob_floor() -> Derivation:
    """Derive where the tail dies if log-probabilities of the student are bounded from below."""
    clear = 1 / (2 + k)
    modal = clear + (1 - clear) * s / (1 + s)
    region = where(r"0<b<p<1,\quad L>\log2,\quad p>e^{-L}", {depth: sp.log(2 + k), p: modal, b: modal * u / (1 + u)})
    own_clip = (1 - p) * sp.exp(depth)
    tail_held = sp.log(p / q) - (sp.log(1 - p) + depth) + push
    start, end = 1 + (sp.log(sp.exp(depth) - 1) - logit(p)) / gap, 1 + (depth - logit(p)) / gap
    student = saturated.subs(c, own_clip)
    return rule(
        "log_prob_floor",
        region,
        (
            Step(Substitute({q: 1 - sp.exp(-depth)}), logit(q), sp.log(sp.exp(depth) - 1), r"\mathrm{logit}(1-e^{-L})"),
            Step(Solve(lam), short(sp.Eq(logit(p) + push, sp.log(sp.exp(depth) - 1))), short(start), leaves),
            Step(Rewrite(), start, star.subs(c, own_clip), leaves),
            Step(Define(), tail_held, name=velocity),
            Step(Solve(q), short(sp.Eq(tail_held, 0)), short(student), "q"),
            Step(Solve(lam), _end(sp.log(p), sp.log(1 - p) + depth), end, dies),
            Step(Rewrite(), end, collapse.subs(c, own_clip), dies),
            Step(Differentiate(depth), end, 1 / gap, rising + "L}"),
            Step(Sign(">"), 1 / gap, name=rising + "L}"),
        ),
        (start, end, sp.Piecewise((fixed, lam <= start), (student, lam < end), (1, True)), own_clip),
    )


@derivation
def kl_to_base_cap() -> Derivation:
    """Derive where the tail dies if the cap acts on the ratio of base to student."""
    value = lam * log_m + sp.log(b / q)
    tail_held = lam * gap + sp.log(b / q) - sp.log(c)
    base_ratio = (1 - b) + b * sp.exp(lam * gap)
    start, end = sp.log(1 + (c - 1) / b) / gap, sp.log(c / b) / gap
    student = b / c * sp.exp(lam * gap)
    own_clip = c * (1 - p) / (1 - b)
    return rule(
        "kl_to_base_cap",
        RULE,
        (
            Step(Rewrite("collect"), value, sp.log(p / q) + (lam - 1) * log_m, "F_m"),
            Step(Substitute({q: fixed}), (1 - b) / (1 - q), base_ratio, r"\frac{1-b}{1-q_\lambda}"),
            Step(Solve(lam), short(sp.Eq(base_ratio, c)), short(start), leaves),
            Step(Define(), tail_held, name=velocity),
            Step(Solve(q), short(sp.Eq(tail_held, 0)), short(student), "q"),
            Step(Solve(lam), sp.Eq(lam * log_m + sp.log(b), lam * log_t + sp.log(c)), end, dies),
            Step(Rewrite("subtract"), 1 - end, sp.log(p * (1 - b) / (c * (1 - p))) / gap, r"1-\lambda_{\mathrm{dies}}"),
            Step(Substitute({lam: end}), p * sp.exp(push), own_clip, clip_name),
        ),
        (start, end, sp.Piecewise((fixed, lam <= start), (student, lam < end), (1, True)), own_clip),
    )
