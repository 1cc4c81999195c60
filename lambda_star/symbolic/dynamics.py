"""A finite training budget: when the student reaches the clip edge, under the natural-gradient flow and under plain policy gradient."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.bernoulli import edge, push, star
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.domain import Domain
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import Delta, b, c, gap, lam, lam_star, logit, p, positive, real, sigmoid

__all__ = ["natural_flow_derivation", "policy_gradient_derivation"]

theta, theta_0, theta_c, theta_lam = real("theta theta_0 theta_c theta_lambda")
"""Log-odds of the student: now, at the start, at the clip edge, at the fixed point."""

time, eta, steps = positive("s eta N")
"""Natural-gradient time; size and number of discrete steps."""

u, u_0, u_c = positive("u u_0 u_c")
"""Distance to the fixed point: on the way, at the start, at the clip edge."""

budget, slowness = positive("B M")
"""Policy-gradient time that is spent; the largest inverse rate between start and edge."""

h, k, m, r, t, v, w, z = positive("h k m r t v w z")
_above = v * (1 + k)
POSITION = Domain(
    r"0<b<p<1,\quad c>1",
    {b: v / (1 + v), p: _above / (1 + _above), c: 1 + w, lam: z - m, theta: sp.log(r)},
)
BEYOND = Domain(
    r"0<b<p<1,\quad c>1,\quad \theta>\theta_c",
    {**POSITION.values, theta: sp.log((w + p) / (1 - p) * (1 + r)).subs(p, _above / (1 + _above))},
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
        budget: h * sp.log(1 + t),
    },
)
ENDS = Domain(
    r"\theta_0<\theta_c<\theta_\lambda",
    {theta_lam: sp.log(v), theta_c: sp.log(v) - t, theta_0: sp.log(v) - t - w},
)

from_edge = push - edge
"""How far the fixed point lies beyond the clip edge, (λ−λ*)Δ."""


@cache
def natural_flow_derivation() -> Derivation:
    """The threshold of a finite budget under the natural-gradient flow.

    >>> natural_flow_derivation().check()
    28
    """
    student = theta_lam + (theta_0 - theta_lam) * sp.exp(-time)
    stepped = theta_lam + (theta_0 - theta_lam) * (1 - eta) ** steps
    speed = (theta_lam - theta_0) * sp.exp(-time)
    moved = theta_0 + lam * Delta * (1 - sp.exp(-time))
    at_edge = theta_0 + lam_star * Delta
    threshold = lam_star / (1 - sp.exp(-time))
    falling = -lam_star * sp.exp(-time) / (1 - sp.exp(-time)) ** 2
    needed = sp.log(lam / (lam - lam_star))
    clipped = sp.log(p / c) - sp.log(sigmoid(theta)) + push
    free = logit(p) + push - theta
    excess = sp.log((1 - p) * (1 + sp.exp(theta)) / c)
    target = r"\theta_\lambda"
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
            Step(
                "How it changes with the budget.",
                Differentiate(time),
                threshold,
                falling,
                name=slope_in_time,
            ),
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
                needed,
                name=r"s(\lambda)",
            ),
            Step("It is positive.", Sign(">"), needed, needed, name=r"s(\lambda)"),
            Step(
                "Its slope in λ.",
                Differentiate(lam),
                needed,
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
                free,
                gap * (lam - star),
                name=r"\theta'",
                domain=POSITION,
            ),
            Step(
                r"A clip inside the update does nothing before the edge, so all of this holds with it and without it. Beyond the edge the "
                r"clipped flow has the velocity $\log\frac{p}{c\sigma(\theta)}+(\lambda-1)\Delta$, with $\sigma$ the logistic function; at the "
                "edge it is the same speed.",
                Substitute({theta: logit(p) + edge}),
                clipped,
                gap * (lam - star),
                name=r"\theta'",
                domain=POSITION,
            ),
            Step(
                "How much faster the clipped flow is than the free natural-gradient flow beyond the edge.",
                Rewrite("subtract"),
                clipped - free,
                excess,
                domain=BEYOND,
            ),
            Step(
                "It is faster everywhere beyond the edge: the clip takes away a part of the force that pulls the student back.",
                Sign(">"),
                excess,
                excess,
                domain=BEYOND,
            ),
            Step(
                r"Natural gradient in discrete steps $\theta\mapsto\theta+\eta(\theta_\lambda-\theta)$: after $N$ of them the student is "
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
                sp.Eq(theta_0 + lam * Delta * (1 - (1 - eta) ** steps), at_edge),
                lam_star / (1 - (1 - eta) ** steps),
                name=r"\lambda^*_N",
            ),
            Step(
                r"The steps to the edge, for $\lambda>\lambda^*$, to be rounded up.",
                Solve(steps),
                sp.Eq((1 - eta) ** steps, 1 - lam_star / lam),
                -needed / sp.log(1 - eta),
                name=r"N(\lambda)",
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
            "threshold after a time": (
                r"\lambda^*(s)",
                sp.Piecewise((star / (1 - sp.exp(-time)), p > b), (sp.oo, True)),
            ),
            "threshold after a number of steps": (
                r"\lambda^*_N",
                sp.Piecewise((star / (1 - (1 - eta) ** steps), p > b), (sp.oo, True)),
            ),
            "time to the edge": (
                r"s(\lambda)",
                sp.Piecewise((sp.log(lam * gap / from_edge), sp.And(p > b, from_edge > 0)), (sp.oo, True)),
            ),
            "student after a time": (r"\theta(s)", logit(b) + lam * gap * (1 - sp.exp(-time))),
        },
        module="",
        spot={p: "0.9", b: "0.7", c: "2", time: "3"},
        remarks=r"""Time is natural-gradient time: with steps of size $\eta$ it is $\eta N$ as long as $\eta$ is small. The paper's Corollary 4.2 treats finite
