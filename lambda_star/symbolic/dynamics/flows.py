"""A finite training budget: derivations of the time to the clip edge, under natural gradient and plain policy gradient.

What follows beyond the clip edge is in :mod:`lambda_star.symbolic.dynamics.clipped`.
"""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import edge, push, star
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, gap, lam, lam_star, logit, p, positive, real, sigmoid

__all__ = ["natural_flow", "natural_steps", "policy_gradient"]

theta, theta_0, theta_c, theta_lam = real("theta theta_0 theta_c theta_lambda")
"""The log-odds of the student now, at the start, at the clip edge, and at the fixed point."""

time, eta, steps = positive("s eta N")
"""The natural-gradient time, and the size and the number of discrete steps."""

u, u_0, u_c = positive("u u_0 u_c")
"""The distance to the fixed point now, at the start, and at the clip edge."""

budget, slowness, rho, natural = positive(r"B M \rho y")
"""A budget of policy-gradient time; the greatest slowness between start and clip edge, any other slowness, and the
natural-gradient time."""

duration_so_far, way = positive("T D")
"""The policy-gradient time to the clip edge, and the distance from the base to the clip edge."""

h, k, m, r, t, v, w, z = positive("h k m r t v w z")
_above = v * (1 + k)
POSITION = Assumptions(
    r"0<b<p<1,\quad c>1", {b: v / (1 + v), p: _above / (1 + _above), c: 1 + w, lam: z - m, theta: sp.log(r)}
)
FLOW = Assumptions(
    r"\theta,\theta_0\in\mathbb{R},\quad \Delta>0,\quad \lambda>\lambda^*>1,\quad s,N>0,\quad 0<\eta<1",
    {
        theta: r - h,
        theta_0: k - h,
        Delta: m,
        lam_star: 1 + w,
        lam: 1 + w + z,
        theta_lam: k - h + (1 + w + z) * m,
        time: sp.log(1 + t),
        eta: 1 - sp.exp(-v),
        steps: sp.log(1 + t) / v,
    },
)
STEPPED = Assumptions(r"\Delta,\lambda,N>0,\quad 0<\eta<1", {**FLOW.values, eta: v / (1 + v), steps: t})
FINE = Assumptions(r"0<s<N", {time: t, steps: t + m})
GRADIENT = Assumptions(
    r"\theta,\theta_\lambda\in\mathbb{R},\quad u,u_0,u_c>0,\quad \Delta>0,\quad \lambda>\lambda^*>1,\quad M,B>0",
    {
        theta: sp.log(r),
        theta_lam: sp.log(v),
        u: t,
        u_0: z,
        u_c: h,
        Delta: m,
        lam_star: 1 + w,
        lam: 1 + w + k,
        slowness: h,
        rho: r,
        natural: sp.log(1 + t),
        budget: h * sp.log(1 + t),
        way: w,
        eta: v / (1 + v),
        steps: z,
        duration_so_far: z * v / (1 + v),
    },
)
RIGHT = Assumptions(r"\theta>0", {theta: sp.log(1 + r)})
SOLVER = Assumptions(r"\theta_0\in\mathbb{R},\quad D,u_c>0", {theta_0: sp.log(v), way: t, u_c: h})
PLACES = Assumptions(r"\theta_0<\theta<\theta_\lambda", {theta_0: r - h, theta: r - h + k, theta_lam: r - h + k + m})
ENDS = Assumptions(
    r"\theta_0<\theta_c<\theta_\lambda", {theta_lam: sp.log(v), theta_c: sp.log(v) - t, theta_0: sp.log(v) - t - w}
)

from_edge = push - edge
"""(λ−λ*)Δ, the distance of the fixed point from the clip edge."""

