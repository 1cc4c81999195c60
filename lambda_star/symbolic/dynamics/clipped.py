"""A finite training budget: derivations of the clipped flow, the time to collapse, and one sampled step."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.dynamics.flows import eta, natural_time, theta
from lambda_star.symbolic.places import collapse, edge, push, star
from lambda_star.symbolic.regions import above, below, between, free, rising
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Sign, Solve, Substitute
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

modal_value, tail_value, gained = real(r"X_m X_\tau X")
"""A quantity of each outcome, and an estimate."""

modal_push, tail_push = real(r"s_m s_\tau")
"""The part of each advantage that does not depend on the student."""

_position = (between(0, b, p, 1), above(1, c), free(lam))
POSITION = assume(*_position, free(theta, log=1), between(0, q, 1), above(0, w, log=1), between(0, tail, 1))
BETWEEN = assume(*_position, between(p / c, q, 1 - (1 - p) / c))
LOW, HIGH = assume(*_position, between(0, q, p / c)), assume(*_position, between(1 - (1 - p) / c, q, 1))
BEYOND = assume(*_position, above(logit(p) + edge, theta, log=1))
BELOW = assume(*_position, below(theta, logit(p / c), log=1))
PHASE = assume(above(0, w, log=1), above(w, w_c), above(-w, kappa), above(0, until))
RESTING = assume(below(kappa, 0, log=1), above(-kappa, w))
COLLAPSING = assume(above(0, kappa, w, each=True))
QUADRATURE = assume(free(kappa, exponent), above(0, running))
SAMPLE = assume(
    between(0, q, share, 1, each=True),
    free(modal_advantage, tail_advantage, baseline),
    free(theta, log=1),
    free(modal_push, tail_push, modal_score, tail_score),
    above(0, information),
)
UNEQUAL = SAMPLE.use(rising(tail_advantage, modal_advantage), free(baseline))
STOPPED = assume(above(0, w), above(w, w_c), below(kappa, -w), above(0, until))
LATE = assume(above(0, w), above(w, w_c), free(kappa), above(0, until))
ARRIVING = assume(*_position, above(0, until), between(0, tail, 1))
STEPPING = assume(*_position, between(0, q, 1), above(0, eta), free(modal_value, tail_value))

clip_edge = 1 - (1 - p) / c
modal_edge = p / c
untouched_velocity = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + push
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
    below_kink = modal_clipped.subs(q, sigmoid(theta))
    untouched = logit(p) + push - theta
    excess = sp.log((1 - p) * (1 + sp.exp(theta)) / c)
    lacking = sp.log(c / (p * (1 + sp.exp(-theta))))
    hold = logit(clip_edge)
    leave = logit(modal_edge)
    slope = r"\frac{\mathrm{d}}{\mathrm{d}\theta}\theta'"
    leave_name = r"\mathrm{logit}\left(\frac pc\right)"
    at_clip, at_modal = r"\theta'(\theta_c)", r"\theta'(\mathrm{logit}(\frac pc))"
    return Derivation(
        "clipped_flow",
        POSITION,
        (
            Step(Substitute({q: clip_edge}), logit(q), hold, r"\theta_c"),
            Step(Substitute({q: modal_edge}), logit(q), leave, leave_name),
            Step(Sign(">"), sp.log(c) - sp.log(p / q), sp.log(c * q / p), "", BETWEEN),
            Step(Sign(">"), sp.log(c) - sp.log((1 - p) / (1 - q)), sp.log(c * (1 - q) / (1 - p)), "", BETWEEN),
            Step(Sign("<"), sp.log(c) - sp.log((1 - p) / (1 - q)), -sp.log((1 - p) / (c * (1 - q))), "", HIGH),
            Step(Sign("<"), sp.log(c) - sp.log(p / q), -sp.log(p / (c * q)), "", LOW),
            Step(
                Join((LOW, BETWEEN, HIGH)),
                sp.Tuple(modal_clipped, untouched_velocity, tail_clipped),
                velocity,
                r"\theta'",
                POSITION,
            ),
            Step(Substitute({q: sigmoid(theta)}), untouched_velocity, untouched, r"\theta'"),
            Step(Substitute({theta: logit(p) + edge}), untouched, gap * (lam - star), at_clip),
            Step(Substitute({theta: logit(p) + edge}), in_log_odds, gap * (lam - star), at_clip),
            Step(Differentiate(theta), untouched, sp.Integer(-1), slope),
            Step(Differentiate(theta), in_log_odds, -1 / (1 + sp.exp(theta)), slope),
            Step(Substitute({theta: logit(p) + edge}), -1 / (1 + sp.exp(theta)), -(1 - p) / c, slope),
            Step(Sign(">"), -(1 - p) / c - (-1), (c - 1 + p) / c),
            Step(Rewrite("subtract"), in_log_odds - untouched, excess, "", BEYOND, sign=">"),
            Step(Substitute({theta: leave}), untouched, push + sp.log((c - p) / (1 - p)), at_modal),
            Step(Substitute({theta: leave}), below_kink, push + sp.log((c - p) / (1 - p)), at_modal),
            Step(Differentiate(theta), below_kink, -1 / (1 + sp.exp(-theta)), slope),
            Step(Substitute({theta: leave}), -1 / (1 + sp.exp(-theta)), -p / c, slope),
            Step(Rewrite("subtract"), below_kink - untouched, lacking, "", BELOW, sign="<"),
        ),
        {
            "trajectory": (r"\theta'", velocity),
            "where the clip takes hold of the tail": (r"\theta_c", hold),
            "where the clip lets go of the modal token": (leave_name, leave),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", q: "0.9999"},
        given={
            r"D_m(q)": modal_clipped,
            r"D(q)": untouched_velocity,
            r"D_\tau(q)": tail_clipped,
            r"\log c-\log r": sp.log(c) - sp.log((1 - p) / (1 - q)),
            r"\log c-\log r_m": sp.log(c) - sp.log(p / q),
            r"\theta": logit(q),
            r"D_\tau(\sigma(\theta))": in_log_odds,
            r"D_m(\sigma(\theta))": below_kink,
        },
        uses=("regimes",),
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
    odds_speed = sp.exp(-2 * w) * drift
    odds_slope = 1 / (sp.exp(w) - 1) * sp.exp(-w) * kept
    time_slope = r"\frac{\partial T}{\partial w}"
    at_rest = sp.exp(kappa)
    by_natural = sp.Piecewise((since, drift > 0), (sp.oo, True))
    by_policy = sp.Piecewise((since_policy, drift > 0), (sp.oo, True))
    all_in = {**in_position, until: natural_time}
    of_natural, of_policy = r"T_{\mathrm{natural}}(\tau)", r"T_{\mathrm{policy}}(\tau)"
    return Derivation(
        "time_to_collapse",
        PHASE,
        (
            Step(Differentiate(w), -sp.log(sp.exp(w) - 1), -odds_change, r"\frac{\mathrm{d}\theta}{\mathrm{d}w}"),
            Step(Substitute({q: sp.exp(-w)}), tail_clipped, surplus + w, r"\theta'", POSITION),
            Step(Solve(kappa), sp.Eq(drift, surplus + w), surplus, r"\kappa", POSITION.use(free(kappa), above(0, w))),
            Step(Rewrite("collect"), surplus, gap * (lam - collapse), r"\kappa", POSITION),
            Step(Rewrite("collect"), surplus, (lam - star) * gap + sp.log(clip_edge), r"\kappa", POSITION),
            Step(Substitute({q: clip_edge}), -sp.log(q), start, "w_c", POSITION),
            Step(Rewrite("insert"), surplus + start, gap * (lam - star), r"\kappa+w_c", POSITION),
            Step(Substitute({q: 1 - tail}), -sp.log(q), end, "w", POSITION),
            Step(Rewrite("divide"), odds_change / drift, _natural_cost(w)),
            Step(Substitute({q: sp.exp(-w)}), _natural_cost(w) / (q * (1 - q)), _policy_cost(w)),
            Step(Substitute({w: w_c}), since, until),
            Step(Differentiate(w), since, -_natural_cost(w), time_slope, sign="<"),
            Step(Substitute({w: w_c}), since_policy, until),
            Step(Differentiate(w), since_policy, -_policy_cost(w), time_slope, sign="<"),
            Step(Solve(w), sp.Eq(drift, 0), -kappa, "w", assume(below(kappa, 0), above(0, w))),
            Step(Substitute({kappa: surplus}), at_rest, p / c * sp.exp(push), r"e^\kappa", POSITION),
            Step(Sign(">"), 1 - at_rest, (sp.exp(-kappa) - 1) * at_rest, r"1-e^\kappa", RESTING),
            Step(Limit(w, -kappa), drift * _natural_cost(w), 1 / (1 - at_rest), "", RESTING),
            Step(Limit(w, -kappa), drift * _policy_cost(w), 1 / (at_rest * (1 - at_rest) ** 2), "", RESTING),
            Step(Limit(w, sp.Integer(0)), drift, kappa, "", COLLAPSING, sign=">"),
            Step(Limit(w, sp.Integer(0)), w * _natural_cost(w), 1 / kappa, "", COLLAPSING),
            Step(Limit(w, sp.Integer(0)), w**2 * _natural_cost(w).subs(kappa, 0), sp.Integer(1), "", COLLAPSING),
            Step(Rewrite("chain rule"), odds_slope * drift, odds_speed, "", COLLAPSING),
            Step(Limit(w, sp.Integer(0)), odds_speed, kappa, "", COLLAPSING),
            Step(Limit(w, sp.Integer(0)), w**2 * _policy_cost(w), 1 / kappa, "", COLLAPSING),
            Step(
                Substitute({running: sp.exp(exponent)}),
                running * natural,
                sp.exp(exponent) * _natural_cost(sp.exp(exponent)),
                "",
                QUADRATURE,
            ),
            Step(
                Substitute({running: sp.exp(exponent) - kappa}),
                (kappa + running) * natural,
                1 / (1 - sp.exp(kappa - sp.exp(exponent))),
                "",
                QUADRATURE,
            ),
            Step(Differentiate(w), drift, sp.Integer(1), r"\frac{\mathrm{d}\theta'}{\mathrm{d}w}", STOPPED, sign=">"),
            Step(Join((PHASE, STOPPED)), sp.Tuple(since, sp.oo), by_natural, of_natural, LATE),
            Step(Substitute(all_in), by_natural, by_natural.subs(all_in), of_natural, ARRIVING),
            Step(Join((PHASE, STOPPED)), sp.Tuple(since_policy, sp.oo), by_policy, of_policy, LATE),
            Step(Substitute(in_position), by_policy, by_policy.subs(in_position), of_policy, ARRIVING),
        ),
        {
            "time_to_collapse": (of_natural, by_natural.subs(all_in)),
            "time to collapse under policy gradient": (of_policy, by_policy.subs(in_position)),
            "surplus over the collapse point": (r"\kappa", surplus),
            "start of the clipped phase": ("w_c", start),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", tail: "0.000001"},
        given={
            r"\theta": -sp.log(sp.exp(w) - 1),
            r"D_\tau(q)": tail_clipped,
            r"\kappa": surplus,
            "w": -sp.log(q),
            r"\theta'": drift,
            r"T(w)": since,
            r"T_{\mathrm{policy}}(w)": since_policy,
            r"e^\kappa": at_rest,
            r"\tfrac{\mathrm{d}}{\mathrm{d}w}\tfrac{q}{1-q}": odds_slope,
            r"\tfrac{\mathrm{d}T}{\mathrm{d}\omega}": natural,
        },
        uses=("regimes", "natural_flow"),
    )


@derivation
def sampled_step() -> Derivation:
    """Derive the mean and the noise of one sampled step."""
    modal = sigmoid(theta)
    gain = modal_advantage - tail_advantage
    fisher = q * (1 - q)
    mean = q * modal_advantage + (1 - q) * tail_advantage
    average = q * modal_value + (1 - q) * tail_value
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
    natural_step, policy_step = logit(q) + eta * velocity, logit(q) + eta * fisher * velocity
    of_natural, of_policy = (rf"\mathrm{{E}}_{{\mathrm{{{flow}}}}}[\theta_{{N+1}}]" for flow in ("natural", "policy"))
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
            Step(Substitute({modal_value: modal_advantage, tail_value: tail_advantage}), average, mean, r"\bar A"),
            Step(Substitute({baseline: mean}), fisher * (other - baseline) ** 2, noise, of_noise),
            Step(Rewrite("factor"), fisher * other**2 - noise, fisher * mean * (2 * other - mean)),
            Step(Solve(baseline), sp.Eq(other - baseline, 0), other, "B"),
            Step(
                Substitute({information: fisher}), noise / information**2, natural_noise, r"\mathrm{Var}[\tfrac{X}{F}]"
            ),
            Step(Limit(q, sp.Integer(1)), natural_noise, sp.oo, "", UNEQUAL),
            Step(Limit(q, sp.Integer(1)), noise, sp.Integer(0), "", UNEQUAL),
            Step(Substitute({gained: velocity}), logit(q) + eta * gained, natural_step, of_natural, STEPPING),
            Step(Substitute({gained: velocity}), logit(q) + eta * fisher * gained, policy_step, of_policy, STEPPING),
        ),
        {
            "simulate": (of_natural, natural_step),
            "mean step of plain policy gradient": (of_policy, policy_step),
            "variance of a sample": (r"\mathrm{Var}[X]", fisher * (other - baseline) ** 2),
            "mean advantage": (r"\bar A", mean),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", q: "0.9999", eta: "0.1"},
        given={
            r"\log\sigma": sp.log(modal),
            r"\log(1-\sigma)": sp.log(1 - modal),
            r"\mathrm{E}[g]": q * modal_score + (1 - q) * tail_score,
            r"\mathrm{E}[g^2]": q * (1 - q) ** 2 + (1 - q) * q**2,
            r"\mathrm{E}[Xg]": expected(plain),
            r"\mathrm{E}[(X-B)g]": expected(based),
            r"J": held,
            r"J_{\mathrm{whole}}": whole,
            r"J_{\mathrm{capped}}": capped,
            r"X_k": batch,
            r"\mathrm{E}[X_k]": average,
            r"\mathrm{Var}[Xg]": variance(sp.Integer(0)),
            r"\mathrm{Var}[(X-B)g]": variance(baseline),
            r"\theta+\eta X": logit(q) + eta * gained,
            r"\theta+\eta q(1-q)X": logit(q) + eta * fisher * gained,
        },
        uses=("clipped_flow",),
    )
