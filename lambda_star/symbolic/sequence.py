"""An answer of many positions: the derivations of what ``lambda_star.sequence`` evaluates."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.bernoulli import AHEAD, collapse, push, star
from lambda_star.symbolic.derivation import Derivation, Step, derivation, renamed
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Substitute
from lambda_star.symbolic.symbols import Delta, c, lam, lam_star, p, positive, real

__all__ = ["listwise", "strict_threshold", "validity"]

__getattr__ = renamed(__name__)

g, h, k, m, s, u, v, z = positive("g h k m s u v z")

stars = real(r"\lambda^*_{1} \lambda^*_{2}")
level = sp.Symbol("alpha", positive=True)
"""The thresholds of two positions, and the level of a quantile."""

q_t, here, after = positive(r"q_t P V_{t+1}")
so_far = sp.Symbol("S", positive=True)
"""The student at one position, the probability of coming to it, V from the next position on, and the probability of having
ended valid before."""

go, end, other_go, other_end = positive(r"g_t e_t g_{t+1} e_{t+1}")
go_modal, go_tail, end_modal, end_tail = positive(r"g^m g^\tau e^m e^\tau")
"""The probabilities of going on, and of ending valid, after the modal token and after the tail."""

students = positive("q_1:3")
goes = [positive(rf"g^m_{t} g^\tau_{t}") for t in (1, 2)]
ends = [positive(rf"e^m_{t} e^\tau_{t}") for t in (1, 2)]
"""The same for two positions."""

opening, quote, separator, closes = positive(r"q_o q_q q_s \varsigma")
items, both, valid = positive("K z V")
"""An opening, a quote and a separator of a list, the closing share of the separator's tail, and the number of items."""

SAFE = Assumptions(
    r"0<p<1,\quad \Delta>0,\quad \lambda<\lambda^*",
    {p: u / (1 + u), Delta: v, lam_star: 1 + z, lam: 1 + z - sp.log(1 + k) / v},
)
PAST = Assumptions(SAFE.text.replace("<\\lambda^*", ">\\lambda^*"), {**SAFE.values, lam: 1 + z + sp.log(1 + k) / v})
BEFORE = Assumptions(r"\lambda<\lambda^*_1<\lambda^*_2", {lam: 1 + u, stars[0]: 1 + u + v, stars[1]: 1 + u + v + z})
BETWEEN = Assumptions(
    r"\lambda^*_1<\lambda<\lambda^*_2",
    {stars[0]: 1 + u, lam: 1 + u + v, stars[1]: 1 + u + v + z, level: (1 + m) / (2 + m)},
)
BEYOND = Assumptions(r"\lambda^*_1<\lambda^*_2<\lambda", {stars[0]: 1 + u, stars[1]: 1 + u + v, lam: 1 + u + v + z})

_shares = (u / (1 + u + v), v / (1 + u + v))
CONTRACT = Assumptions(
    r"0<q_t<1,\quad g,e>0,\quad g_t+e_t<1,\quad 0<V_{t+1}<1,\quad P,S>0",
    {
        q_t: z / (1 + z),
        go: _shares[0],
        end: _shares[1],
        other_go: h / (1 + h + k),
        other_end: k / (1 + h + k),
        go_modal: g,
        go_tail: h,
        end_modal: k,
        end_tail: m,
        after: s / (1 + s),
        here: g,
        so_far: h,
        valid: m,
    },
)
CLOSER = Assumptions(
    r"0<q_o,q_q,q_s<1,\quad 0<\varsigma,V_{t+1}<1,\quad K>0",
    {
        opening: u / (1 + u),
        quote: v / (1 + v),
        separator: z / (1 + z),
        closes: s / (1 + s),
        after: h / (1 + h),
        items: k,
        both: g / (1 + g),
        valid: m,
    },
)
SLIDE = Assumptions(AHEAD.text, {**AHEAD.values, items: h})


def _validity(go: sp.Expr, end: sp.Expr, after: sp.Expr) -> sp.Expr:
    """V_t = e_t + g_t V_{t+1}."""
    return end + go * after