flow_time = sp.log(lam / (lam - lam_star))
passing = sp.And(p > b, from_edge > 0)
natural_time = sp.log(lam * gap / from_edge)
target = r"\theta_\lambda"


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
            Step(Define(), theta_lam - theta, name=r"\theta'"),
            Step(Rewrite("collect"), logit(p) + push, logit(b) + lam * gap, target, assumptions=POSITION),
            Step(Rewrite("expand"), logit(1 - (1 - p) / c), logit(p) + edge, r"\theta_c", assumptions=POSITION),
            Step(Rewrite("collect"), logit(p) + edge, logit(b) + star * gap, r"\theta_c", assumptions=POSITION),
            Step(Differentiate(time), student, speed, r"\theta'(s)"),
            Step(Substitute({theta: student}), theta_lam - theta, speed, r"\theta_\lambda-\theta(s)"),
            Step(Substitute({time: sp.Integer(0)}), student, theta_0, r"\theta(0)"),
            Step(Substitute({theta_lam: theta_0 + lam * Delta}), student, moved, r"\theta(s)"),
            Step(
                Solve(time),
                sp.Eq(student, theta),
                sp.log((theta_lam - theta_0) / (theta_lam - theta)),
                r"s(\theta)",
                assumptions=PLACES,
            ),
            Step(Differentiate(lam), moved, Delta * (1 - sp.exp(-time)), r"\frac{\partial}{\partial\lambda}\theta(s)"),
            Step(Sign(">"), Delta * (1 - sp.exp(-time)), name=r"\frac{\partial}{\partial\lambda}\theta(s)"),
            Step(Solve(lam), sp.Eq(moved, at_edge), threshold, r"\lambda^*(s)"),
            Step(Differentiate(time), threshold, falling, slope_in_time),
            Step(Sign("<"), falling, name=slope_in_time),
            Step(Limit(time, sp.oo, t, sp.oo), threshold, lam_star),
            Step(Limit(time, sp.Integer(0), t, sp.Integer(0)), threshold, sp.oo),
            Step(Solve(time), sp.Eq(moved, at_edge), flow_time, r"s(\lambda)"),
            Step(Sign(">"), flow_time, name=r"s(\lambda)"),
            Step(Limit(lam, lam_star, z, sp.Integer(0)), flow_time, sp.oo),
            Step(Differentiate(lam), flow_time, -lam_star / (lam * (lam - lam_star)), r"s'(\lambda)"),
            Step(Sign("<"), -lam_star / (lam * (lam - lam_star)), name=r"s'(\lambda)"),
            Step(
                Substitute({theta: logit(p) + edge}),
                logit(p) + push - theta,
                gap * (lam - star),
                r"\theta'",
                assumptions=POSITION,
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
    )


