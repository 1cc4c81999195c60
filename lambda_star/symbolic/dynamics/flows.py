"""A finite training budget: when the student reaches the clip edge, under the natural-gradient flow and under plain policy gradient.

What comes after the edge stands in ``dynamics_clipped``.
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.bernoulli import edge, push, star
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, gap, lam, lam_star, logit, p, positive, real, sigmoid

__all__ = ["natural_flow_derivation", "natural_steps_derivation", "policy_gradient_derivation"]

theta, theta_0, theta_c, theta_lam = real("theta theta_0 theta_c theta_lambda")
"""Log-odds of the student: now, at the start, at the clip edge, at the fixed point."""

time, eta, steps = positive("s eta N")
"""Natural-gradient time; size and number of discrete steps."""

u, u_0, u_c = positive("u u_0 u_c")
"""Distance to the fixed point: on the way, at the start, at the clip edge."""

budget, slowness, rho, natural = positive(r"B M \rho y")
"""Policy-gradient time that is spent; the greatest inverse rate between start and edge, any other, and the natural time."""

duration_so_far, way = positive("T D")
"""The policy-gradient time to the edge, and the distance from base to edge."""

h, k, m, r, t, v, w, z = positive("h k m r t v w z")
_above = v * (1 + k)
POSITION = Domain(
    r"0<b<p<1,\quad c>1",
    {b: v / (1 + v), p: _above / (1 + _above), c: 1 + w, lam: z - m, theta: sp.log(r)},
)
FLOW = Domain(
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
STEPPED = Domain(r"\Delta,\lambda,N>0,\quad 0<\eta<1", {**FLOW.values, eta: v / (1 + v), steps: t})
FINE = Domain(r"0<s<N", {time: t, steps: t + m})
GRADIENT = Domain(
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
RIGHT = Domain(r"\theta>0", {theta: sp.log(1 + r)})
SOLVER = Domain(r"\theta_0\in\mathbb{R},\quad D,u_c>0", {theta_0: sp.log(v), way: t, u_c: h})
PLACES = Domain(r"\theta_0<\theta<\theta_\lambda", {theta_0: r - h, theta: r - h + k, theta_lam: r - h + k + m})
ENDS = Domain(
    r"\theta_0<\theta_c<\theta_\lambda",
    {theta_lam: sp.log(v), theta_c: sp.log(v) - t, theta_0: sp.log(v) - t - w},
)

from_edge = push - edge
"""How far the fixed point lies beyond the clip edge, (λ−λ*)Δ."""

flow_time = sp.log(lam / (lam - lam_star))
passing = sp.And(p > b, from_edge > 0)
natural_time = sp.log(lam * gap / from_edge)
target = r"\theta_\lambda"


@cache
def natural_flow_derivation() -> Derivation:
    """Time to the edge and threshold of a finite budget under the natural-gradient flow.

    >>> natural_flow_derivation().check()
    22
    """
    student = theta_lam + (theta_0 - theta_lam) * sp.exp(-time)
    speed = (theta_lam - theta_0) * sp.exp(-time)
    moved = theta_0 + lam * Delta * (1 - sp.exp(-time))
    at_edge = theta_0 + lam_star * Delta
    threshold = lam_star / (1 - sp.exp(-time))
    falling = -lam_star * sp.exp(-time) / (1 - sp.exp(-time)) ** 2
    slope_in_time = r"\frac{\partial}{\partial s}\lambda^*(s)"
    return Derivation(
        "natural_flow",
        "Natural-gradient flow: the threshold of a finite budget",
        FLOW,
        (
            Step(
                r"Natural-gradient flow: the student's log-odds $\theta$ start at the base, $\theta_0=\mathrm{logit}(b)$, and move "
                r"towards the fixed point $\theta_\lambda=\mathrm{logit}(q_\lambda)$ with the velocity",
                Define(),
                theta_lam - theta,
                theta_lam - theta,
                name=r"\theta'",
            ),
            Step(
                r"Seen from the base the fixed point lies λ gaps away.",
                Rewrite("collect"),
                logit(p) + push,
                logit(b) + lam * gap,
                name=target,
                domain=POSITION,
            ),
            Step(
                r"The clip edge is the student whose tail is $(1-p)/c$.",
                Rewrite("expand"),
                logit(1 - (1 - p) / c),
                logit(p) + edge,
                name=r"\theta_c",
                domain=POSITION,
            ),
            Step(
                r"From the base it lies $\lambda^*$ gaps away.",
                Rewrite("collect"),
                logit(p) + edge,
                logit(b) + star * gap,
                name=r"\theta_c",
                domain=POSITION,
            ),
            Step(
                r"Under this flow the student after time $s$ is $\theta(s)=\theta_\lambda+(\theta_0-\theta_\lambda)e^{-s}$. Its velocity:",
                Differentiate(time),
                student,
                speed,
                name=r"\theta'(s)",
            ),
            Step(
                "That is the velocity which the natural-gradient flow asks for.",
                Substitute({theta: student}),
                theta_lam - theta,
                speed,
                name=r"\theta_\lambda-\theta(s)",
            ),
            Step("It starts at the base.", Substitute({time: sp.Integer(0)}), student, theta_0, name=r"\theta(0)"),
            Step(
                "The same in gaps from the base.",
                Substitute({theta_lam: theta_0 + lam * Delta}),
                student,
                moved,
                name=r"\theta(s)",
            ),
            Step(
                r"When the student is at a given place $\theta$ between base and fixed point.",
                Solve(time),
                sp.Eq(student, theta),
                sp.log((theta_lam - theta_0) / (theta_lam - theta)),
                name=r"s(\theta)",
                domain=PLACES,
            ),
            Step(
                "How the student under the natural-gradient flow depends on λ.",
                Differentiate(lam),
                moved,
                Delta * (1 - sp.exp(-time)),
                name=r"\frac{\partial}{\partial\lambda}\theta(s)",
            ),
            Step(
                "A larger λ takes it further in the same time, so the edge is crossed above one λ and not below.",
                Sign(">"),
                Delta * (1 - sp.exp(-time)),
                Delta * (1 - sp.exp(-time)),
                name=r"\frac{\partial}{\partial\lambda}\theta(s)",
            ),
            Step(
                r"The threshold of the budget $s$ under the natural-gradient flow is the λ whose student is at the edge just then.",
                Solve(lam),
                sp.Eq(moved, at_edge),
                threshold,
                name=r"\lambda^*(s)",
            ),
            Step("How it changes with the budget.", Differentiate(time), threshold, falling, name=slope_in_time),
            Step(
                "It falls: more natural-gradient time moves the cliff down.",
                Sign("<"),
                falling,
                falling,
                name=slope_in_time,
            ),
            Step(
                r"With an unlimited budget it is $\lambda^*$.",
                Limit(time, sp.oo, t, sp.oo),
                threshold,
                lam_star,
            ),
            Step(
                "With none no λ reaches the edge.",
                Limit(time, sp.Integer(0), t, sp.Integer(0)),
                threshold,
                sp.oo,
            ),
            Step(
                r"The natural-gradient time to the edge, for $\lambda>\lambda^*$.",
                Solve(time),
                sp.Eq(moved, at_edge),
                flow_time,
                name=r"s(\lambda)",
            ),
            Step("It is positive.", Sign(">"), flow_time, flow_time, name=r"s(\lambda)"),
            Step(
                r"It is endless at $\lambda^*$ itself.",
                Limit(lam, lam_star, z, sp.Integer(0)),
                flow_time,
                sp.oo,
            ),
            Step(
                "Its slope in λ.",
                Differentiate(lam),
                flow_time,
                -lam_star / (lam * (lam - lam_star)),
                name=r"s'(\lambda)",
            ),
            Step(
                "The stronger the extrapolation, the sooner the natural-gradient flow is at the edge.",
                Sign("<"),
                -lam_star / (lam * (lam - lam_star)),
                -lam_star / (lam * (lam - lam_star)),
                name=r"s'(\lambda)",
            ),
            Step(
                r"The natural-gradient flow crosses the edge at the speed $\Delta(\lambda-\lambda^*)$.",
                Substitute({theta: logit(p) + edge}),
                logit(p) + push - theta,
                gap * (lam - star),
                name=r"\theta'",
                domain=POSITION,
            ),
        ),
        {
            "budget_threshold": (
                r"\lambda^*(s)",
                sp.Piecewise((star / (1 - sp.exp(-time)), p > b), (sp.oo, True)),
            ),
            "time_to_edge": (r"s(\lambda)", sp.Piecewise((natural_time, passing), (sp.oo, True))),
            "trajectory": (r"\theta(s)", logit(b) + lam * gap * (1 - sp.exp(-time))),
            "time to a place": (r"s(\theta)", sp.log((theta_lam - theta_0) / (theta_lam - theta))),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", time: "3"},
        remarks=r"""A clip inside the update does nothing before the edge as long as the base is above $p/c$, so all of this holds with it and without it; $\theta(s)$
