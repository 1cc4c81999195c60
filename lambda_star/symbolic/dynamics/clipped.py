"""A finite training budget beyond the clip edge: the clipped flow, the time to collapse, and one sampled step."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.bernoulli import collapse, edge, push, star
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.dynamics.flows import eta, natural_time, theta
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, q, real, sigmoid

__all__ = ["clipped_flow_derivation", "collapse_time_derivation", "sampled_step_derivation"]

w, w_c, running, tail, until = positive(r"w w_c omega \tau T_c")
"""Surprise −log q of the modal token: now, at the clip edge, on the way; the tail mass to reach; the time to the edge."""

kappa, exponent = real("kappa z")
"""Surplus (λ−λ_c)Δ of the clipped flow; the logarithm of ω or of κ+ω."""

modal_advantage, tail_advantage, baseline, share = real(r"A_m A_\tau B k")
"""Advantages of modal token and tail, what is taken off both, and the modal share of a batch."""

modal_score, tail_score = real(r"g_m g_\tau")
information = sp.Symbol("F", positive=True)
"""The score of each outcome, and the Fisher information."""

modal_push, tail_push = real(r"s_m s_\tau")
"""The part of each advantage that does not depend on the student."""

g, h, m, n, r, t, u, v = positive("g h m n r t u v")
_above = u * (1 + v)
_teacher = _above / (1 + _above)
POSITION = Domain(
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
BETWEEN = Domain(
    r"0<b<p<1,\quad c>1,\quad \frac pc<q<1-\frac{1-p}{c}",
    {**POSITION.values, q: _inside.subs({p: _teacher, c: 1 + g})},
)
BEYOND = Domain(
    r"0<b<p<1,\quad c>1,\quad \theta>\theta_c",
    {**POSITION.values, theta: sp.log((g + p) / (1 - p) * (1 + r)).subs(p, _teacher)},
)
BELOW = Domain(
    r"0<b<p<1,\quad c>1,\quad \theta<\mathrm{logit}(\frac pc)",
    {**POSITION.values, theta: -sp.log(((1 + g) / p - 1) * (1 + r)).subs(p, _teacher)},
)
PHASE = Domain(
    r"0<w<w_c,\quad \kappa+w>0",
    {kappa: m - sp.log(1 + r), w: sp.log(1 + r), w_c: sp.log(1 + r) + t, until: g},
)
RESTING = Domain(r"\kappa<0,\quad w>-\kappa", {kappa: -sp.log(1 + h), w: sp.log(1 + h) + r})
COLLAPSING = Domain(r"\kappa>0,\quad w>0", {kappa: h, w: r})
QUADRATURE = Domain(
    r"\omega>0,\quad \kappa,z\in\mathbb{R},\quad \kappa+\omega>0", {kappa: m - h, running: h + r, exponent: u - v}
)
SAMPLE = Domain(
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
UNEQUAL = Domain(r"0<q<1,\quad A_m>A_\tau", {**SAMPLE.values, modal_advantage: m - n + g})

clip_edge = 1 - (1 - p) / c
modal_edge = p / c
free = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + push
tail_clipped = sp.log(p / q) - sp.log(c) + push
modal_clipped = sp.log(c) - sp.log((1 - p) / (1 - q)) + push
velocity = sp.Min(sp.log(p / q), sp.log(c)) - sp.Min(sp.log((1 - p) / (1 - q)), sp.log(c)) + push
"""A_c of the modal token less A_c of the tail."""


def _natural_cost(at: sp.Expr) -> sp.Expr:
    """Natural-gradient time per unit of w."""
    return 1 / ((1 - sp.exp(-at)) * (kappa + at))


def _policy_cost(at: sp.Expr) -> sp.Expr:
    """Policy-gradient time per unit of w."""
    return sp.exp(at) / ((1 - sp.exp(-at)) ** 2 * (kappa + at))


@cache
def clipped_flow_derivation() -> Derivation:
    """The velocity with the clip inside the update: continuous, with a kink where the clip starts and where it stops.

    >>> clipped_flow_derivation().check()
    20
    """
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
        "The clip inside the update: a velocity with two kinks",
        POSITION,
        (
            Step(
                r"The natural-gradient velocity is the advantage of the modal token less that of the tail, with "
                r"$A_c(a)=\min\left(\log\frac{\pi_T(a)}{\pi(a)},\log c\right)+(\lambda-1)\log\frac{\pi_T(a)}{\pi_B(a)}$. Plain policy "
                r"gradient has $q(1-q)$ times this.",
                Define(),
                velocity,
                velocity,
                name=r"\theta'",
            ),
            Step("The tail's ratio is the cap at", Solve(q), sp.Eq((1 - p) / (1 - q), c), clip_edge, name="q_c"),
            Step("That of the modal token is the cap at", Solve(q), sp.Eq(p / q, c), modal_edge),
            Step(
                "Between the two the clip does not touch the modal token.",
                Sign(">"),
                sp.log(c) - sp.log(p / q),
                sp.log(c * q / p),
                domain=BETWEEN,
            ),
            Step(
                "Nor does it touch the tail.",
                Sign(">"),
                sp.log(c) - sp.log((1 - p) / (1 - q)),
                sp.log(c * (1 - q) / (1 - p)),
                domain=BETWEEN,
            ),
            Step(
                r"So there it is the free velocity $\theta_\lambda-\theta$.",
                Substitute({q: sigmoid(theta)}),
                free,
                untouched,
                name=r"\theta'",
            ),
            Step(
                "With this velocity it arrives at the edge:",
                Substitute({theta: logit(p) + edge}),
                untouched,
                gap * (lam - star),
                name=at_clip,
            ),
            Step(
                r"Beyond the edge the tail is clipped, with the velocity $\log\frac{p}{c\sigma(\theta)}+(\lambda-1)\Delta$, where $\sigma$ is "
                "the logistic function. At the edge it is the same: the velocity is continuous.",
                Substitute({theta: logit(p) + edge}),
                in_log_odds,
                gap * (lam - star),
                name=at_clip,
            ),
            Step(
                "But its slope is not. Before the edge the velocity falls with the student by",
                Differentiate(theta),
                untouched,
                sp.Integer(-1),
                name=slope,
            ),
            Step(
                r"Beyond it, by the student's tail $1-\sigma(\theta)$ only.",
                Differentiate(theta),
                in_log_odds,
                -1 / (1 + sp.exp(theta)),
                name=slope,
            ),
            Step(
                r"At the edge that is $\frac{1-p}{c}$ in place of 1: **a kink**.",
                Substitute({theta: logit(p) + edge}),
                -1 / (1 + sp.exp(theta)),
                -(1 - p) / c,
                name=slope,
            ),
            Step(
                r"The slope jumps up. In time the acceleration jumps with it, from $-1$ to $-\frac{1-p}{c}$ times the velocity at the edge.",
                Sign(">"),
                -(1 - p) / c - (-1),
                (c - 1 + p) / c,
            ),
            Step(
                "How much faster the clipped flow is than the free natural-gradient flow beyond the edge.",
                Rewrite("subtract"),
                in_log_odds - untouched,
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
                r"The other kink, met by a student that starts below $\frac pc$, where the modal token is clipped. The velocity there, from above:",
                Substitute({theta: leave}),
                untouched,
                push + sp.log((c - p) / (1 - p)),
                name=at_modal,
            ),
            Step(
                "From below it is the same.",
                Substitute({theta: leave}),
                below,
                push + sp.log((c - p) / (1 - p)),
                name=at_modal,
            ),
            Step("The slope below it.", Differentiate(theta), below, -1 / (1 + sp.exp(-theta)), name=slope),
            Step(
                r"At the kink that is $-\frac pc$, in place of $-1$ above it.",
                Substitute({theta: leave}),
                -1 / (1 + sp.exp(-theta)),
                -p / c,
                name=slope,
            ),
            Step(
                "How much faster than the free flow the clipped one is below the kink.",
                Rewrite("subtract"),
                below - untouched,
                lacking,
                domain=BELOW,
            ),
            Step(
                "It is slower: the clip takes away a part of the force that pulls the student up.",
                Sign("<"),
                lacking,
                lacking,
                domain=BELOW,
            ),
        ),
        {
            "trajectory": (r"\theta'", velocity),
            "where the clip takes hold of the tail": (r"\theta_c", hold),
            "where the clip lets go of the modal token": (r"\mathrm{logit}\left(\frac pc\right)", leave),
        },
        module="dynamics",
        spot={p: "0.99", b: "0.9", c: "5", lam: "1.8", q: "0.9999"},
        remarks=r"""For plain policy gradient multiply by $q(1-q)$, which has no kink: its velocity is continuous as well, and its slope jumps by $q(1-q)$ times as
