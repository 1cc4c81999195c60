"""K tokens: the derivations of what ``lambda_star.categorical`` evaluates token by token.

Bounds on the threshold are in :mod:`lambda_star.symbolic.categorical.bounds`, classes and unlisted tokens in
:mod:`lambda_star.symbolic.categorical.parts`, and the stationary student in
:mod:`lambda_star.symbolic.categorical.student`.
"""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation
from lambda_star.symbolic.places import AHEAD
from lambda_star.symbolic.regions import above, below, between, free, let, note, rising, shares
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, gap, lam, logit, p, positive, real

__all__ = ["distances", "ratio", "token_flip"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
t = positive("t_1:4")
base = positive("b_1:4")
r = real("r_1:4")
"""The probabilities of three tokens under teacher and base, and their log-ratios."""

t_i, b_i, q_i = positive("t_i b_i q_i")
r_i, r_j, r_min = real(r"r_i r_j r_{\min}")
"""The same for one token out of any number, and the least log-ratio of all."""

A, D, mean, deviation = real(r"A D_{\lambda} \mu \sigma")
total, extra, other = positive("N n n_1")
first, second, shift = real("N_1 N_2 h")
"""The weights of some tokens, of one more and of another; the moments of the log-ratios; a step in λ."""

alpha = sp.Symbol("alpha", positive=True)
"""The order of a Rényi divergence."""

t_j, t_k, t_m = positive("t_j t_k t_m")
b_j, b_k, b_m = positive("b_j b_k b_m")
r_k, r_m, lead = real("r_k r_m delta_T")
"""The modal token m, another token k, and the lead of m over k in log-probability under the teacher."""

factor, other_factor = positive("sigma tau")

three = note("K=3")
THREE = assume(three, above(0, *t, *base, each=True), free(lam))
ORDERED = assume(three, shares(*t), below(r[0], 0), above(r[0], r[1], r[2]), above(1, lam))
TOKEN = assume(
    above(0, t_i, b_i, q_i, each=True),
    free(A, log=1),
    let(r_i, sp.log(t_i / b_i), r"r_i=\log\frac{t_i}{b_i}"),
    above(1, lam),
)
TOKENS = assume(free(A), rising(r_i, r_j), free(D, r_min), above(1, lam))
MIXTURE = assume(above(0, total, extra, each=True), free(mean, deviation, r_i))
MOMENTS = assume(above(0, total), free(first, second), above(0, shift))
EXCESS = assume(above(0, total, extra, other, each=True), rising(r_min, r_i), above(total * r_min, first))
NEAR_ONE = assume(three, shares(*t), rising(*r), above(1, alpha))
RANGE = assume(three, shares(*t), above(1, lam), rising(*r, log=lam - 1))
SCALED = assume(above(0, t_i, t_j, b_i, b_j, factor, other_factor, each=True), free(A, log=1), free(lam))
LEAD = assume(above(0, lead), rising(r_m, r_k), above(1, lam))
BEHIND_M = assume(above(0, lead), rising(r_k, r_m), above(1, lam))
LEADS = assume(above(0, t_k, t_m, b_k, b_m, each=True), free(lam))
MODAL = assume(between(sp.Rational(1, 2), p, b, 1))

weights = [weight * sp.exp((lam - 1) * log_ratio) for weight, log_ratio in zip(t, r, strict=True)]
partition = sp.log(sum(teacher**lam * other ** (1 - lam) for teacher, other in zip(t, base, strict=True)))
"""A(λ) for three tokens."""

partition_by_ratio = sp.log(sum(weights))
"""A(λ) for three tokens, written with log-ratios."""

information = sum(teacher * log_ratio for teacher, log_ratio in zip(t, r, strict=True))
fixed = lam * sp.log(t_i) + (1 - lam) * sp.log(b_i) - A
token_ratio = sp.exp(A - (lam - 1) * r_i)


@derivation
def ratio() -> Derivation:
    """Derive how many times smaller a token is under the fixed point than under the teacher, and which token binds."""
    height = t_i**lam * b_i ** (1 - lam)
    written = t_i * sp.exp((lam - 1) * sp.log(t_i / b_i))
    shifted = sp.log(total + first * shift + second * shift**2 / 2)
    slope = (first + second * shift) / (total + first * shift + second * shift**2 / 2)
    curve = second / (total + first * shift + second * shift**2 / 2) - slope**2
    moments = {total: total + extra, first: total * mean + extra * r_i}
    moments[second] = total * (deviation**2 + mean**2) + extra * r_i**2
    joined = total * deviation**2 / (total + extra) + total * extra * (r_i - mean) ** 2 / (total + extra) ** 2
    by_ratio = {log_ratio: sp.log(one / other) for log_ratio, one, other in zip(r, t, base, strict=True)}
    solved = sp.Eq((lam - 1) * (D - r_min), sp.log(c))
    now = {shift: sp.Integer(0)}
    return Derivation(
        "ratio",
        TOKEN,
        (
            Step(Rewrite(), height, written, r"h_i"),
            Step(
                Rewrite("collect"),
                q_i * (lam * sp.log(t_i) - sp.log(q_i) - (lam - 1) * sp.log(b_i)),
                q_i * A - q_i * sp.log(q_i / (height / sp.exp(A))),
            ),
            Step(Rewrite("expand"), sp.log(height / sp.exp(A)), fixed, r"\log\pi_\lambda(i)"),
            Step(Substitute({q_i: height / sp.exp(A)}), t_i / q_i, token_ratio, r"R_i(\lambda)"),
            Step(Substitute(by_ratio), partition_by_ratio, partition, r"A(\lambda)", THREE),
            Step(Substitute({lam: sp.Integer(1)}), written, t_i),
            Step(
                Sign(">"),
                (A - (lam - 1) * r_i) - (A - (lam - 1) * r_j),
                (lam - 1) * (r_j - r_i),
                r"\log R_i-\log R_j",
                TOKENS,
            ),
            Step(Differentiate(shift), shifted, slope, "", MOMENTS),
            Step(Differentiate(shift), slope, curve, "", MOMENTS),
            Step(Substitute(now), slope, first / total, r"A'(\lambda)", MOMENTS),
            Step(Substitute(now), curve, second / total - (first / total) ** 2, r"A''(\lambda)", MOMENTS),
            Step(
                Substitute({total: extra, first: extra * r_i, second: extra * r_i**2}),
                second / total - (first / total) ** 2,
                sp.Integer(0),
                "V_1",
                MIXTURE,
            ),
            Step(Substitute(moments), second / total - (first / total) ** 2, joined, "V_{K+1}", MIXTURE, sign=r"\ge"),
            Step(
                Substitute({total: other + extra, first: other * r_min + extra * r_i}),
                first - total * r_min,
                extra * (r_i - r_min),
                "E_2",
                EXCESS,
                sign=">",
            ),
            Step(
                Substitute({total: total + extra, first: first + extra * r_i}),
                first - total * r_min,
                (first - total * r_min) + extra * (r_i - r_min),
                "E_{K+1}",
                EXCESS,
                sign=">",
            ),
            Step(
                Substitute({A: (lam - 1) * D}),
                sp.Eq(A - (lam - 1) * r_min, sp.log(c)),
                solved,
                r"\lambda^*_{\mathrm{token}}",
                TOKENS.use(above(1, c)),
            ),
        ),
        {
            "ratio": (r"R_i(\lambda)", token_ratio),
            "fixed_point": (r"\log\pi_\lambda(i)", fixed),
            "log-partition": (r"A(\lambda)", partition),
            "threshold": (r"\lambda^*_{\mathrm{token}}", solved),
        },
        module="categorical",
        given={
            "h_i": height,
            "J_i": q_i * (lam * sp.log(t_i) - sp.log(q_i) - (lam - 1) * sp.log(b_i)),
            r"\frac{t_i}{q_i}": t_i / q_i,
            r"\log R_i": A - (lam - 1) * r_i,
            r"A_3(\lambda)": partition_by_ratio,
            r"A(\lambda+h)": shifted,
            "E": first - total * r_min,
            r"\log R_{\mathrm{bind}}=\log c": sp.Eq(A - (lam - 1) * r_min, sp.log(c)),
        },
    )


@derivation
def distances() -> Derivation:
    """Derive what Rényi's divergence and Hilbert's distance say about the binding ratio."""
    renyi = sp.log(sum(weights)).subs(lam, alpha) / (alpha - 1)
    by_ratio = {log_ratio: sp.log(one / other) for log_ratio, one, other in zip(r, t, base, strict=True)}
    written = partition.subs(lam, alpha) / (alpha - 1)
    leibler = sum(teacher * sp.log(teacher / other) for teacher, other in zip(t, base, strict=True))
    whole = sp.Piecewise((written, sp.Ne(alpha, 1)), (leibler, True))
    beyond, before_one = (
        assume(three, above(0, *t, *base, each=True), part) for part in (above(1, alpha), between(0, alpha, 1))
    )
    difference = sp.log(t_i / b_i) - sp.log(t_j / b_j)
    moved = lam * sp.log(t_i) + (1 - lam) * sp.log(b_i) - A - sp.log(t_i)
    apart = sp.Max(*(one - other for one in r for other in r if one is not other))
    scaled = {t_i: factor * t_i, t_j: factor * t_j, b_i: other_factor * b_i, b_j: other_factor * b_j}
    return Derivation(
        "distances",
        NEAR_ONE,
        (
            Step(Substitute(by_ratio), renyi, written, r"D_\alpha", beyond),
            Step(Substitute(by_ratio), renyi, written, r"D_\alpha", before_one),
            Step(Limit(alpha, sp.Integer(1)), renyi, information, "D_1"),
            Step(Substitute(by_ratio), information, leibler, "D_1", beyond),
            Step(Join((beyond, before_one)), sp.Tuple(written, written), whole, r"D_\alpha", beyond),
            Step(Rewrite("compare"), apart, sp.Max(*r) - sp.Min(*r), "d"),
            Step(Rewrite("cancel"), difference.subs(scaled, simultaneous=True), difference, "r_i-r_j", SCALED),
            Step(
                Rewrite("collect"),
                moved - moved.subs({t_i: t_j, b_i: b_j}, simultaneous=True),
                (lam - 1) * difference,
                r"\log\frac{\pi_\lambda(i)}{t_i}-\log\frac{\pi_\lambda(j)}{t_j}",
                SCALED,
            ),
            Step(
                Sign(">"),
                t_i * sp.exp((lam - 1) * r_j) - t_i * sp.exp((lam - 1) * r_i),
                t_i * sp.exp((lam - 1) * r_i) * (sp.exp((lam - 1) * (r_j - r_i)) - 1),
                "",
                TOKENS.use(above(0, t_i)),
            ),
            Step(Rewrite("collect"), sp.log(p / b) - sp.log((1 - p) / (1 - b)), gap, "d", AHEAD),
        ),
        {"renyi": (r"D_\alpha", whole), "hilbert_distance": ("d", sp.Max(*r) - sp.Min(*r))},
        module="categorical",
        given={
            r"D_\alpha": renyi,
            "d": apart,
            r"(r_i-r_j)_{\sigma,\tau}": difference.subs(scaled, simultaneous=True),
            r"\log\frac{\pi_\lambda(i)}{t_i}": moved,
            "w_i": t_i * sp.exp((lam - 1) * r_i),
            "r_m-r_\\tau": sp.log(p / b) - sp.log((1 - p) / (1 - b)),
        },
    )


@derivation
def token_flip() -> Derivation:
    """Derive the λ at which another of K tokens overtakes the modal token."""
    leading = lead - (lam - 1) * (r_k - r_m)
    flip = 1 + lead / (r_k - r_m)
    whole = sp.Piecewise((flip, r_k > r_m), (sp.oo, True))
    least = real(r"\lambda_{2} \lambda_{3}")
    overtaken = [
        sp.Piecewise((1 + sp.log(t[0] / t[other]) / (r[other] - r[0]), r[other] > r[0]), (sp.oo, True))
        for other in (1, 2)
    ]
    name, of_lead = r"\lambda_{\mathrm{flip}}", r"\log\frac{\pi_\lambda(m)}{\pi_\lambda(k)}"
    given = sp.log(t_m**lam * b_m ** (1 - lam)) - sp.log(t_k**lam * b_k ** (1 - lam))
    return Derivation(
        "token_flip",
        LEAD,
        (
            Step(Rewrite("collect"), given, lam * sp.log(t_m / t_k) + (1 - lam) * sp.log(b_m / b_k), of_lead, LEADS),
            Step(
                Substitute({t_m: t_k * sp.exp(lead), b_m: b_k * sp.exp(lead + r_k - r_m)}),
                lam * sp.log(t_m / t_k) + (1 - lam) * sp.log(b_m / b_k),
                leading,
                of_lead,
                LEAD.use(above(0, t_k, b_k, each=True)),
            ),
            Step(Differentiate(lam), leading, -(r_k - r_m), sign="<"),
            Step(Solve(lam), sp.Eq(leading, 0), flip, r"\lambda_k"),
            Step(Sign(">"), leading, lead + (lam - 1) * (r_m - r_k), of_lead, BEHIND_M),
            Step(
                Join((LEAD, BEHIND_M)),
                sp.Tuple(flip, sp.oo),
                whole,
                r"\lambda_k",
                assume(above(0, lead), free(r_m, r_k), above(1, lam)),
            ),
            Step(
                Substitute(dict(zip(least, overtaken, strict=True))),
                sp.Min(*least),
                sp.Min(*overtaken),
                name,
                assume(three, shares(*t), free(*r)),
            ),
            Step(
                Substitute({lead: logit(p), r_k: r_m + logit(b) - logit(p)}),
                flip,
                logit(b) / (logit(b) - logit(p)),
                name,
                MODAL,
            ),
        ),
        {"flip_point": (name, sp.Min(*overtaken))},
        module="categorical",
        given={of_lead: given, r"\min_k\lambda_k": sp.Min(*least)},
    )
