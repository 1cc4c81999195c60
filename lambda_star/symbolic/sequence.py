"""An answer of many positions: what ``lambda_star.sequence`` evaluates."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.bernoulli import AHEAD, collapse, push, star
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Substitute
from lambda_star.symbolic.symbols import Delta, c, lam, lam_star, p, positive, real

__all__ = ["list_derivation", "strict_derivation", "validity_derivation"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")

stars = real(r"\lambda^*_{1} \lambda^*_{2}")
level = sp.Symbol("alpha", positive=True)
"""The thresholds of two positions, and the level of a quantile."""

q_t, here, after = positive(r"q_t P V_{t+1}")
so_far = sp.Symbol("S", positive=True)
"""The student at one position, the probability to come there, that of validity from the next one on, and what is valid before."""

go, end, other_go, other_end = positive(r"g_t e_t g_{t+1} e_{t+1}")
go_modal, go_tail, end_modal, end_tail = positive(r"g^m g^\tau e^m e^\tau")
"""Whether the contract lets the answer go on with the modal token and with the tail, and whether it may end there."""

students = positive("q_1:3")
goes = [positive(rf"g^m_{t} g^\tau_{t}") for t in (1, 2)]
ends = [positive(rf"e^m_{t} e^\tau_{t}") for t in (1, 2)]
"""The same for two positions."""

opening, quote, separator, closes = positive(r"q_o q_q q_s \varsigma")
items, both, valid = positive("K z V")
"""An opening, a quote and a separator of a list, the closing share of the separator's tail, and the number of items."""

SAFE = Domain(
    r"0<p<1,\quad \Delta>0,\quad \lambda<\lambda^*",
    {p: u / (1 + u), Delta: v, lam_star: 1 + z, lam: 1 + z - sp.log(1 + k) / v},
)
PAST = Domain(SAFE.text.replace("<\\lambda^*", ">\\lambda^*"), {**SAFE.values, lam: 1 + z + sp.log(1 + k) / v})
BEFORE = Domain(r"\lambda<\lambda^*_1<\lambda^*_2", {lam: 1 + u, stars[0]: 1 + u + v, stars[1]: 1 + u + v + z})
BETWEEN = Domain(
    r"\lambda^*_1<\lambda<\lambda^*_2",
    {stars[0]: 1 + u, lam: 1 + u + v, stars[1]: 1 + u + v + z, level: (1 + m) / (2 + m)},
)
BEYOND = Domain(r"\lambda^*_1<\lambda^*_2<\lambda", {stars[0]: 1 + u, stars[1]: 1 + u + v, lam: 1 + u + v + z})