@derivation
def natural_steps() -> Derivation:
    """Derive how many natural-gradient steps stay within the clip edge, and the threshold of so many steps."""
    stepped = theta_lam + (theta_0 - theta_lam) * (1 - eta) ** steps
    left = lam * Delta * (1 - eta) ** steps
    count = -flow_time / sp.log(1 - eta)
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
                Solve(lam),
                sp.Eq(theta_0 + lam * Delta * (1 - (1 - eta) ** steps), theta_0 + lam_star * Delta),
                lam_star / (1 - (1 - eta) ** steps),
                r"\lambda^*_N",
            ),
            Step(Substitute({theta_lam: theta_0 + lam * Delta}), theta_lam - stepped, left, r"\theta_\lambda-\theta_N"),
            Step(
                Sign(">"),
                left - left.subs(steps, steps + 1),
                lam * Delta * eta * (1 - eta) ** steps,
                r"\theta_{N+1}-\theta_N",
                assumptions=STEPPED,
            ),
            Step(Solve(steps), sp.Eq(left, (lam - lam_star) * Delta), count, r"N(\lambda)"),
            Step(Sign(">"), count, name=r"N(\lambda)"),
            Step(Limit(eta, sp.Integer(1), v, sp.oo), count, sp.Integer(0)),
            Step(Limit(eta, sp.Integer(0), v, sp.Integer(0)), eta * count, flow_time),
            Step(Limit(steps, sp.oo, m, sp.oo), (1 - time / steps) ** steps, sp.exp(-time), assumptions=FINE),
        ),
        {
            "steps_to_edge": (
                r"\lfloor N(\lambda)\rfloor",
                sp.Piecewise((sp.floor(-natural_time / sp.log(1 - eta)), passing), (sp.oo, True)),
            ),
            "budget_threshold": (r"\lambda^*_N", sp.Piecewise((star / (1 - (1 - eta) ** steps), p > b), (sp.oo, True))),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", lam: "2", eta: "0.1"},
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
        (sp.Integer(4), sp.And(2 * b < 1, 2 * (c - 1 + p) > c)), (sp.Min(start_rate, final_rate), True)
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
            Step(Differentiate(u_0), duration, at_start, in_u_0),
            Step(Sign(">"), at_start, name=in_u_0),
            Step(Differentiate(u_c), duration, at_edge, in_u_c),
            Step(Sign("<"), at_edge, name=in_u_c),
            Step(Rewrite("take the pole off"), integrand - pole, regular),
            Step(
                Differentiate(theta_c),
                in_log_odds,
                edge_rate / (theta_lam - theta_c),
                r"\frac{\partial T}{\partial\theta_c}",
                assumptions=ENDS,
            ),
            Step(Differentiate(theta_lam), edge_rate / (theta_lam - theta_c), mixed, in_both, assumptions=ENDS),
            Step(Sign("<"), mixed, name=in_both, assumptions=ENDS),
            Step(Differentiate(theta), inverse_rate, sp.exp(theta) - sp.exp(-theta)),
            Step(Sign(">"), sp.exp(theta) - sp.exp(-theta), assumptions=RIGHT),
            Step(Substitute({theta: -u}), inverse_rate, inverse_rate.subs(theta, u)),
            Step(Substitute({theta: sp.Integer(0)}), inverse_rate, sp.Integer(4), cost),
            Step(Substitute({theta: logit(b)}), inverse_rate, start_rate, cost, assumptions=POSITION),
            Step(Substitute({theta: logit(p) + edge}), inverse_rate, final_rate, cost, assumptions=POSITION),
            Step(
                Differentiate(u_0),
                duration - rho * sp.log(u_0 / u_c),
                (2 + sp.exp(theta_lam - u_0) + sp.exp(u_0 - theta_lam) - rho) / u_0,
            ),
            Step(Substitute({u_0: lam * Delta, u_c: (lam - lam_star) * Delta}), sp.log(u_0 / u_c), flow_time, "y"),
            Step(Limit(lam, lam_star, k, sp.Integer(0)), 4 * flow_time, sp.oo),
            Step(Limit(lam, sp.oo, k, sp.oo), slowness * flow_time, sp.Integer(0)),
            Step(Solve(lam), sp.Eq(slowness * flow_time, budget), lam_star / (1 - sp.exp(-budget / slowness))),
            Step(Limit(budget, sp.oo, t, sp.oo), lam_star / (1 - sp.exp(-budget / slowness)), lam_star),
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
                assumptions=SOLVER,
            ),
            Step(Solve(steps), sp.Eq(eta * steps, duration_so_far), duration_so_far / eta, "N"),
        ),
        {
            "time_to_edge": (
                r"T(\lambda)",
                sp.Piecewise((duration.subs(in_position, simultaneous=True), passing), (sp.oo, True)),
            ),
            "steps_to_edge": (r"\lfloor N\rfloor", sp.floor(duration_so_far / eta)),
            "budget_threshold": (r"\lambda^*(B)", sp.Eq(duration, budget)),
            "lower bound of the threshold": (
                r"\lambda_{\mathrm{low}}(B)",
                sp.Piecewise((star / (1 - sp.exp(-budget / least_rate)), p > b), (sp.oo, True)),
            ),
            "upper bound of the threshold": (
                r"\lambda_{\mathrm{high}}(B)",
                sp.Piecewise((star / (1 - sp.exp(-budget / sp.Max(start_rate, final_rate))), p > b), (sp.oo, True)),
            ),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", lam: "1.6088744164356636"},
    )
