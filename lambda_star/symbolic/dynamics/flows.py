"""A finite training budget: derivations of the time to the clip edge, under natural gradient and plain policy gradient.

What follows beyond the clip edge is in :mod:`lambda_star.symbolic.dynamics.clipped`.
"""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import AHEAD, BEHIND, EVERY, ahead_only, edge, push, star
from lambda_star.symbolic.regions import above, below, between, decay, free, let, rising
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, gap, lam, lam_star, logit, p, positive, real, sigmoid

__all__ = ["natural_flow", "natural_steps", "policy_gradient"]

theta, theta_0, theta_c, theta_lam = real("theta theta_0 theta_c theta_lambda")
"""The log-odds of the student now, at the start, at the clip edge, and at the fixed point."""

time, eta, steps = positive("s eta N")
"""The natural-gradient time, and the size and the number of discrete steps."""

u, u_0, u_c = positive("u u_0 u_c")
"""The distance to the fixed point now, at the start, and at the clip edge."""

budget, least, slowness, rho, natural = positive(r"B m M \rho y")
"""A budget of policy-gradient time; the least and the greatest slowness between start and clip edge, any other slowness,
and the natural-gradient time."""

duration_so_far, way = positive("T D")
"""The policy-gradient time to the clip edge, and the distance from the base to the clip edge."""

POSITION = assume(between(0, b, p, 1), above(1, c), free(lam), free(theta, log=1), above(0, time, log=1))
FLOW = assume(
    free(theta, theta_0),
    above(0, Delta),
    above(1, lam_star, lam),
    let(theta_lam, theta_0 + lam * Delta),
    above(0, time, log=1),
    decay(0, eta, 1),
    above(0, steps, log=-sp.log(1 - eta)),
)
STEPPED = FLOW.use(between(0, eta, 1), above(0, steps))
FINE = assume(above(0, time, steps))
GRADIENT = assume(
    free(theta, theta_lam, log=1),
    above(0, u, u_0, u_c, each=True),
    above(0, Delta),
    above(1, lam_star, lam),
    above(0, slowness, rho, way, each=True),
    above(0, natural, log=1),
    above(0, budget, log=1 / slowness),
    between(0, eta, 1),
    above(0, steps, duration_so_far, each=True),
)
RIGHT = assume(above(0, theta, log=1))
SOLVER = assume(free(theta_0, log=1), above(0, way, u_c, each=True))
PLACES = assume(rising(theta_0, theta, theta_lam), above(0, time, log=1))
ENDS = assume(free(theta_lam, log=1), below(theta_0, theta_c, theta_lam))
PASSING = assume(between(0, b, p, 1), above(1, c), above(star, lam), between(0, eta, 1), above(0, budget))
SHORT = PASSING.use(below(lam, star))
ELSEWHERE = BEHIND.use(between(0, eta, 1), above(0, budget))
EVERYWHERE = EVERY.use(above(1, lam), between(0, eta, 1), above(0, budget))

from_edge = push - edge
"""(λ−λ*)Δ, the distance of the fixed point from the clip edge."""

flow_time = sp.log(lam / (lam - lam_star))
passing = sp.And(p > b, from_edge > 0)
natural_time = sp.log(lam * gap / from_edge)
latest = lam_star / (1 - sp.exp(-budget / slowness))
"""The λ at which the upper bound on the policy-gradient time equals the budget."""

target = r"\theta_\lambda"


def _crossing(value: sp.Expr, name: str) -> Step:
    """The step to a time where the fixed point lies beyond the clip edge, and to infinity where it does not."""
    whole = sp.Piecewise((value, passing), (sp.oo, True))
    return Step(Join((PASSING, SHORT, ELSEWHERE)), sp.Tuple(value, sp.oo, sp.oo), whole, name, EVERYWHERE)


def _bound(rate: sp.Symbol, name: str) -> tuple[Step, Step]:
    """The steps to a bound of the threshold of a budget, from the least or the greatest slowness."""
    values = {symbol: value for symbol, value in ((slowness, rate), (lam_star, star)) if symbol != value}
    value, sizes = latest.subs(values, simultaneous=True), above(0, budget, rate, each=True)
    return Step(Substitute(values), latest, value, name, PASSING.use(sizes)), ahead_only(value, name, sizes)