@derivation
def strict_threshold() -> Derivation:
    """Derive the strict threshold of an answer, and the share of its positions that are past their own thresholds."""
    ratio = 1 - p + p * sp.exp((lam - 1) * Delta)
    room = ratio.subs(lam, lam_star) - ratio
    factored = p * sp.exp((lam_star - 1) * Delta) * (1 - sp.exp((lam - lam_star) * Delta))
    share = sum(sp.Piecewise((sp.Integer(1), one < lam), (sp.Integer(0), True)) for one in stars) / 2
    least = sp.Min(*stars)
    quantile = sp.Piecewise((least, level <= sp.Rational(1, 2)), (sp.Max(*stars), True))
    return Derivation(
        "strict_threshold",
        BETWEEN,
        (
            Step(Rewrite("factor"), room, factored, r"c-R_t(\lambda)", assumptions=SAFE),
            Step(Sign(">"), factored, name=r"c-R_t(\lambda)", assumptions=SAFE),
            Step(Sign("<"), factored, name=r"c-R_t(\lambda)", assumptions=PAST),
            Step(Define(), least, name=r"\lambda^*_{\mathrm{strict}}"),
            Step(Sign(">"), lam - least, lam - stars[0], r"\lambda-\lambda^*_{\mathrm{strict}}"),
            Step(Define(), share, name=r"s(\lambda)"),
            Step(Rewrite("compare"), share, sp.Integer(0), r"s(\lambda)", assumptions=BEFORE),
            Step(Rewrite("compare"), share, sp.Rational(1, 2), r"s(\lambda)"),
            Step(Rewrite("compare"), share, sp.Integer(1), r"s(\lambda)", assumptions=BEYOND),
            Step(Substitute({lam: stars[1]}), share, sp.Rational(1, 2), r"s(\lambda^*_2)"),
            Step(Define(), quantile, name=r"\lambda^*_{\alpha}"),
            Step(Substitute({level: sp.Integer(0)}), quantile, least, r"\lambda^*_0"),
            Step(Sign(">"), level - share.subs(lam, stars[1]), level - sp.Rational(1, 2), r"\alpha-s(\lambda^*_2)"),
        ),
        {
            "threshold": (r"\lambda^*_{\mathrm{strict}}", least),
            "lower_quantile": (r"\lambda^*_{\alpha}", quantile),
            "share_past": (r"s(\lambda)", share),
        },
        module="sequence",
    )


@derivation
def validity() -> Derivation:
    """Derive the probability that an answer is valid."""
    mixed_go, mixed_end = (
        modal * q_t + tail * (1 - q_t) for modal, tail in ((go_modal, go_tail), (end_modal, end_tail))
    )
    step = _validity(go, end, after)
    slope = (end_modal - end_tail) + (go_modal - go_tail) * after
    room = (1 - go - end) + go * (1 - after)
    written = [
        [modal * student + tail * (1 - student) for modal, tail in pair]
        for student, pair in zip(students, zip(goes, ends, strict=True), strict=True)
    ]
    (go_1, end_1), (go_2, end_2) = written
    needed = {go_modal: sp.Integer(1), go_tail: sp.Integer(0), end_modal: sp.Integer(0), end_tail: sp.Integer(0)}
    return Derivation(
        "validity",
        CONTRACT,
        (
            Step(Define(), mixed_go, name="g_t"),
            Step(Define(), mixed_end, name="e_t"),
            Step(Define(), step, name="V_t"),
            Step(Substitute({after: other_end + other_go}), step, end + go * other_end + go * other_go, "V_t"),
            Step(Substitute({valid: step}), so_far + here * valid, (so_far + here * end) + (here * go) * after, "V"),
            Step(Sign(">"), 1 - step, room, "1-V_t"),
            Step(
                Differentiate(q_t), _validity(mixed_go, mixed_end, after), slope, r"\frac{\partial V_t}{\partial q_t}"
            ),
            Step(Substitute(needed), slope, after, r"\frac{\partial V_t}{\partial q_t}"),
            Step(Sign(">"), after, name=r"\frac{\partial V_t}{\partial q_t}"),
            Step(
                Substitute({**needed, end_tail: sp.Integer(1)}), slope, after - 1, r"\frac{\partial V_t}{\partial q_t}"
            ),
            Step(Sign("<"), after - 1, -(1 - after), r"\frac{\partial V_t}{\partial q_t}"),
            Step(
                Substitute({q_t: sp.Integer(1), **needed, end_tail: sp.Integer(1)}),
                _validity(mixed_go, mixed_end, after),
                after,
                "V_t",
            ),
        ),
        {"validity": ("V", end_1 + go_1 * end_2 + go_1 * go_2)},
        module="sequence",
    )