budgets; whether it does so for this flow is not known to us.""",
    )


@cache
def policy_gradient_derivation() -> Derivation:
    """The time to the clip edge under plain policy gradient, and what it says about the threshold of a budget.

    >>> policy_gradient_derivation().check()
    24
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
    half = (theta_lam - u_0) / 2
    flow_time = sp.log(lam / (lam - lam_star))
    convex = sp.exp(theta) + sp.exp(-theta)
    start_rate, final_rate = 1 / (b * (1 - b)), c**2 / ((1 - p) * (c - 1 + p))
    crossing = sp.And(p > b, from_edge > 0)
    in_position = {theta_lam: logit(b) + lam * gap, u_0: lam * gap, u_c: from_edge}
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
                r"$u_c=\theta_\lambda-\theta_c=(\lambda-\lambda^*)\Delta$, for $\lambda>\lambda^*$.",
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
                "Policy gradient has at most a quarter of the speed of the natural-gradient flow: a square is not negative.",
                Rewrite("complete the square"),
                inverse_rate - 4,
                (sp.exp(theta / 2) - sp.exp(-theta / 2)) ** 2,
                name=cost + "-4",
            ),
            Step(
                r"Hence $T-4\log\frac{u_0}{u_c}$, which is 0 at $u_0=u_c$, never falls as the start moves out, and "
                r"$T\ge4\log\frac{u_0}{u_c}$.",
                Differentiate(u_0),
                duration - 4 * sp.log(u_0 / u_c),
                (sp.exp(half) - sp.exp(-half)) ** 2 / u_0,
            ),
            Step(
                "The bound in λ: four times the time of the natural-gradient flow.",
                Substitute({u_0: lam * Delta, u_c: (lam - lam_star) * Delta}),
                4 * sp.log(u_0 / u_c),
                4 * flow_time,
            ),
            Step(
                r"It leaves every bound as λ comes down to $\lambda^*$: at the threshold itself no budget of policy gradient reaches the edge.",
                Limit(lam, lam_star, k, sp.Integer(0)),
                4 * flow_time,
                sp.oo,
            ),
            Step(
                "In the other direction: the second derivative of the inverse rate.",
                Differentiate(theta),
                sp.diff(inverse_rate, theta),
                convex,
            ),
            Step(
                r"The inverse rate is convex, so between $\theta_0$ and $\theta_c$ it is at most its larger value at these two, called $M$, "
                r"and the policy-gradient time is $T\le M\log\frac{\lambda}{\lambda-\lambda^*}$.",
                Sign(">"),
                convex,
                convex,
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
                r"The value at the edge; $M$ is the larger of the two.",
                Substitute({theta: logit(p) + edge}),
                inverse_rate,
                final_rate,
                name=cost,
                domain=POSITION,
            ),
            Step(
                r"The upper bound goes to 0 as λ grows. So $T$ falls from infinity to 0, and every policy-gradient budget $B$ has one threshold "
                r"$\lambda^*(B)$, the root of $T(\lambda)=B$.",
                Limit(lam, sp.oo, k, sp.oo),
                slowness * flow_time,
                sp.Integer(0),
            ),
            Step(
                r"Bracket: $\lambda^*(B)$ is at most the λ at which the upper bound is the budget, and at least the same with 4 in the place "
                "of $M$.",
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
        ),
        {
            "time to the edge": (
                r"T(\lambda)",
                sp.Piecewise((duration.subs(in_position, simultaneous=True), crossing), (sp.oo, True)),
            ),
            "lower bound of the threshold": (
                r"\lambda_{\mathrm{low}}(B)",
                sp.Piecewise((star / (1 - sp.exp(-budget / 4)), p > b), (sp.oo, True)),
            ),
            "upper bound of the threshold": (
                r"\lambda_{\mathrm{high}}(B)",
                sp.Piecewise((star / (1 - sp.exp(-budget / sp.Max(start_rate, final_rate))), p > b), (sp.oo, True)),
            ),
        },
        module="",
        spot={p: "0.9", b: "0.7", c: "2", lam: "1.6088744164356636"},
        remarks=r"""The λ of the example is $1+1.1(\lambda^*-1)$. The exponentials overflow long before $T$ does: code has to use the scaled forms $e^uE_1(u)$ and $e^{-u}\mathrm{Ei}(u)$. Up to the edge
a clip inside the update does nothing, so $T$ is the same with it and without it.""",
    )
