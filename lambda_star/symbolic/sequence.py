"""An answer of many positions: the derivations of what ``lambda_star.sequence`` evaluates."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation, renamed
from lambda_star.symbolic.places import AHEAD, collapse, push, star
from lambda_star.symbolic.regions import above, below, between, free, rising
from lambda_star.symbolic.rules import Differentiate, Join, Rewrite, Sign, Substitute
from lambda_star.symbolic.symbols import Delta, c, lam, lam_star, p, positive, real

__all__ = ["listwise", "strict_threshold", "validity"]

__getattr__ = renamed(__name__)

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
items, both, valid, shift, slope_up = positive("K z V h V'")
slope_next = sp.Symbol("V'_{t+1}", real=True)
"""An opening, a quote and a separator of a list, the closing share of the separator's tail, and the number of items."""

half = sp.Rational(1, 2)
SAFE = assume(between(0, p, 1), above(0, Delta), above(1, lam_star), below(lam, lam_star, log=Delta))
PAST = SAFE.use(above(lam_star, lam, log=Delta))
BEFORE = assume(rising(lam, *stars))
BETWEEN = assume(rising(stars[0], lam, stars[1]), between(half, level, 1))
LOW_LEVEL = BETWEEN.use(between(0, level, half))
BEYOND = assume(rising(*stars, lam))
IN_ORDER, SWAPPED = assume(rising(*stars)), assume(rising(stars[1], stars[0]))
CONTRACT = assume(
    between(0, q_t, after, other_go, end_modal, end_tail, go_modal, go_tail, 1, each=True),
    between(0, go, 1),
    between(0, end, 1 - go),
    above(0, other_end, here, so_far, valid, each=True),
)
PAIR = assume(between(0, *students, *goes[0], *goes[1], *ends[0], *ends[1], 1, each=True))
CLOSER = assume(
    between(0, opening, quote, separator, closes, both, 1, each=True),
    between(0, after, closes),
    above(0, items, valid, shift, each=True),
    below(slope_next, 0),
    above(0, slope_up),
)
SLIDE = AHEAD.use(above(0, items))


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
    one_past = real("i_1 i_2")
    past = {one: sp.Piecewise((1, star_t < lam), (0, True)) for one, star_t in zip(one_past, stars, strict=True)}
    strict, left = r"\lambda^*_{\mathrm{strict}}", r"\alpha-s(\lambda^*_2)"
    quantile = sp.Piecewise((least, level <= half), (sp.Max(*stars), True))
    return Derivation(
        "strict_threshold",
        BETWEEN,
        (
            Step(Rewrite("factor"), room, factored, r"c-R_t(\lambda)", SAFE, sign=">"),
            Step(
                Sign("<"),
                factored,
                -p * sp.exp((lam - 1) * Delta) * (1 - sp.exp((lam_star - lam) * Delta)),
                r"c-R_t(\lambda)",
                PAST,
            ),
            Step(Rewrite("compare"), sp.Min(*stars), stars[0], strict, IN_ORDER),
            Step(Rewrite("compare"), sp.Min(*stars), stars[1], strict, SWAPPED),
            Step(Join((IN_ORDER, SWAPPED)), sp.Tuple(*stars), least, strict, assume(free(*stars))),
            Step(Substitute(past), sum(one_past) / 2, share, r"s(\lambda)", assume(free(lam, *stars))),
            Step(Rewrite("compare"), share, sp.Integer(0), r"s(\lambda)", BEFORE),
            Step(Rewrite("compare"), share, half, r"s(\lambda)"),
            Step(Rewrite("compare"), share, sp.Integer(1), r"s(\lambda)", BEYOND),
            Step(Substitute({lam: stars[1]}), level - share, level - half, left, sign=">"),
            Step(Substitute({lam: stars[1]}), level - share, level - half, left, LOW_LEVEL, sign="<"),
            Step(Substitute({lam: stars[0]}), level - share, level, r"\alpha-s(\lambda^*_1)", LOW_LEVEL, sign=">"),
            Step(
                Join((LOW_LEVEL, BETWEEN)),
                sp.Tuple(least, sp.Max(*stars)),
                quantile,
                r"\lambda^*_{\alpha}",
                BETWEEN.use(between(0, level, 1)),
            ),
            Step(Substitute({level: sp.Integer(0)}), quantile, least, r"\lambda^*_0"),
        ),
        {
            "threshold": (r"\lambda^*_{\mathrm{strict}}", least),
            "lower_quantile": (r"\lambda^*_{\alpha}", quantile),
            "share_past": (r"s(\lambda)", share),
        },
        module="sequence",
        given={
            "c-R_t": room,
            r"\min_t\lambda^*_t": least,
            r"\max_t\lambda^*_t": sp.Max(*stars),
            r"s(\lambda)": sum(one_past) / 2,
            r"\alpha-s(\lambda)": level - share,
        },
        uses=("threshold",),
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
            Step(Substitute({after: other_end + other_go}), step, end + go * other_end + go * other_go, "V_t"),
            Step(Substitute({valid: step}), so_far + here * valid, (so_far + here * end) + (here * go) * after, "V"),
            Step(Sign(">"), 1 - step, room, "1-V_t"),
            Step(
                Differentiate(q_t), _validity(mixed_go, mixed_end, after), slope, r"\frac{\partial V_t}{\partial q_t}"
            ),
            Step(Substitute(needed), slope, after, r"\frac{\partial V_t}{\partial q_t}", sign=">"),
            Step(
                Substitute({**needed, end_tail: sp.Integer(1)}),
                slope,
                -(1 - after),
                r"\frac{\partial V_t}{\partial q_t}",
                sign="<",
            ),
            Step(
                Substitute({q_t: sp.Integer(1), **needed, end_tail: sp.Integer(1)}),
                _validity(mixed_go, mixed_end, after),
                after,
                "V_t",
            ),
            Step(
                Substitute({go: go_1, end: end_1, other_go: go_2, other_end: end_2}),
                end + go * other_end + go * other_go,
                end_1 + go_1 * end_2 + go_1 * go_2,
                "V",
                PAIR,
            ),
        ),
        {"validity": ("V", end_1 + go_1 * end_2 + go_1 * go_2)},
        module="sequence",
        given={
            "g_t": mixed_go,
            "e_t": mixed_end,
            "V_t": step,
            "V": so_far + here * valid,
            r"V_t(q_t)": _validity(mixed_go, mixed_end, after),
        },
    )