holds until $s=s(\lambda)$. The paper's Corollary 4.2 treats finite budgets; whether it does so for this flow is not known to us.""",
    )


@cache
def natural_steps_derivation() -> Derivation:
    """Natural gradient in discrete steps: how many stay within the edge, and the threshold after so many.

    >>> natural_steps_derivation().check()
    10
    """
    stepped = theta_lam + (theta_0 - theta_lam) * (1 - eta) ** steps
    left = lam * Delta * (1 - eta) ** steps
    count = -flow_time / sp.log(1 - eta)
    return Derivation(
        "natural_steps",
        "Natural gradient in discrete steps",
        FLOW,
        (
            Step(
                r"Steps $\theta\mapsto\theta+\eta(\theta_\lambda-\theta)$: after $N$ of them the student is "
                r"$\theta_N=\theta_\lambda+(\theta_0-\theta_\lambda)(1-\eta)^N$, because one more step multiplies the distance by $1-\eta$.",
                Substitute({theta: stepped}),
                theta + eta * (theta_lam - theta),
                theta_lam + (theta_0 - theta_lam) * (1 - eta) ** (steps + 1),
                name=r"\theta_{N+1}",
            ),
            Step("Before the first step it is the base.", Substitute({steps: sp.Integer(0)}), stepped, theta_0),
            Step(
                r"So $(1-\eta)^N$ takes the place of $e^{-s}$ in the threshold after $N$ natural-gradient steps.",
                Solve(lam),
                sp.Eq(theta_0 + lam * Delta * (1 - (1 - eta) ** steps), theta_0 + lam_star * Delta),
                lam_star / (1 - (1 - eta) ** steps),
                name=r"\lambda^*_N",
            ),
            Step(
                "How far the fixed point then still is.",
                Substitute({theta_lam: theta_0 + lam * Delta}),
                theta_lam - stepped,
                left,
                name=r"\theta_\lambda-\theta_N",
            ),
            Step(
                "Each step brings it nearer and none leaps over it, so the edge is passed once.",
                Sign(">"),
                left - left.subs(steps, steps + 1),
                lam * Delta * eta * (1 - eta) ** steps,
                name=r"\theta_{N+1}-\theta_N",
                domain=STEPPED,
            ),
            Step(
                r"The edge is reached, for $\lambda>\lambda^*$, when $(\lambda-\lambda^*)\Delta$ is left. Rounded down, that is the greatest "
                "whole number of steps that stay within the edge.",
                Solve(steps),
                sp.Eq(left, (lam - lam_star) * Delta),
                count,
                name=r"N(\lambda)",
            ),
            Step("It is positive.", Sign(">"), count, count, name=r"N(\lambda)"),
            Step(
                r"A full step, $\eta=1$, leaps from the base to the fixed point: if that lies beyond the edge, no step stays within.",
                Limit(eta, sp.Integer(1), v, sp.oo),
                count,
                sp.Integer(0),
            ),
            Step(
                r"For small steps $N$ of them take the time $\eta N$.",
                Limit(eta, sp.Integer(0), v, sp.Integer(0)),
                eta * count,
                flow_time,
            ),
            Step(
                r"Ever smaller steps $\eta=s/N$ give the natural-gradient flow.",
                Limit(steps, sp.oo, m, sp.oo),
                (1 - time / steps) ** steps,
                sp.exp(-time),
                domain=FINE,
            ),
        ),
        {
            "steps_to_edge": (
                r"\lfloor N(\lambda)\rfloor",
                sp.Piecewise((sp.floor(-natural_time / sp.log(1 - eta)), passing), (sp.oo, True)),
            ),
            "budget_threshold": (
                r"\lambda^*_N",
                sp.Piecewise((star / (1 - (1 - eta) ** steps), p > b), (sp.oo, True)),
            ),
        },
        module="dynamics",
        spot={p: "0.9", b: "0.7", c: "2", lam: "2", eta: "0.1"},
        remarks="Without a size of step, `budget_for` is the time to the edge itself.",
    )