_shares = (u / (1 + u + v), v / (1 + u + v))
CONTRACT = Domain(
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
CLOSER = Domain(
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
SLIDE = Domain(AHEAD.text, {**AHEAD.values, items: h})


def _validity(go: sp.Expr, end: sp.Expr, after: sp.Expr) -> sp.Expr:
    """V_t = e_t + g_t V_{t+1}."""
    return end + go * after


@cache
def strict_derivation() -> Derivation:
    """The threshold of an answer, and the share of its positions that are past their own.

    >>> strict_derivation().check()
    13
    """
    ratio = 1 - p + p * sp.exp((lam - 1) * Delta)
    room = ratio.subs(lam, lam_star) - ratio
    factored = p * sp.exp((lam_star - 1) * Delta) * (1 - sp.exp((lam - lam_star) * Delta))
    share = sum(sp.Piecewise((sp.Integer(1), one < lam), (sp.Integer(0), True)) for one in stars) / 2
    least = sp.Min(*stars)
    quantile = sp.Piecewise((least, level <= sp.Rational(1, 2)), (sp.Max(*stars), True))
    return Derivation(
        "strict_threshold",
        "The strict threshold of an answer",
        BETWEEN,
        (
            Step(
                r"Position $t$ has the tail ratio $R_t(\lambda)$ of [one position](bernoulli.md), with $R_t(\lambda^*_t)=c$. What it has left to "
                r"the clip, any position:",
                Rewrite("factor"),
                room,
                factored,
                name=r"c-R_t(\lambda)",
                domain=SAFE,
            ),
            Step(
                "It is positive below the position's own threshold,",
                Sign(">"),
                factored,
                factored,
                name=r"c-R_t(\lambda)",
                domain=SAFE,
            ),
            Step(
                "and negative above.",
                Sign("<"),
                factored,
                factored,
                name=r"c-R_t(\lambda)",
                domain=PAST,
            ),
            Step(
                r"Definition: an answer is clip-safe at λ if every position is. By the signs above that holds up to the least $\lambda^*_t$, the "
                r"strict threshold; for $n=2$:",
                Define(),
                least,
                least,
                name=r"\lambda^*_{\mathrm{strict}}",
            ),
            Step(
                r"Between the two thresholds the strict one is passed, although the other position is safe.",
                Sign(">"),
                lam - least,
                lam - stars[0],
                name=r"\lambda-\lambda^*_{\mathrm{strict}}",
            ),
            Step(
                r"Definition: the share of positions past their own threshold. It is a step function of λ, for $n=2$:",
                Define(),
                share,
                share,
                name=r"s(\lambda)",
            ),
            Step(
                r"Nothing is past up to the strict threshold,",
                Rewrite("compare"),
                share,
                sp.Integer(0),
                name=r"s(\lambda)",
                domain=BEFORE,
            ),
            Step(
                r"half of the two positions from there on,",
                Rewrite("compare"),
                share,
                sp.Rational(1, 2),
                name=r"s(\lambda)",
            ),
            Step(
                "and both beyond the greater threshold.",
                Rewrite("compare"),
                share,
                sp.Integer(1),
                name=r"s(\lambda)",
                domain=BEYOND,
            ),
            Step(
                r"At a threshold itself the position is not past it. For the greater of the two:",
                Substitute({lam: stars[1]}),
                share,
                sp.Rational(1, 2),
                name=r"s(\lambda^*_2)",
            ),
            Step(
                r"Definition: the quantile α of the thresholds is the least of them that at least a share α does not exceed, never a value between "
                r"two; for $n=2$:",
                Define(),
                quantile,
                quantile,
                name=r"\lambda^*_{\alpha}",
            ),
            Step(
                r"The level 0 gives the strict threshold.",
                Substitute({level: sp.Integer(0)}),
                quantile,
                least,
                name=r"\lambda^*_0",
            ),
            Step(
                r"Any $n$: less than the share $\alpha>0$ of the positions is past the quantile α, or a smaller threshold would be that quantile. "
                r"For $n=2$ and $\alpha>\frac12$ a half is:",
                Sign(">"),
                level - share.subs(lam, stars[1]),
                level - sp.Rational(1, 2),
                name=r"\alpha-s(\lambda^*_2)",
            ),
        ),
        {
            "threshold": (r"\lambda^*_{\mathrm{strict}}", least),
            "lower_quantile": (r"\lambda^*_{\alpha}", quantile),
            "share_past": (r"s(\lambda)", share),
        },
        module="sequence",
        remarks=r"""The results are written out for $n=2$; more positions have more thresholds to compare, and $n$ in place of 2. That a position past its own threshold does harm, and how many it takes, are questions of experience and no result.""",
    )


@cache
def validity_derivation() -> Derivation:
    """The probability that an answer is valid.

    >>> validity_derivation().check()
    12
    """
    mixed_go, mixed_end = (
        modal * q_t + rest * (1 - q_t) for modal, rest in ((go_modal, go_tail), (end_modal, end_tail))
    )
    step = _validity(go, end, after)
    slope = (end_modal - end_tail) + (go_modal - go_tail) * after
    room = (1 - go - end) + go * (1 - after)
    written = [
        [modal * student + rest * (1 - student) for modal, rest in pair]
        for student, pair in zip(students, zip(goes, ends, strict=True), strict=True)
    ]
    (go_1, end_1), (go_2, end_2) = written
    needed = {go_modal: sp.Integer(1), go_tail: sp.Integer(0), end_modal: sp.Integer(0), end_tail: sp.Integer(0)}
    return Derivation(
        "validity",
        "The probability of a valid answer",
        CONTRACT,
        (
            Step(
                r"Definition: at position $t$ the contract lets the answer go on with probability $g^m$ if the modal token comes and $g^\tau$ if the "
                r"tail does; with $K$ tokens each has its own. With the student's $q_t$, any position:",
                Define(),
                mixed_go,
                mixed_go,
                name="g_t",
            ),
            Step(
                r"Definition: it ends there, valid, with probability $e^m$ or $e^\tau$.",
                Define(),
                mixed_end,
                mixed_end,
                name="e_t",
            ),
            Step(
                r"Definition: an answer is valid if it ends valid at some position, or goes on through all. Given that it has come to position "
                r"$t$, that has the probability $V_t$, with $V_{n+1}=1$:",
                Define(),
                step,
                step,
                name="V_t",
            ),
            Step(
                r"Two positions in turn.",
                Substitute({after: other_end + other_go}),
                step,
                end + go * other_end + go * other_go,
                name="V_t",
            ),
            Step(
                r"Any $n$: with $S$ for the probability to have ended valid before position $t$ and $P=\prod_{s<t}g_s$ for that to come there, "
                r"one more position turns $S+PV_t$ into a sum with one more term. So $V=\sum_te_t\prod_{s<t}g_s+\prod_tg_t$.",
                Substitute({valid: step}),
                so_far + here * valid,
                (so_far + here * end) + (here * go) * after,
                name="V",
            ),
            Step(
                "It is a probability: it is not above 1 where the next one is not.",
                Sign(">"),
                1 - step,
                room,
                name="1-V_t",
            ),
            Step(
                r"How it changes with the student at this position, any $n$: $V_{t+1}$ does not depend on $q_t$, and what comes before is the factor "
                "$P$.",
                Differentiate(q_t),
                _validity(mixed_go, mixed_end, after),
                slope,
                name=r"\frac{\partial V_t}{\partial q_t}",
            ),
            Step(
                r"Where the contract needs the modal token, $g^m=1$ and all else 0, extrapolation that sharpens the token helps.",
                Substitute(needed),
                slope,
                after,
                name=r"\frac{\partial V_t}{\partial q_t}",
            ),
            Step("The sign.", Sign(">"), after, after, name=r"\frac{\partial V_t}{\partial q_t}"),
            Step(
                r"Where the tail is the only way to end, $e^\tau=1$ in its place, it does harm:",
                Substitute({**needed, end_tail: sp.Integer(1)}),
                slope,
                after - 1,
                name=r"\frac{\partial V_t}{\partial q_t}",
            ),
            Step(
                r"the more so, the less sure the rest of the answer is.",
                Sign("<"),
                after - 1,
                -(1 - after),
                name=r"\frac{\partial V_t}{\partial q_t}",
            ),
            Step(
                r"A student whose tail has died never ends there.",
                Substitute({q_t: sp.Integer(1), **needed, end_tail: sp.Integer(1)}),
                _validity(mixed_go, mixed_end, after),
                after,
                name="V_t",
            ),
        ),
        {"validity": ("V", end_1 + go_1 * end_2 + go_1 * go_2)},
        module="sequence",
        remarks=r"""The result is for $n=2$. The $q_t$ are those of the stationary student at λ, one position at a time: what the student says at one position
does not change the teacher or the base at another. That is an assumption, as are the probabilities of the contract.""",
    )


@cache
def list_derivation() -> Derivation:
    """A JSON list: needed quotes against a separator whose tail closes the list.

    >>> list_derivation().check()
    15
    """
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
        "A list of at most K items",
        CLOSER,
        (
            Step(
                r"Definition: an opening, needed with probability $q_o$. Then each item has two quotes, needed with probability $q_q$ each, and an end "
                r"at which the separator is modal with $q_s$ and a share ς of its tail closes the list. From one item on, by the "
                "recursion of validity:",
                Substitute({valid: closes * (1 - separator) + separator * after}),
                quote**2 * valid,
                item,
                name="V_t",
            ),
            Step(
                r"The end of the last item must close the list: $V=0$ after it. Three items, $K=3$:",
                Rewrite("collect"),
                last,
                summed,
                name="V_t",
            ),
            Step(
                r"Any $K$: each item multiplies the way to the next by $z=q_q^2q_s$. The sum of $K$ powers is $\frac{1-z^K}{1-z}$; it "
                r"starts at 1 for $K=1$,",
                Substitute({items: sp.Integer(1)}),
                partial,
                sp.Integer(1),
            ),
            Step(
                r"and one more item adds one more power.",
                Rewrite("collect"),
                partial + both**items,
                (1 - both ** (items + 1)) / (1 - both),
            ),
            Step(
                r"The probability of a valid list, any $K$.",
                Substitute({both: growth}),
                opening * closes * (1 - separator) * quote**2 * partial,
                whole,
                name="V",
            ),
            Step(
                r"With the other tokens certain and all of the tail closing, any $K$: the list is valid unless all $K$ ends miss.",
                Substitute(perfect),
                whole,
                1 - separator**items,
                name="V",
            ),
            Step(
                r"The quotes lift it; for $K=3$.",
                Differentiate(quote),
                three,
                by_quote,
                name=r"\frac{\partial V}{\partial q_q}",
            ),
            Step(
                r"Any $K$: each power of $q_q$ has a positive factor.",
                Sign(">"),
                by_quote,
                by_quote,
                name=r"\frac{\partial V}{\partial q_q}",
            ),
            Step(
                r"The separator in powers of its own, for $K=3$; with any $K$ the terms between the first and the last are alike.",
                Rewrite("collect"),
                three,
                ordered,
                name="V",
            ),
            Step(
                "How it changes with the separator.",
                Differentiate(separator),
                ordered,
                by_separator,
                name=r"\frac{\partial V}{\partial q_s}",
            ),
            Step(
                r"The more certain the separator, the less often the list is closed in time.",
                Sign("<"),
                by_separator,
                by_separator,
                name=r"\frac{\partial V}{\partial q_s}",
            ),
            Step(
                r"From the collapse point of the separator on, $q_s=1$: no list is closed any more, however good the quotes are.",
                Substitute({separator: sp.Integer(1)}),
                whole,
                sp.Integer(0),
                name="V",
            ),
            Step(
                r"With the other tokens certain, between $\lambda^*$ and $\lambda_c$ of the separator the student is the saturated one:",
                Substitute({separator: saturated}),
                1 - separator**items,
                1 - saturated**items,
                name="V",
                domain=SLIDE,
            ),
            Step(
                r"at $\lambda^*$ each end still closes with probability $(1-p)/c$,",
                Substitute({lam: star}),
                1 - saturated**items,
                1 - (1 - (1 - p) / c) ** items,
                name=r"V(\lambda^*)",
                domain=SLIDE,
            ),
            Step(
                r"and at $\lambda_c$ never.",
                Substitute({lam: collapse}),
                1 - saturated**items,
                sp.Integer(0),
                name=r"V(\lambda_c)",
                domain=SLIDE,
            ),
        ),
        {
            "listwise": (
                "V",
                sp.Piecewise((sp.Integer(0), sp.Eq(separator, 1)), (whole, True)),
            )
        },
        module="sequence",
        remarks=r"""The result is the validity of the positions that `listwise` returns. Quotes and opening are optional: without them their probability is 1. Below
the thresholds extrapolation sharpens quotes and separators alike, so validity can rise with λ before it falls to 0.""",
    )