much at the same places. Because of the kinks each stretch between them is integrated on its own. A student whose base is above $\frac pc$ and whose λ
is above $\lambda^*$ meets only the first.""",
    )


@cache
def collapse_time_derivation() -> Derivation:
    """The time until the student's tail has fallen to a given mass.

    >>> collapse_time_derivation().check()
    29
    """
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
        "collapse_time",
        "Beyond the edge: the time to collapse",
        PHASE,
        (
            Step(
                r"Beyond the edge, for $\lambda>\lambda^*$, count in $w=-\log q$, which falls to 0 as the tail goes. The log-odds are "
                r"$-\log(e^w-1)$ and change with it by",
                Differentiate(w),
                -sp.log(sp.exp(w) - 1),
                -odds_change,
                name=r"\frac{\mathrm{d}\theta}{\mathrm{d}w}",
            ),
            Step(
                r"The clipped velocity in it is $\kappa+w$, with a surplus $\kappa$ that does not depend on the student.",
                Substitute({q: sp.exp(-w)}),
                tail_clipped,
                surplus + w,
                name=r"\theta'",
                domain=POSITION,
            ),
            Step(
                r"The surplus is measured from the collapse point $\lambda_c$.",
                Rewrite("collect"),
                surplus,
                gap * (lam - collapse),
                name=r"\kappa",
                domain=POSITION,
            ),
            Step(
                r"The surplus from the way $(\lambda-\lambda^*)\Delta$ between edge and fixed point: no digits are lost near $\lambda^*$.",
                Rewrite("collect"),
                surplus,
                (lam - star) * gap + sp.log(clip_edge),
                name=r"\kappa",
                domain=POSITION,
            ),
            Step(
                "The clipped phase starts at the edge.",
                Substitute({q: clip_edge}),
                -sp.log(q),
                start,
                name="w_c",
                domain=POSITION,
            ),
            Step(
                r"There the velocity is positive for $\lambda>\lambda^*$.",
                Rewrite("insert"),
                surplus + start,
                gap * (lam - star),
                name=r"\kappa+w_c",
                domain=POSITION,
            ),
            Step(
                r"It ends where the tail is $\tau$.",
                Substitute({q: 1 - tail}),
                -sp.log(q),
                end,
                name="w",
                domain=POSITION,
            ),
            Step(
                "So the time per unit of $w$ is, under natural gradient,",
                Rewrite("divide"),
                odds_change / drift,
                _natural_cost(w),
            ),
            Step(
                "Under plain policy gradient, which has $q(1-q)$ times the velocity, it is",
                Substitute({q: sp.exp(-w)}),
                _natural_cost(w) / (q * (1 - q)),
                _policy_cost(w),
            ),
            Step(
                "The time since the start: that of the edge, $T_c$, at $w=w_c$.",
                Substitute({w: w_c}),
                since,
                until,
            ),
            Step(
                "It changes with its end by the time per unit.",
                Differentiate(w),
                since,
                -_natural_cost(w),
                name=time_slope,
            ),
            Step(
                "It grows as $w$ falls.",
                Sign("<"),
                -_natural_cost(w),
                -_natural_cost(w),
                name=time_slope,
            ),
            Step("The same under policy gradient.", Substitute({w: w_c}), since_policy, until),
            Step("Its slope.", Differentiate(w), since_policy, -_policy_cost(w), name=time_slope),
            Step("It has the same sign.", Sign("<"), -_policy_cost(w), -_policy_cost(w), name=time_slope),
            Step(
                "Where it ends: the velocity vanishes at one place.",
                Solve(w),
                sp.Eq(drift, 0),
                -kappa,
                name="w",
            ),
            Step(
                r"That is the student $q=e^\kappa$, the saturated one of [one position](bernoulli.md).",
                Substitute({kappa: surplus}),
                at_rest,
                p / c * sp.exp(push),
                name=r"e^\kappa",
                domain=POSITION,
            ),
            Step(
                r"For $\kappa<0$ this student exists.",
                Sign(">"),
                1 - at_rest,
                1 - at_rest,
                name=r"1-e^\kappa",
                domain=RESTING,
            ),
            Step(
                r"It is never reached: near it the time per unit of $w$ is a finite number over the distance $\kappa+w$, whose integral is a "
                "logarithm without bound. Under natural gradient the number is",
                Limit(w, -kappa, r, sp.Integer(0)),
                drift * _natural_cost(w),
                1 / (1 - at_rest),
                domain=RESTING,
            ),
            Step(
                "Under policy gradient:",
                Limit(w, -kappa, r, sp.Integer(0)),
                drift * _policy_cost(w),
                1 / (at_rest * (1 - at_rest) ** 2),
                domain=RESTING,
            ),
            Step(
                r"For $\kappa>0$ nothing holds the student, nor for $\kappa=0$, where the velocity is $w$.",
                Sign(">"),
                drift,
                drift,
                name=r"\kappa+w",
                domain=COLLAPSING,
            ),
            Step(
                r"Its late velocity under natural gradient: the log-odds grow by $\Delta(\lambda-\lambda_c)$ per unit of time.",
                Limit(w, sp.Integer(0), r, sp.Integer(0)),
                drift,
                kappa,
                domain=COLLAPSING,
            ),
            Step(
                r"So a tail that is $e$ times smaller takes $\frac1\kappa$ longer.",
                Limit(w, sp.Integer(0), r, sp.Integer(0)),
                w * _natural_cost(w),
                1 / kappa,
                domain=COLLAPSING,
            ),
            Step(
                r"At the collapse point itself, $\kappa=0$, the time grows like $\frac1w$, and so like one over the tail.",
                Limit(w, sp.Integer(0), r, sp.Integer(0)),
                w**2 * _natural_cost(w).subs(kappa, 0),
                sp.Integer(1),
                domain=COLLAPSING,
            ),
            Step(
                r"Under policy gradient it is not the log-odds that grow evenly but the odds $\frac{q}{1-q}=\frac{1}{e^w-1}$: they change by",
                Rewrite("chain rule"),
                1 / (sp.exp(w) - 1) * sp.exp(-w) * kept * drift,
                odds_speed,
                domain=COLLAPSING,
            ),
            Step(
                r"That goes to $\kappa$.",
                Limit(w, sp.Integer(0), r, sp.Integer(0)),
                odds_speed,
                kappa,
                domain=COLLAPSING,
            ),
            Step(
                r"So the time to a small tail $\tau$ grows like $\frac{1}{\kappa\tau}$.",
                Limit(w, sp.Integer(0), r, sp.Integer(0)),
                w**2 * _policy_cost(w),
                1 / kappa,
                domain=COLLAPSING,
            ),
            Step(
                r"For the quadrature, where $\kappa\ge0$: $\omega=e^z$ makes every power of a small $\omega$ smooth in $z$. Time per unit of $z$:",
                Substitute({running: sp.exp(exponent)}),
                running * natural,
                sp.exp(exponent) * _natural_cost(sp.exp(exponent)),
                domain=QUADRATURE,
            ),
            Step(
                r"Where $\kappa<0$: with $\kappa+\omega=e^z$ it stays finite towards the rest.",
                Substitute({running: sp.exp(exponent) - kappa}),
                (kappa + running) * natural,
                1 / (1 - sp.exp(kappa - sp.exp(exponent))),
                domain=QUADRATURE,
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
        remarks=r"""The first result is for natural gradient, the second for plain policy gradient with its time $T_c$ to the edge. Both are for $\lambda>\lambda^*$ and a tail that