@derivation
def listwise() -> Derivation:
    """Derive the validity of a JSON list, whose quotes are needed and whose separator has a tail that closes the list."""
    item = quote**2 * (closes * (1 - separator) + separator * after)
    growth = quote**2 * separator
    unrolled = item
    for _ in range(2):
        unrolled = unrolled.subs(after, item)
    last = unrolled.subs(after, 0)
    summed = closes * (1 - separator) * quote**2 * (1 + growth + growth**2)
    partial = (1 - both**items) / (1 - both)
    whole = opening * closes * (1 - separator) * quote**2 * (1 - growth**items) / (1 - growth)
    three = opening * summed
    perfect = {opening: sp.Integer(1), quote: sp.Integer(1), closes: sp.Integer(1)}
    by_quote = opening * closes * (1 - separator) * (2 * quote + 4 * quote**3 * separator + 6 * quote**5 * separator**2)
    ordered = (
        opening
        * closes
        * quote**2
        * (1 - (1 - quote**2) * separator - (1 - quote**2) * quote**2 * separator**2 - quote**4 * separator**3)
    )
    by_separator = (
        -opening
        * closes
        * quote**2
        * ((1 - quote**2) + 2 * (1 - quote**2) * quote**2 * separator + 3 * quote**4 * separator**2)
    )
    saturated = p / c * sp.exp(push)
    return Derivation(
        "listwise",
        CLOSER,
        (
            Step(Substitute({valid: closes * (1 - separator) + separator * after}), quote**2 * valid, item, "V_t"),
            Step(Rewrite("collect"), last, summed, "V_t"),
            Step(Substitute({items: sp.Integer(1)}), partial, sp.Integer(1)),
            Step(Rewrite("collect"), partial + both**items, (1 - both ** (items + 1)) / (1 - both)),
            Step(Substitute({both: growth}), opening * closes * (1 - separator) * quote**2 * partial, whole, "V"),
            Step(Substitute(perfect), whole, 1 - separator**items, "V"),
            Step(Differentiate(quote), three, by_quote, r"\frac{\partial V}{\partial q_q}"),
            Step(Sign(">"), by_quote, name=r"\frac{\partial V}{\partial q_q}"),
            Step(Rewrite("collect"), three, ordered, "V"),
            Step(Differentiate(separator), ordered, by_separator, r"\frac{\partial V}{\partial q_s}"),
            Step(Sign("<"), by_separator, name=r"\frac{\partial V}{\partial q_s}"),
            Step(Substitute({separator: sp.Integer(1)}), whole, sp.Integer(0), "V"),
            Step(
                Substitute({separator: saturated}), 1 - separator**items, 1 - saturated**items, "V", assumptions=SLIDE
            ),
            Step(
                Substitute({lam: star}),
                1 - saturated**items,
                1 - (1 - (1 - p) / c) ** items,
                r"V(\lambda^*)",
                assumptions=SLIDE,
            ),
            Step(Substitute({lam: collapse}), 1 - saturated**items, sp.Integer(0), r"V(\lambda_c)", assumptions=SLIDE),
        ),
        {"listwise": ("V", sp.Piecewise((sp.Integer(0), sp.Eq(separator, 1)), (whole, True)))},
        module="sequence",
    )
