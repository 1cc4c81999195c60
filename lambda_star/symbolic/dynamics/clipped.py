"""A finite training budget: derivations of the clipped flow, the time to collapse, and one sampled step."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import collapse, edge, push, star
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.dynamics.flows import eta, natural_time, theta
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, q, real, sigmoid

__all__ = ["clipped_flow", "sampled_step", "time_to_collapse"]

w, w_c, running, tail, until = positive(r"w w_c omega \tau T_c")
"""−log q now, at the clip edge, and as a variable of integration; the tail to reach; the time to the clip edge."""

kappa, exponent = real("kappa z")
"""Surplus (λ−λ_c)Δ of the clipped flow; the logarithm of ω or of κ+ω."""

modal_advantage, tail_advantage, baseline, share = real(r"A_m A_\tau B k")
"""The advantages of modal token and tail, their baseline, and the modal share of a batch."""

modal_score, tail_score = real(r"g_m g_\tau")
information = sp.Symbol("F", positive=True)
"""The score of each outcome, and the Fisher information."""

modal_push, tail_push = real(r"s_m s_\tau")
"""The part of each advantage that does not depend on the student."""

g, h, m, n, r, t, u, v = positive("g h m n r t u v")
_above = u * (1 + v)
_teacher = _above / (1 + _above)
POSITION = Assumptions(
    r"0<b<p<1,\quad c>1,\quad 0<q<1",
    {
        b: u / (1 + u),
        p: _teacher,
        c: 1 + g,
        lam: m - h,
        theta: sp.log(r),
        q: t / (1 + t),
        w: sp.log(1 + t),
        tail: t / (1 + t),
    },
)
_inside = (p + (c - 1) * r / (1 + r)) / c
BETWEEN = Assumptions(
    r"0<b<p<1,\quad c>1,\quad \frac pc<q<1-\frac{1-p}{c}", {**POSITION.values, q: _inside.subs({p: _teacher, c: 1 + g})}
)
BEYOND = Assumptions(
    r"0<b<p<1,\quad c>1,\quad \theta>\theta_c",
    {**POSITION.values, theta: sp.log((g + p) / (1 - p) * (1 + r)).subs(p, _teacher)},
)
BELOW = Assumptions(
    r"0<b<p<1,\quad c>1,\quad \theta<\mathrm{logit}(\frac pc)",
    {**POSITION.values, theta: -sp.log(((1 + g) / p - 1) * (1 + r)).subs(p, _teacher)},
)
PHASE = Assumptions(
    r"0<w<w_c,\quad \kappa+w>0", {kappa: m - sp.log(1 + r), w: sp.log(1 + r), w_c: sp.log(1 + r) + t, until: g}
)
RESTING = Assumptions(r"\kappa<0,\quad w>-\kappa", {kappa: -sp.log(1 + h), w: sp.log(1 + h) + r})
COLLAPSING = Assumptions(r"\kappa>0,\quad w>0", {kappa: h, w: r})
QUADRATURE = Assumptions(
    r"\omega>0,\quad \kappa,z\in\mathbb{R},\quad \kappa+\omega>0", {kappa: m - h, running: h + r, exponent: u - v}
)
SAMPLE = Assumptions(
    r"0<q<1,\quad A_m,A_\tau,B,\theta\in\mathbb{R},\quad 0\le k\le1",
    {
        q: u / (1 + u),
        modal_advantage: h - g,
        tail_advantage: m - n,
        baseline: r - t,
        theta: sp.log(v),
        share: r / (1 + r),
        modal_push: h - g,
        tail_push: m - n,
        modal_score: h - g,
        tail_score: m - n,
        information: v,
    },
)
UNEQUAL = Assumptions(r"0<q<1,\quad A_m>A_\tau", {**SAMPLE.values, modal_advantage: m - n + g})

clip_edge = 1 - (1 - p) / c
modal_edge = p / c
free = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + push
tail_clipped = sp.log(p / q) - sp.log(c) + push
modal_clipped = sp.log(c) - sp.log((1 - p) / (1 - q)) + push
velocity = sp.Min(sp.log(p / q), sp.log(c)) - sp.Min(sp.log((1 - p) / (1 - q)), sp.log(c)) + push
"""The advantage A_c of the modal token minus that of the tail."""


def _natural_cost(at: sp.Expr) -> sp.Expr:
    """Return the natural-gradient time per unit of w."""
    return 1 / ((1 - sp.exp(-at)) * (kappa + at))


def _policy_cost(at: sp.Expr) -> sp.Expr:
    """Return the policy-gradient time per unit of w."""
    return sp.exp(at) / ((1 - sp.exp(-at)) ** 2 * (kappa + at))


@derivation
def clipped_flow() -> Derivation:
    """Derive that the velocity with the cap inside the advantage is continuous and has two kinks."""
    in_log_odds = tail_clipped.subs(q, sigmoid(theta))
    below = modal_clipped.subs(q, sigmoid(theta))
    untouched = logit(p) + push - theta
    excess = sp.log((1 - p) * (1 + sp.exp(theta)) / c)
    lacking = sp.log(c / (p * (1 + sp.exp(-theta))))
    hold = logit(clip_edge)
    leave = logit(modal_edge)
    slope = r"\frac{\mathrm{d}}{\mathrm{d}\theta}\theta'"
    at_clip, at_modal = r"\theta'(\theta_c)", r"\theta'(\mathrm{logit}(\frac pc))"
    return Derivation(
        "clipped_flow",
        POSITION,
        (
            Step(Define(), velocity, name=r"\theta'"),
            Step(Solve(q), sp.Eq((1 - p) / (1 - q), c), clip_edge, "q_c"),
            Step(Solve(q), sp.Eq(p / q, c), modal_edge),
            Step(Sign(">"), sp.log(c) - sp.log(p / q), sp.log(c * q / p), assumptions=BETWEEN),
            Step(Sign(">"), sp.log(c) - sp.log((1 - p) / (1 - q)), sp.log(c * (1 - q) / (1 - p)), assumptions=BETWEEN),
            Step(Substitute({q: sigmoid(theta)}), free, untouched, r"\theta'"),
            Step(Substitute({theta: logit(p) + edge}), untouched, gap * (lam - star), at_clip),
            Step(Substitute({theta: logit(p) + edge}), in_log_odds, gap * (lam - star), at_clip),
            Step(Differentiate(theta), untouched, sp.Integer(-1), slope),
            Step(Differentiate(theta), in_log_odds, -1 / (1 + sp.exp(theta)), slope),
            Step(Substitute({theta: logit(p) + edge}), -1 / (1 + sp.exp(theta)), -(1 - p) / c, slope),
            Step(Sign(">"), -(1 - p) / c - (-1), (c - 1 + p) / c),
            Step(Rewrite("subtract"), in_log_odds - untouched, excess, assumptions=BEYOND),
            Step(Sign(">"), excess, assumptions=BEYOND),
            Step(Substitute({theta: leave}), untouched, push + sp.log((c - p) / (1 - p)), at_modal),
            Step(Substitute({theta: leave}), below, push + sp.log((c - p) / (1 - p)), at_modal),
            Step(Differentiate(theta), below, -1 / (1 + sp.exp(-theta)), slope),
            Step(Substitute({theta: leave}), -1 / (1 + sp.exp(-theta)), -p / c, slope),
            Step(Rewrite("subtract"), below - untouched, lacking, assumptions=BELOW),
            Step(Sign("<"), lacking, assumptions=BELOW),
        ),
        {
            "trajectory": (r"\theta'", velocity),
            "where the clip takes hold of the tail": (r"\theta_c", hold),
            "where the clip lets go of the modal token": (r"\mathrm{logit}\left(\frac pc\right)", leave),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", q: "0.9999"},
    )


@derivation
def time_to_collapse() -> Derivation:
    """Derive the time until the student's tail has fallen to a given mass."""
    natural, policy = _natural_cost(running), _policy_cost(running)
    since = until + sp.Integral(natural, (running, w, w_c))
    since_policy = until + sp.Integral(policy, (running, w, w_c))
    drift = kappa + w
    surplus = push + sp.log(p / c)
    start = -sp.log(clip_edge)
    end = -sp.log(1 - tail)
    kept = 1 - sp.exp(-w)
    odds_change = sp.exp(w) / (sp.exp(w) - 1)
    in_position = {kappa: surplus, w: end, w_c: start}
    reached = surplus + end > 0
    odds_speed = sp.exp(-2 * w) * drift
    time_slope = r"\frac{\partial T}{\partial w}"
    at_rest = sp.exp(kappa)
    return Derivation(
        "time_to_collapse",
        PHASE,
        (
            Step(Differentiate(w), -sp.log(sp.exp(w) - 1), -odds_change, r"\frac{\mathrm{d}\theta}{\mathrm{d}w}"),
            Step(Substitute({q: sp.exp(-w)}), tail_clipped, surplus + w, r"\theta'", assumptions=POSITION),
            Step(Rewrite("collect"), surplus, gap * (lam - collapse), r"\kappa", assumptions=POSITION),
            Step(Rewrite("collect"), surplus, (lam - star) * gap + sp.log(clip_edge), r"\kappa", assumptions=POSITION),
            Step(Substitute({q: clip_edge}), -sp.log(q), start, "w_c", assumptions=POSITION),
            Step(Rewrite("insert"), surplus + start, gap * (lam - star), r"\kappa+w_c", assumptions=POSITION),
            Step(Substitute({q: 1 - tail}), -sp.log(q), end, "w", assumptions=POSITION),
            Step(Rewrite("divide"), odds_change / drift, _natural_cost(w)),
            Step(Substitute({q: sp.exp(-w)}), _natural_cost(w) / (q * (1 - q)), _policy_cost(w)),
            Step(Substitute({w: w_c}), since, until),
            Step(Differentiate(w), since, -_natural_cost(w), time_slope),
            Step(Sign("<"), -_natural_cost(w), name=time_slope),
            Step(Substitute({w: w_c}), since_policy, until),
            Step(Differentiate(w), since_policy, -_policy_cost(w), time_slope),
            Step(Sign("<"), -_policy_cost(w), name=time_slope),
            Step(Solve(w), sp.Eq(drift, 0), -kappa, "w"),
            Step(Substitute({kappa: surplus}), at_rest, p / c * sp.exp(push), r"e^\kappa", assumptions=POSITION),
            Step(Sign(">"), 1 - at_rest, name=r"1-e^\kappa", assumptions=RESTING),
            Step(Limit(w, -kappa, r, sp.Integer(0)), drift * _natural_cost(w), 1 / (1 - at_rest), assumptions=RESTING),
            Step(
                Limit(w, -kappa, r, sp.Integer(0)),
                drift * _policy_cost(w),
                1 / (at_rest * (1 - at_rest) ** 2),
                assumptions=RESTING,
            ),
            Step(Sign(">"), drift, name=r"\kappa+w", assumptions=COLLAPSING),
            Step(Limit(w, sp.Integer(0), r, sp.Integer(0)), drift, kappa, assumptions=COLLAPSING),
            Step(Limit(w, sp.Integer(0), r, sp.Integer(0)), w * _natural_cost(w), 1 / kappa, assumptions=COLLAPSING),
            Step(
                Limit(w, sp.Integer(0), r, sp.Integer(0)),
                w**2 * _natural_cost(w).subs(kappa, 0),
                sp.Integer(1),
                assumptions=COLLAPSING,
            ),
            Step(
                Rewrite("chain rule"),
                1 / (sp.exp(w) - 1) * sp.exp(-w) * kept * drift,
                odds_speed,
                assumptions=COLLAPSING,
            ),
            Step(Limit(w, sp.Integer(0), r, sp.Integer(0)), odds_speed, kappa, assumptions=COLLAPSING),
            Step(Limit(w, sp.Integer(0), r, sp.Integer(0)), w**2 * _policy_cost(w), 1 / kappa, assumptions=COLLAPSING),
            Step(
                Substitute({running: sp.exp(exponent)}),
                running * natural,
                sp.exp(exponent) * _natural_cost(sp.exp(exponent)),
                assumptions=QUADRATURE,
            ),
            Step(
                Substitute({running: sp.exp(exponent) - kappa}),
                (kappa + running) * natural,
                1 / (1 - sp.exp(kappa - sp.exp(exponent))),
                assumptions=QUADRATURE,
            ),
        ),
        {
            "time_to_collapse": (
                r"T_{\mathrm{natural}}(\tau)",
                sp.Piecewise(
                    (natural_time + sp.Integral(natural, (running, w, w_c)).subs(in_position), reached), (sp.oo, True)
                ),
            ),
            "time to collapse under policy gradient": (
                r"T_{\mathrm{policy}}(\tau)",
                sp.Piecewise(
                    (until + sp.Integral(policy, (running, w, w_c)).subs(in_position), reached), (sp.oo, True)
                ),
            ),
            "surplus over the collapse point": (r"\kappa", surplus),
            "start of the clipped phase": ("w_c", start),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", tail: "0.000001"},
    )


@derivation
def sampled_step() -> Derivation:
    """Derive the mean and the noise of one sampled step."""
    modal = sigmoid(theta)
    gain = modal_advantage - tail_advantage
    fisher = q * (1 - q)
    mean = q * modal_advantage + (1 - q) * tail_advantage
    other = (1 - q) * modal_advantage + q * tail_advantage
    held = modal * modal_advantage + (1 - modal) * tail_advantage
    whole = modal * (modal_push - sp.log(modal)) + (1 - modal) * (tail_push - sp.log(1 - modal))
    capped = modal * (modal_push - sp.log(modal)) + (1 - modal) * tail_push
    untouched = modal_push - sp.log(modal) - (tail_push - sp.log(1 - modal))

    def estimate(taken: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        return (modal_advantage - taken) * (1 - q), -(tail_advantage - taken) * q

    def expected(pair: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
        return q * pair[0] + (1 - q) * pair[1]

    def variance(taken: sp.Expr) -> sp.Expr:
        one = estimate(taken)
        return expected((one[0] ** 2, one[1] ** 2)) - expected(one) ** 2

    plain, based = estimate(sp.Integer(0)), estimate(baseline)
    batch = share * based[0] + (1 - share) * based[1]
    noise = fisher * (1 - 2 * q) ** 2 * gain**2
    natural_noise = (1 - 2 * q) ** 2 * gain**2 / fisher
    of_mean = r"\mathrm{E}[X]"
    of_noise = r"\mathrm{Var}[X]"
    return Derivation(
        "sampled_step",
        SAMPLE,
        (
            Step(Differentiate(theta), sp.log(modal), 1 - modal),
            Step(Differentiate(theta), sp.log(1 - modal), -modal),
            Step(
                Substitute({modal_score: 1 - q, tail_score: -q}), q * modal_score + (1 - q) * tail_score, sp.Integer(0)
            ),
            Step(Rewrite("average"), q * (1 - q) ** 2 + (1 - q) * q**2, fisher, "F"),
            Step(Rewrite("average"), expected(plain), fisher * gain, of_mean),
            Step(Differentiate(theta), held, modal * (1 - modal) * gain),
            Step(Differentiate(theta), whole, modal * (1 - modal) * untouched),
            Step(Differentiate(theta), capped, modal * (1 - modal) * (modal_push - sp.log(modal) - tail_push - 1)),
            Step(Rewrite("average"), expected(based), fisher * gain, of_mean),
            Step(Substitute({share: q}), batch, fisher * gain),
            Step(Substitute({information: fisher}), fisher * gain / information, gain, r"\frac{\mathrm{E}[X]}{F}"),
            Step(Rewrite("factor"), variance(sp.Integer(0)), fisher * other**2, of_noise),
            Step(Rewrite("factor"), variance(baseline), fisher * (other - baseline) ** 2, of_noise),
            Step(Substitute({baseline: mean}), fisher * (other - baseline) ** 2, noise, of_noise),
            Step(Rewrite("factor"), fisher * other**2 - noise, fisher * mean * (2 * other - mean)),
            Step(Solve(baseline), sp.Eq(other - baseline, 0), other, "B"),
            Step(
                Substitute({information: fisher}), noise / information**2, natural_noise, r"\mathrm{Var}[\tfrac{X}{F}]"
            ),
            Step(Limit(q, sp.Integer(1), u, sp.oo), natural_noise, sp.oo, assumptions=UNEQUAL),
            Step(Limit(q, sp.Integer(1), u, sp.oo), noise, sp.Integer(0), assumptions=UNEQUAL),
        ),
        {
            "simulate": (r"\mathrm{E}_{\mathrm{natural}}[\theta_{N+1}]", logit(q) + eta * velocity),
            "mean step of plain policy gradient": (
                r"\mathrm{E}_{\mathrm{policy}}[\theta_{N+1}]",
                logit(q) + eta * fisher * velocity,
            ),
            "variance of a sample": (r"\mathrm{Var}[X]", fisher * (other - baseline) ** 2),
            "mean advantage": (r"\bar A", mean),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", q: "0.9999", eta: "0.1"},
    )