@derivation
def natural_flow() -> Derivation:
    """Derive the time to the clip edge and the threshold of a finite budget under the natural-gradient flow."""
    student = theta_lam + (theta_0 - theta_lam) * sp.exp(-time)
    speed = (theta_lam - theta_0) * sp.exp(-time)
    moved = theta_0 + lam * Delta * (1 - sp.exp(-time))
    at_edge = theta_0 + lam_star * Delta
    threshold = lam_star / (1 - sp.exp(-time))
    falling = -lam_star * sp.exp(-time) / (1 - sp.exp(-time)) ** 2
    slope_in_time = r"\frac{\partial}{\partial s}\lambda^*(s)"
    return Derivation(
        "natural_flow",
        FLOW,
        (
            Step(Rewrite("collect"), logit(p) + push, logit(b) + lam * gap, target, POSITION),
            Step(Rewrite("expand"), logit(1 - (1 - p) / c), logit(p) + edge, r"\theta_c", POSITION),
            Step(Rewrite("collect"), logit(p) + edge, logit(b) + star * gap, r"\theta_c", POSITION),
            Step(Differentiate(time), student, speed, r"\theta'(s)"),
            Step(Substitute({theta: student}), theta_lam - theta, speed, r"\theta_\lambda-\theta(s)"),
            Step(Substitute({time: sp.Integer(0)}), student, theta_0, r"\theta(0)"),
            Step(Substitute({theta_lam: theta_0 + lam * Delta}), student, moved, r"\theta(s)"),
            Step(
                Solve(time),
                sp.Eq(student, theta),
                sp.log((theta_lam - theta_0) / (theta_lam - theta)),
                r"s(\theta)",
                PLACES,
            ),
            Step(
                Differentiate(lam),
                moved,
                Delta * (1 - sp.exp(-time)),
                r"\frac{\partial}{\partial\lambda}\theta(s)",
                sign=">",
            ),
            Step(Solve(lam), sp.Eq(moved, at_edge), threshold, r"\lambda^*(s)"),
            Step(Differentiate(time), threshold, falling, slope_in_time, sign="<"),
            Step(Limit(time, sp.oo), threshold, lam_star),
            Step(Limit(time, sp.Integer(0)), threshold, sp.oo),
            Step(Solve(time), sp.Eq(moved, at_edge), flow_time, r"s(\lambda)", sign=">"),
            Step(Limit(lam, lam_star), flow_time, sp.oo),
            Step(Differentiate(lam), flow_time, -lam_star / (lam * (lam - lam_star)), r"s'(\lambda)", sign="<"),
            Step(
                Substitute({theta: logit(p) + edge}), logit(p) + push - theta, gap * (lam - star), r"\theta'", POSITION
            ),
            Step(Substitute({lam_star: star}), threshold, threshold.subs(lam_star, star), r"\lambda^*(s)", POSITION),
            ahead_only(threshold.subs(lam_star, star), r"\lambda^*(s)", above(0, time)),
            Step(Substitute({lam_star: star}), flow_time, natural_time, r"s(\lambda)", PASSING),
            Step(Sign("<"), from_edge, -(star - lam) * gap, r"\theta_\lambda-\theta_c", SHORT),
            _crossing(natural_time, r"s(\lambda)"),
            Step(
                Substitute({theta_0: logit(b), Delta: gap}),
                moved,
                logit(b) + lam * gap * (1 - sp.exp(-time)),
                r"\theta(s)",
                POSITION,
            ),
        ),
        {
            "budget_threshold": (r"\lambda^*(s)", sp.Piecewise((star / (1 - sp.exp(-time)), p > b), (sp.oo, True))),
            "time_to_edge": (r"s(\lambda)", sp.Piecewise((natural_time, passing), (sp.oo, True))),
            "trajectory": (r"\theta(s)", logit(b) + lam * gap * (1 - sp.exp(-time))),
            "time to a place": (r"s(\theta)", sp.log((theta_lam - theta_0) / (theta_lam - theta))),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", time: "3"},
        given={
            r"\theta'": theta_lam - theta,
            r"\theta_\lambda": logit(p) + push,
            r"\theta_c": logit(1 - (1 - p) / c),
            r"\theta_0": logit(b),
            r"\theta(s)": student,
            r"\theta_c-\theta_0": at_edge - theta_0,
        },
        uses=("threshold",),
    )


@derivation
def natural_steps() -> Derivation:
    """Derive how many natural-gradient steps stay within the clip edge, and the threshold of so many steps."""
    stepped = theta_lam + (theta_0 - theta_lam) * (1 - eta) ** steps
    left = lam * Delta * (1 - eta) ** steps
    count = -flow_time / sp.log(1 - eta)
    in_position = -natural_time / sp.log(1 - eta)
    threshold = lam_star / (1 - (1 - eta) ** steps)
    edge_reached = sp.Eq(theta_0 + lam * Delta * (1 - (1 - eta) ** steps), theta_0 + lam_star * Delta)
    return Derivation(
        "natural_steps",
        FLOW,
        (
            Step(
                Substitute({theta: stepped}),
                theta + eta * (theta_lam - theta),
                theta_lam + (theta_0 - theta_lam) * (1 - eta) ** (steps + 1),
                r"\theta_{N+1}",
            ),
            Step(Substitute({steps: sp.Integer(0)}), stepped, theta_0),
            Step(
                Substitute({theta_lam: theta_0 + lam * Delta}), sp.Eq(stepped, theta_0 + lam_star * Delta), edge_reached
            ),
            Step(Solve(lam), edge_reached, threshold, r"\lambda^*_N"),
            Step(Substitute({theta_lam: theta_0 + lam * Delta}), theta_lam - stepped, left, r"\theta_\lambda-\theta_N"),
            Step(
                Sign(">"),
                left - left.subs(steps, steps + 1),
                lam * Delta * eta * (1 - eta) ** steps,
                r"\theta_{N+1}-\theta_N",
                STEPPED,
            ),
            Step(Solve(steps), sp.Eq(left, (lam - lam_star) * Delta), count, r"N(\lambda)", sign=">"),
            Step(Limit(eta, sp.Integer(1)), count, sp.Integer(0)),
            Step(Limit(eta, sp.Integer(0)), eta * count, flow_time),
            Step(Limit(steps, sp.oo), (1 - time / steps) ** steps, sp.exp(-time), "", FINE),
            Step(Substitute({lam_star: star}), count, in_position, r"N(\lambda)", PASSING),
            _crossing(sp.floor(in_position), r"\lfloor N(\lambda)\rfloor"),
            Step(
                Substitute({lam_star: star}),
                threshold,
                threshold.subs(lam_star, star),
                r"\lambda^*_N",
                AHEAD.use(between(0, eta, 1), above(0, steps)),
            ),
            ahead_only(threshold.subs(lam_star, star), r"\lambda^*_N", between(0, eta, 1), above(0, steps)),
        ),
        {
            "steps_to_edge": (
                r"\lfloor N(\lambda)\rfloor",
                sp.Piecewise((sp.floor(in_position), passing), (sp.oo, True)),
            ),
            "budget_threshold": (r"\lambda^*_N", sp.Piecewise((star / (1 - (1 - eta) ** steps), p > b), (sp.oo, True))),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", lam: "2", eta: "0.1"},
        given={
            r"\theta_{N+1}": theta + eta * (theta_lam - theta),
            r"\theta_N": stepped,
            r"\theta_c-\theta_0": lam_star * Delta,
            r"\theta_\lambda-\theta_c": (lam - lam_star) * Delta,
            r"\left(1-\tfrac sN\right)^N": (1 - time / steps) ** steps,
        },
        uses=("threshold", "natural_flow"),
    )


@derivation
def policy_gradient() -> Derivation:
    """Derive the time to the clip edge under plain policy gradient, and the threshold of a budget."""
    modal = sigmoid(theta)
    objective = modal * theta_lam - modal * sp.log(modal) - (1 - modal) * sp.log(1 - modal)
    velocity = modal * (1 - modal) * (theta_lam - theta)
    inverse_rate = 2 + sp.exp(theta) + sp.exp(-theta)
    integrand = (2 + sp.exp(theta_lam - u) + sp.exp(u - theta_lam)) / u
    antiderivative = 2 * sp.log(u) - sp.exp(theta_lam) * sp.expint(1, u) + sp.exp(-theta_lam) * sp.Ei(u)
    duration = (
        2 * sp.log(u_0 / u_c)
        + sp.exp(theta_lam) * (sp.expint(1, u_c) - sp.expint(1, u_0))
        + sp.exp(-theta_lam) * (sp.Ei(u_0) - sp.Ei(u_c))
    )
    at_start, at_edge = integrand.subs(u, u_0), -integrand.subs(u, u_c)
    in_log_odds = duration.subs({u_0: theta_lam - theta_0, u_c: theta_lam - theta_c})
    edge_rate = inverse_rate.subs(theta, theta_c)
    mixed = -edge_rate / (theta_lam - theta_c) ** 2
    start_rate, final_rate = 1 / (b * (1 - b)), c**2 / ((1 - p) * (c - 1 + p))
    least_rate = sp.Piecewise(
        (sp.Integer(4), sp.And(2 * b < 1, c > 2 * (1 - p))), (sp.Min(start_rate, final_rate), True)
    )
    in_position = {theta_lam: logit(b) + lam * gap, u_0: lam * gap, u_c: from_edge}
    from_base = {theta_lam: theta_0 + way + u_c, u_0: way + u_c}
    shift = theta_0 + way + u_c
    in_edge = (
        2 / (way + u_c)
        - 2 / u_c
        + sp.exp(shift) * (sp.expint(1, u_c) - sp.exp(-u_c) / u_c - sp.expint(1, way + u_c))
        + sp.exp(shift) * sp.exp(-way - u_c) / (way + u_c)
        - sp.exp(-shift) * (sp.Ei(way + u_c) - sp.exp(way + u_c) / (way + u_c) - sp.Ei(u_c) + sp.exp(u_c) / u_c)
    )
    regular = (sp.exp(theta_lam) * (sp.exp(-u) - 1) + sp.exp(-theta_lam) * (sp.exp(u) - 1)) / u
    pole = (2 + sp.exp(theta_lam) + sp.exp(-theta_lam)) / u
    cost = r"\frac{1}{\sigma(\theta)(1-\sigma(\theta))}"
    in_u_0, in_u_c = r"\frac{\partial T}{\partial u_0}", r"\frac{\partial T}{\partial u_c}"
    placed = duration.subs(in_position, simultaneous=True)
    low_name, high_name = r"\lambda_{\mathrm{low}}(B)", r"\lambda_{\mathrm{high}}(B)"
    low, high = _bound(least, low_name), _bound(slowness, high_name)
    in_both = r"\frac{\partial^2T}{\partial\theta_\lambda\partial\theta_c}"
    return Derivation(
        "policy_gradient",
        GRADIENT,
        (
            Step(Differentiate(theta), objective, velocity, r"\theta'"),
            Step(Rewrite("expand"), 1 / (modal * (1 - modal)), inverse_rate, cost),
            Step(Substitute({theta: theta_lam - u}), inverse_rate / (theta_lam - theta), integrand),
            Step(Differentiate(u), antiderivative, integrand),
            Step(Rewrite("collect"), antiderivative.subs(u, u_0) - antiderivative.subs(u, u_c), duration, "T"),
            Step(Substitute({u_0: u_c}), duration, sp.Integer(0), "T"),
            Step(Differentiate(u_0), duration, at_start, in_u_0, sign=">"),
            Step(Differentiate(u_c), duration, at_edge, in_u_c, sign="<"),
            Step(Rewrite("take the pole off"), integrand - pole, regular),
            Step(
                Differentiate(theta_c),
                in_log_odds,
                edge_rate / (theta_lam - theta_c),
                r"\frac{\partial T}{\partial\theta_c}",
                ENDS,
            ),
            Step(Differentiate(theta_lam), edge_rate / (theta_lam - theta_c), mixed, in_both, ENDS, sign="<"),
            Step(Differentiate(theta), inverse_rate, sp.exp(theta) - sp.exp(-theta)),
            Step(Sign(">"), sp.exp(theta) - sp.exp(-theta), (sp.exp(theta) - 1) * (1 + sp.exp(-theta)), "", RIGHT),
            Step(Substitute({theta: -u}), inverse_rate, inverse_rate.subs(theta, u)),
            Step(Substitute({theta: sp.Integer(0)}), inverse_rate, sp.Integer(4), cost),
            Step(Substitute({theta: logit(b)}), inverse_rate, start_rate, cost, POSITION),
            Step(Substitute({theta: logit(p) + edge}), inverse_rate, final_rate, cost, POSITION),
            Step(
                Differentiate(u_0),
                duration - rho * sp.log(u_0 / u_c),
                (2 + sp.exp(theta_lam - u_0) + sp.exp(u_0 - theta_lam) - rho) / u_0,
            ),
            Step(Substitute({u_0: lam * Delta, u_c: (lam - lam_star) * Delta}), sp.log(u_0 / u_c), flow_time, "y"),
            Step(Limit(lam, lam_star), 4 * flow_time, sp.oo),
            Step(Limit(lam, sp.oo), slowness * flow_time, sp.Integer(0)),
            Step(Solve(lam), sp.Eq(slowness * flow_time, budget), latest),
            Step(Limit(budget, sp.oo), latest, lam_star),
            Step(Solve(u_c), sp.Eq(sp.log((way + u_c) / u_c), natural), way / (sp.exp(natural) - 1), "u_{c}"),
            Step(
                Differentiate(natural),
                way / (sp.exp(natural) - 1),
                -way * sp.exp(natural) / (sp.exp(natural) - 1) ** 2,
                r"\frac{\partial u_c}{\partial y}",
            ),
            Step(
                Differentiate(u_c),
                duration.subs(from_base, simultaneous=True),
                in_edge,
                r"\frac{\mathrm{d}T}{\mathrm{d}u_c}",
                SOLVER,
            ),
            Step(Solve(steps), sp.Eq(eta * steps, duration_so_far), duration_so_far / eta, "N"),
            Step(
                Substitute({steps: duration_so_far / eta}),
                sp.floor(steps),
                sp.floor(duration_so_far / eta),
                r"\lfloor N\rfloor",
            ),
            Step(
                Substitute({duration_so_far: duration}),
                sp.Eq(duration_so_far, budget),
                sp.Eq(duration, budget),
                r"\lambda^*(B)",
            ),
            Step(Substitute(in_position), duration, placed, r"T(\lambda)", PASSING),
            _crossing(placed, r"T(\lambda)"),
            *low,
            *high,
        ),
        {
            "time_to_edge": (r"T(\lambda)", sp.Piecewise((placed, passing), (sp.oo, True))),
            "steps_to_edge": (r"\lfloor N\rfloor", sp.floor(duration_so_far / eta)),
            "budget_threshold": (r"\lambda^*(B)", sp.Eq(duration, budget)),
            "lower bound of the threshold": (low_name, low[-1].after),
            "upper bound of the threshold": (high_name, high[-1].after),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", lam: "1.6088744164356636"},
        given={
            r"J(\theta)": objective,
            cost: 1 / (modal * (1 - modal)),
            r"H(u)": antiderivative,
            "H(u_0)-H(u_c)": antiderivative.subs(u, u_0) - antiderivative.subs(u, u_c),
            "u": theta_lam - theta,
            r"T(\theta_0,\theta_c)": in_log_odds,
            r"T(D,u_c)": duration.subs(from_base, simultaneous=True),
            "m": least_rate,
            "M": sp.Max(start_rate, final_rate),
            "y": sp.log((way + u_c) / u_c),
            r"\eta N": eta * steps,
            r"\lfloor N\rfloor": sp.floor(steps),
            "T=B": sp.Eq(duration_so_far, budget),
        },
        uses=("threshold", "natural_flow"),
    )