@cache
def policy_gradient_derivation() -> Derivation:
    """The time to the clip edge under plain policy gradient, and what it says about the threshold of a budget.

    >>> policy_gradient_derivation().check()
    30
    """
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
        "Plain policy gradient: the time to the edge",
        GRADIENT,
        (
            Step(
                r"Plain policy gradient climbs the objective in the log-odds themselves. In them it is "
                r"$\theta_\lambda\sigma(\theta)$ plus the entropy of the student plus a constant, with "
                r"$\sigma(\theta)=\frac{1}{1+e^{-\theta}}$; the velocity is its slope, that of the natural-gradient flow times "
                r"$\sigma(\theta)(1-\sigma(\theta))$.",
                Differentiate(theta),
                objective,
                velocity,
                name=r"\theta'",
            ),
            Step(
                "How much longer policy gradient takes than the natural-gradient flow for the same small way.",
                Rewrite("expand"),
                1 / (modal * (1 - modal)),
                inverse_rate,
                name=cost,
            ),
            Step(
                r"In the distance $u=\theta_\lambda-\theta$ to the fixed point: the time that policy gradient takes per unit of distance.",
                Substitute({theta: theta_lam - u}),
                inverse_rate / (theta_lam - theta),
                integrand,
            ),
            Step(
                r"An antiderivative, with the exponential integrals $E_1$ and $\mathrm{Ei}$.",
                Differentiate(u),
                antiderivative,
                integrand,
            ),
            Step(
                r"Its difference is the policy-gradient time from the start $u_0=\theta_\lambda-\theta_0=\lambda\Delta$ to the edge "
                r"$u_c=\theta_\lambda-\theta_c=(\lambda-\lambda^*)\Delta$, for $\lambda>\lambda^*$; any other place between base and fixed "
                "point may stand for the edge.",
                Rewrite("collect"),
                antiderivative.subs(u, u_0) - antiderivative.subs(u, u_c),
                duration,
                name="T",
            ),
            Step("No distance takes no time.", Substitute({u_0: u_c}), duration, sp.Integer(0), name="T"),
            Step("How it changes with the start.", Differentiate(u_0), duration, at_start, name=in_u_0),
            Step("A start further out takes longer under policy gradient.", Sign(">"), at_start, at_start, name=in_u_0),
            Step("How it changes with the edge.", Differentiate(u_c), duration, at_edge, name=in_u_c),
            Step(
                "An edge further from the fixed point is reached sooner. By these signs and the value 0 above, the time is positive "
                r"for $u_0>u_c$.",
                Sign("<"),
                at_edge,
                at_edge,
                name=in_u_c,
            ),
            Step(
                "Where the distance is short the closed form cancels, and the integral is summed at nodes, a pole near the end taken off: "
                "what is left is smooth, and the pole has the integral of a logarithm.",
                Rewrite("take the pole off"),
                integrand - pole,
                regular,
            ),
            Step(
                r"All three of $\theta_\lambda$, $u_0$ and $u_c$ move with λ, while $\theta_0$ and $\theta_c$ stay. In these the "
                "policy-gradient time grows with the edge by",
                Differentiate(theta_c),
                in_log_odds,
                edge_rate / (theta_lam - theta_c),
                name=r"\frac{\partial T}{\partial\theta_c}",
                domain=ENDS,
            ),
            Step(
                "A fixed point further away makes every part of the way faster.",
                Differentiate(theta_lam),
                edge_rate / (theta_lam - theta_c),
                mixed,
                name=in_both,
                domain=ENDS,
            ),
            Step(
                r"This is negative, and at $\theta_c=\theta_0$ the time is 0 for every λ: so the policy-gradient time to the edge falls with "
                r"λ wherever $\lambda>\lambda^*$.",
                Sign("<"),
                mixed,
                mixed,
                name=in_both,
                domain=ENDS,
            ),
            Step(
                "How the inverse rate changes on the way.",
                Differentiate(theta),
                inverse_rate,
                sp.exp(theta) - sp.exp(-theta),
            ),
            Step(
                "It grows where the modal token has more than half of the mass.",
                Sign(">"),
                sp.exp(theta) - sp.exp(-theta),
                sp.exp(theta) - sp.exp(-theta),
                domain=RIGHT,
            ),
            Step(
                r"It is the same for $-u$ as for $u$. So between $\theta_0$ and $\theta_c$ it is greatest, $M$, at the end that is further "
                "from 0, and least, $m$, at the place that is nearest to 0.",
                Substitute({theta: -u}),
                inverse_rate,
                inverse_rate.subs(theta, u),
            ),
            Step(
                r"If 0 lies between the ends then $m=4$; policy gradient never has more than a quarter of the natural speed.",
                Substitute({theta: sp.Integer(0)}),
                inverse_rate,
                sp.Integer(4),
                name=cost,
            ),
            Step(
                "The value at the base.",
                Substitute({theta: logit(b)}),
                inverse_rate,
                start_rate,
                name=cost,
                domain=POSITION,
            ),
            Step(
                r"The value at the edge. If both ends lie on one side of 0, the smaller of these two is $m$; the larger is always $M$.",
                Substitute({theta: logit(p) + edge}),
                inverse_rate,
                final_rate,
                name=cost,
                domain=POSITION,
            ),
            Step(
                r"Hence $T-\rho\log\frac{u_0}{u_c}$, which is 0 at $u_0=u_c$, never falls as the start moves out if $\rho$ is $m$, and never "
                r"grows if $\rho$ is $M$: with $y=\log\frac{u_0}{u_c}$ it follows that $my\le T\le My$.",
                Differentiate(u_0),
                duration - rho * sp.log(u_0 / u_c),
                (2 + sp.exp(theta_lam - u_0) + sp.exp(u_0 - theta_lam) - rho) / u_0,
            ),
            Step(
                "$y$ is the time that the natural-gradient flow takes to the edge.",
                Substitute({u_0: lam * Delta, u_c: (lam - lam_star) * Delta}),
                sp.log(u_0 / u_c),
                flow_time,
                name="y",
            ),
            Step(
                r"The lower bound leaves every bound as λ comes down to $\lambda^*$: at the threshold itself no budget of policy gradient "
                "reaches the edge.",
                Limit(lam, lam_star, k, sp.Integer(0)),
                4 * flow_time,
                sp.oo,
            ),
            Step(
                r"The upper bound goes to 0 as λ grows. So $T$ falls from infinity to 0, and every policy-gradient budget $B$ has one threshold "
                r"$\lambda^*(B)$, the root of $T(\lambda)=B$.",
                Limit(lam, sp.oo, k, sp.oo),
                slowness * flow_time,
                sp.Integer(0),
            ),
            Step(
                r"Closed bracket: $\lambda^*(B)$ is at most the λ at which the upper bound is the budget, and at least the same with $m$ in the "
                "place of $M$.",
                Solve(lam),
                sp.Eq(slowness * flow_time, budget),
                lam_star / (1 - sp.exp(-budget / slowness)),
            ),
            Step(
                r"Both ends go to $\lambda^*$ as the budget grows: policy gradient and natural-gradient flow have the same cliff in the end.",
                Limit(budget, sp.oo, t, sp.oo),
                lam_star / (1 - sp.exp(-budget / slowness)),
                lam_star,
            ),
            Step(
                r"The root is sought in $y$, which lies between $B/M$ and $B/m$. With $D=\lambda^*\Delta$, the way from base to edge, the "
                "fixed point lies so far beyond the edge:",
                Solve(u_c),
                sp.Eq(sp.log((way + u_c) / u_c), natural),
                way / (sp.exp(natural) - 1),
                name="u_{c}",
            ),
            Step(
                r"How that changes with $y$.",
                Differentiate(natural),
                way / (sp.exp(natural) - 1),
                -way * sp.exp(natural) / (sp.exp(natural) - 1) ** 2,
                name=r"\frac{\partial u_c}{\partial y}",
            ),
            Step(
                r"And the time with $u_c$, while $\theta_0$ and $D$ stay: the product of both is the slope for Newton's method.",
                Differentiate(u_c),
                duration.subs(from_base, simultaneous=True),
                in_edge,
                name=r"\frac{\mathrm{d}T}{\mathrm{d}u_c}",
                domain=SOLVER,
            ),
            Step(
                r"Small steps of size $\eta$ follow the flow, and $N$ of them take the time $\eta N$. Rounded down, this is the number of "
                "steps that stay within the edge, in the limit of small steps.",
                Solve(steps),
                sp.Eq(eta * steps, duration_so_far),
                duration_so_far / eta,
                name="N",
            ),
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
        remarks=r"""The λ of the example is $1+1.1(\lambda^*-1)$. The exponentials overflow long before $T$ does: code has to use the scaled forms $e^uE_1(u)$ and $e^{-u}\mathrm{Ei}(u)$. Up to the edge
a clip inside the update does nothing, so $T$ is the same with it and without it.""",
    )