is smaller than at the edge, $\tau<\frac{1-p}{c}$. A larger tail is reached in the free phase, with its place $\log\frac{1-\tau}{\tau}$ in that of the edge. The
integrals have no closed form.""",
    )


@cache
def sampled_step_derivation() -> Derivation:
    """Mean and noise of one sampled step.

    >>> sampled_step_derivation().check()
    19
    """
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
        "A sampled step: its mean and its noise",
        SAMPLE,
        (
            Step(
                r"The student draws the modal token with the probability $q=\sigma(\theta)=\frac{1}{1+e^{-\theta}}$. The score "
                "of the modal token:",
                Differentiate(theta),
                sp.log(modal),
                1 - modal,
            ),
            Step("That of the tail.", Differentiate(theta), sp.log(1 - modal), -modal),
            Step(
                r"Their mean $qg_m+(1-q)g_\tau$ is 0.",
                Substitute({modal_score: 1 - q, tail_score: -q}),
                q * modal_score + (1 - q) * tail_score,
                sp.Integer(0),
            ),
            Step(
                r"The mean of its square is the Fisher information, by which natural gradient divides.",
                Rewrite("average"),
                q * (1 - q) ** 2 + (1 - q) * q**2,
                fisher,
                name="F",
            ),
            Step(
                r"A sample gives the estimate $X$, advantage times score. Its mean:",
                Rewrite("average"),
                expected(plain),
                fisher * gain,
                name=of_mean,
            ),
            Step(
                "That is the slope of the mean advantage, with the advantages $A_m$ of the modal token and $A_\\tau$ of the tail held fixed.",
                Differentiate(theta),
                held,
                modal * (1 - modal) * gain,
            ),
            Step(
                r"Advantages depend on the student by $-\log\pi$. Without a clip the slope of the whole objective is the same, since the score "
                r"has the mean 0; $s_m$ and $s_\tau$ are the parts that do not depend on the student.",
                Differentiate(theta),
                whole,
                modal * (1 - modal) * untouched,
            ),
            Step(
                r"Where the tail is clipped, $A_\tau=s_\tau$, it is not: whoever differentiates through the advantage finds $q(1-q)$ less "
                r"than $q(1-q)(A_m-A_\tau)$. The flow of these pages, and the sampled step, hold the advantages fixed.",
                Differentiate(theta),
                capped,
                modal * (1 - modal) * (modal_push - sp.log(modal) - tail_push - 1),
            ),
            Step(
                "A baseline $B$, taken off both advantages, leaves the mean as it is.",
                Rewrite("average"),
                expected(based),
                fisher * gain,
                name=of_mean,
            ),
            Step(
                r"A batch whose modal share is $k$ has the estimate $k(A_m-B)(1-q)-(1-k)(A_\tau-B)q$. It is linear in $k$, whose mean is $q$:",
                Substitute({share: q}),
                batch,
                fisher * gain,
            ),
            Step(
                r"Divided by the Fisher information: the natural-gradient velocity, $\theta'=A_m-A_\tau$. The mean of a step is an Euler step of "
                "the flow.",
                Substitute({information: fisher}),
                fisher * gain / information,
                gain,
                name=r"\frac{\mathrm{E}[X]}{F}",
            ),
            Step(
                "The noise: the variance of the estimate of one sample; of $n$ samples it is the $n$-th part.",
                Rewrite("factor"),
                variance(sp.Integer(0)),
                fisher * other**2,
                name=of_noise,
            ),
            Step(
                "With a baseline:",
                Rewrite("factor"),
                variance(baseline),
                fisher * (other - baseline) ** 2,
                name=of_noise,
            ),
            Step(
                "With the mean advantage as baseline:",
                Substitute({baseline: mean}),
                fisher * (other - baseline) ** 2,
                noise,
                name=of_noise,
            ),
            Step(
                r"It vanishes where the advantages agree, at the fixed point, while without a baseline there is $q(1-q)A_m^2$ left. How much the "
                "baseline takes off in general, with $\\bar A$ the mean advantage:",
                Rewrite("factor"),
                fisher * other**2 - noise,
                fisher * mean * (2 * other - mean),
            ),
            Step(
                r"That need not be positive. Two outcomes have one baseline without any noise, the advantages weighted with each other's "
                "probability.",
                Solve(baseline),
                sp.Eq(other - baseline, 0),
                other,
                name="B",
            ),
            Step(
                "The noise of natural gradient, with the mean advantage as baseline.",
                Substitute({information: fisher}),
                noise / information**2,
                natural_noise,
                name=r"\mathrm{Var}[\tfrac{X}{F}]",
            ),
            Step(
                r"It grows without bound as the tail goes while the advantages differ, as they do to the end above $\lambda_c$;",
                Limit(q, sp.Integer(1), u, sp.oo),
                natural_noise,
                sp.oo,
                domain=UNEQUAL,
            ),
            Step(
                "that of plain policy gradient goes with the tail.",
                Limit(q, sp.Integer(1), u, sp.oo),
                noise,
                sp.Integer(0),
                domain=UNEQUAL,
            ),
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
        remarks=r"""The first result is the mean of a step of natural gradient from the student $q$, with a baseline and without; the velocity of the clipped flow stands
in it. A step of natural gradient from $n$ samples has the variance $\eta^2\mathrm{Var}[X]/(nq^2(1-q)^2)$, one of plain policy gradient
$\eta^2\mathrm{Var}[X]/n$.""",
    )