@derivation
def listwise() -> Derivation:
    """Derive the validity of a JSON list, whose quotes are needed and whose separator has a tail that closes the list."""
    item = quote**2 * (closes * (1 - separator) + separator * after)
    growth = quote**2 * separator
    partial = (1 - both**items) / (1 - both)
    whole = opening * closes * (1 - separator) * quote**2 * (1 - growth**items) / (1 - growth)
    moved = quote**2 * (closes * (1 - separator - shift) + (separator + shift) * (after + slope_next * shift))
    falling = sp.diff(moved, shift)
    quoted = (quote + shift) ** 2 * (closes * (1 - separator) + separator * (after + slope_up * shift))
    rising_in_quote = 2 * quote * (closes * (1 - separator) + separator * after) + quote**2 * separator * slope_up
    perfect = {opening: sp.Integer(1), quote: sp.Integer(1), closes: sp.Integer(1)}
    of_next = quote**2 * (after - closes + separator * slope_next)
    now = {shift: sp.Integer(0)}
    in_separator, in_quote = r"\frac{\partial V_t}{\partial q_s}", r"\frac{\partial V_t}{\partial q_q}"
    saturated = p / c * sp.exp(push)
    return Derivation(
        "listwise",
        CLOSER,
        (
            Step(Substitute({valid: closes * (1 - separator) + separator * after}), quote**2 * valid, item, "V_t"),
            Step(Substitute({items: sp.Integer(1)}), partial, sp.Integer(1)),
            Step(Rewrite("collect"), partial + both**items, (1 - both ** (items + 1)) / (1 - both)),
            Step(Substitute({both: growth}), opening * closes * (1 - separator) * quote**2 * partial, whole, "V"),
            Step(Substitute(perfect), whole, 1 - separator**items, "V"),
            Step(Substitute({after: sp.Integer(0)}), item, quote**2 * closes * (1 - separator), "V_K"),
            Step(Differentiate(shift), quoted, sp.diff(quoted, shift), in_quote),
            Step(Substitute(now), sp.diff(quoted, shift), rising_in_quote, in_quote, sign=">"),
            Step(
                Sign(">"),
                closes - item,
                (1 - quote**2) * closes + quote**2 * separator * (closes - after),
                r"\varsigma-V_t",
            ),
            Step(Differentiate(shift), moved, falling, in_separator),
            Step(Substitute(now), falling, of_next, in_separator, sign="<"),
            Step(Substitute({after: 0, slope_next: 0}), of_next, -closes * quote**2, in_separator, sign="<"),
            Step(Substitute({separator: sp.Integer(1)}), whole, sp.Integer(0), "V"),
            Step(
                Join((CLOSER,)), sp.Tuple(whole), sp.Piecewise((sp.Integer(0), sp.Eq(separator, 1)), (whole, True)), "V"
            ),
            Step(Substitute({separator: saturated}), 1 - separator**items, 1 - saturated**items, "V", SLIDE),
            Step(Substitute({lam: star}), 1 - saturated**items, 1 - (1 - (1 - p) / c) ** items, r"V(\lambda^*)", SLIDE),
            Step(Substitute({lam: collapse}), 1 - saturated**items, sp.Integer(0), r"V(\lambda_c)", SLIDE),
        ),
        {"listwise": ("V", sp.Piecewise((sp.Integer(0), sp.Eq(separator, 1)), (whole, True)))},
        module="sequence",
        given={
            "V_t": quote**2 * valid,
            r"\textstyle\sum_{k<K}z^k": partial,
            r"\textstyle\sum_{k\le K}z^k": partial + both**items,
            "V": opening * closes * (1 - separator) * quote**2 * partial,
            r"V_t(q_s+h)": moved,
            r"V_t(q_q+h)": quoted,
        },
        uses=("regimes", "validity"),
    )
