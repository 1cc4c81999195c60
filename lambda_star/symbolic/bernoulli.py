"""One output position: the derivations of what ``lambda_star.bernoulli`` evaluates."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import assume
from lambda_star.symbolic.derivation import Derivation, Step, derivation, renamed
from lambda_star.symbolic.places import (
    AHEAD,
    ANY,
    BEHIND,
    EQUAL,
    EVERY,
    LOG_BEHIND,
    LOG_ODDS,
    Z,
    ahead_only,
    collapse,
    edge,
    fixed,
    peak,
    push,
    ratio,
    s,
    star,
    tail_thinning,
    unless_behind,
)
from lambda_star.symbolic.regions import above, below, between, free
from lambda_star.symbolic.rules import Differentiate, Join, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, eps, gap, lam, lam_star, logit, p, q, sigmoid, x, y

__all__ = [
    "fixed_point",
    "flip_point",
    "inverses",
    "limits",
    "operating_point",
    "regimes",
    "sensitivity",
    "threshold",
    "two_sided_threshold",
]

__getattr__ = renamed(__name__)


def _advantage(teacher: sp.Expr, student: sp.Expr, base: sp.Expr) -> sp.Expr:
    """A(a) = λ log π_T(a) − log π(a) − (λ−1) log π_B(a)."""
    return lam * sp.log(teacher) - sp.log(student) - (lam - 1) * sp.log(base)


@derivation
def fixed_point() -> Derivation:
    """Derive the student that maximises the objective."""
    objective = q * _advantage(p, q, b) + (1 - q) * _advantage(1 - p, 1 - q, 1 - b)
    divergence = q * sp.log(q / peak) + (1 - q) * sp.log((1 - q) / (1 - peak))
    slope = lam * logit(p) + (1 - lam) * logit(b) - logit(q)
    return Derivation(
        "fixed_point",
        ANY,
        (
            Step(Rewrite("collect"), objective, sp.log(Z) - divergence, r"J_\lambda(q)"),
            Step(Differentiate(q), objective, slope, r"J_\lambda'(q)"),
            Step(Differentiate(q), slope, -1 / (q * (1 - q)), r"J_\lambda''(q)", sign="<"),
            Step(Solve(q), sp.Eq(slope, 0), fixed, r"q_\lambda"),
        ),
        {"fixed_point": (r"q_\lambda", fixed)},
        spot={p: "0.9", b: "0.5", lam: "2"},
        given={r"J_\lambda(q)": objective},
    )


@derivation
def threshold() -> Derivation:
    """Derive λ* from the clip-safe region, and bring it into the form of Eq. 4 and into accurate forms."""
    printed = (sp.log((1 - p) / (c - 1 + p)) - sp.log((1 - b) / b)) / (sp.log((1 - p) / p) - sp.log((1 - b) / b))
    margin_form = 1 + sp.log(1 + (c - 1) / p) / sp.log(1 + (p - b) / (b * (1 - p)))
    log_odds_form = 1 + sp.log(1 + (c - 1) * (1 + sp.exp(-x))) / (x - y)
    growth = p * gap * sp.exp(push)
    in_log_odds = {p: sigmoid(x), b: sigmoid(y)}
    falling = -p * sp.log(b * (1 - p) / (p * (1 - b))) * sp.exp(push)
    by_log_odds = sp.Piecewise((log_odds_form, x > y), (sp.oo, True))
    cases = (AHEAD, BEHIND, EQUAL)
    return Derivation(
        "threshold",
        AHEAD,
        (
            Step(Substitute({q: fixed}), tail_thinning, ratio, r"R(\lambda)", EVERY),
            Step(Rewrite(), logit(p) - logit(b), sp.log(1 + (p - b) / (b * (1 - p))), r"\Delta", EVERY),
            Step(Differentiate(lam), ratio, growth, r"R'(\lambda)", sign=">"),
            Step(Solve(lam), sp.Eq(ratio, c), star, r"\lambda^*"),
            Step(Rewrite("compare"), printed, star, r"\lambda^*"),
            Step(Rewrite(), star, margin_form, r"\lambda^*"),
            Step(Substitute(in_log_odds), star, log_odds_form, r"\lambda^*", LOG_ODDS),
            Step(Sign("<"), growth, falling, r"R'(\lambda)", BEHIND),
            Step(Substitute({b: p}), ratio, sp.Integer(1), r"R(\lambda)", EQUAL),
            Step(Join(cases), sp.Tuple(star, sp.oo, sp.oo), unless_behind(star), r"\lambda^*", EVERY),
            Step(Join(cases), sp.Tuple(star - 1, sp.oo, sp.oo), unless_behind(star - 1), r"\lambda^*-1", EVERY),
            Step(Substitute({q: fixed}), sp.Le(tail_thinning, c), sp.Le(ratio, c), r"\text{clip-safe}", EVERY),
            Step(
                Substitute(in_log_odds),
                growth,
                sigmoid(x) * (x - y) * sp.exp((lam - 1) * (x - y)),
                r"R'(\lambda)",
                LOG_BEHIND,
                sign="<",
            ),
            Step(
                Join((LOG_ODDS, LOG_BEHIND)),
                sp.Tuple(log_odds_form, sp.oo),
                by_log_odds,
                r"\lambda^*",
                assume(free(x, y), above(1, c), above(1, lam)),
            ),
            Step(Substitute({c: sp.Integer(1)}), star, sp.Integer(1)),
        ),
        {
            "threshold": (r"\lambda^*", unless_behind(star)),
            "excess": (r"\lambda^*-1", unless_behind(star - 1)),
            "tail_ratio": (r"R(\lambda)", ratio),
            "is_clip_safe": (r"\text{clip-safe}", sp.Le(ratio, c)),
            "threshold_from_logits": (r"\lambda^*", by_log_odds),
        },
        spot={p: "0.99933697778", b: "0.5", c: "5"},
        given={
            "r": tail_thinning,
            r"\Delta": logit(p) - logit(b),
            r"\lambda^*_{\mathrm{Eq.\ 4}}": printed,
            r"\text{clip-safe}": sp.Le(tail_thinning, c),
        },
        uses=("fixed_point",),
    )


@derivation
def limits() -> Derivation:
    """Derive bounds and limits of λ*."""
    lower, upper = 1 + sp.log(c) / gap, 1 + sp.log(c / p) / gap
    lower_name, upper_name = r"\text{lower bound of }\lambda^*", r"\text{upper bound of }\lambda^*"
    above_lower = sp.log(1 + (c - 1) * (1 - p) / (c * p)) / gap
    below_upper = sp.log(1 + (1 - p) / (c - 1 + p)) / gap
    return Derivation(
        "limits",
        AHEAD,
        (
            Step(Sign(">"), sp.exp(push) - ratio, (1 - p) * (sp.exp(push) - 1)),
            Step(Solve(lam), sp.Eq(sp.exp(push), c), lower, lower_name),
            Step(Sign(">"), star - lower, above_lower),
            Step(Sign(">"), ratio / (p * sp.exp(push)) - 1, (1 - p) * sp.exp(-push) / p),
            Step(Solve(lam), sp.Eq(p * sp.exp(push), c), upper, upper_name),
            Step(Sign(">"), upper - star, below_upper),
            Step(Limit(p, sp.Integer(1)), star, sp.Integer(1)),
            Step(Limit(p, b), star, sp.oo),
            Step(Limit(c, sp.Integer(1)), star, sp.Integer(1)),
            Step(
                Substitute({b: sp.Rational(1, 2)}),
                star,
                1 + edge / logit(p),
                r"\lambda^*",
                assume(between(sp.Rational(1, 2), p, 1), above(1, c)),
            ),
        ),
        {"lower bound": (lower_name, lower), "upper bound": (upper_name, upper)},
        uses=("threshold",),
    )


@derivation
def sensitivity() -> Derivation:
    """Derive the three slopes of λ* and their signs."""
    in_c = 1 / ((c - 1 + p) * gap)
    in_b = (star - 1) / (b * (1 - b) * gap)
    in_p = -((c - 1) / (p * (c - 1 + p)) + (star - 1) / (p * (1 - p))) / gap
    slopes = {c: (in_c, ">"), b: (in_b, ">"), p: (in_p, "<")}
    names = {symbol: rf"\frac{{\partial\lambda^*}}{{\partial {symbol}}}" for symbol in slopes}
    flat = {symbol: sp.Piecewise((slope, p > b), (0, True)) for symbol, (slope, _) in slopes.items()}
    return Derivation(
        "sensitivity",
        AHEAD,
        (
            *(
                Step(Differentiate(symbol), star, slope, names[symbol], sign=relation)
                for symbol, (slope, relation) in slopes.items()
            ),
            *(
                Step(Join((AHEAD, BEHIND)), sp.Tuple(slopes[symbol][0], 0), flat[symbol], names[symbol], EVERY)
                for symbol in (p, b, c)
            ),
        ),
        {"sensitivity": (rf"\left({names[p]},{names[b]},{names[c]}\right)", sp.Tuple(flat[p], flat[b], flat[c]))},
        uses=("threshold",),
    )


@derivation
def inverses() -> Derivation:
    """Derive the clip, the base or the teacher whose threshold is a given λ."""
    base = p / (p + (1 - p) * ((c - 1 + p) / p) ** (1 / (lam - 1)))
    by_gap = sp.log(c + (c - 1) * (1 - b) / b * sp.exp(-gap))
    pushed = sp.Eq((lam - 1) * gap, edge)
    pushed_back, pulled = (where.use(below(lam, 1)) for where in (AHEAD, BEHIND))
    regions = (AHEAD, pushed_back, BEHIND, pulled)
    return Derivation(
        "inverses",
        AHEAD,
        (
            Step(Solve(c), sp.Eq(lam, star), ratio, "c"),
            Step(Sign(">"), ratio - 1, p * (sp.exp(push) - 1), r"R(\lambda)-1"),
            Step(Sign("<"), ratio - 1, -p * (1 - sp.exp(push)), r"R(\lambda)-1", pushed_back),
            Step(Sign("<"), ratio - 1, -p * (1 - sp.exp(push)), r"R(\lambda)-1", BEHIND),
            Step(Sign(">"), ratio - 1, p * (sp.exp(push) - 1), r"R(\lambda)-1", pulled),
            Step(Join(regions), sp.Tuple(ratio, 1, 1, ratio), sp.Max(1, ratio), "c", EVERY),
            Step(Rewrite("multiply", gap), sp.Eq(lam, star), pushed, "p"),
            Step(Substitute({b: sigmoid(y)}), pushed, sp.Eq((lam - 1) * (logit(p) - y), edge)),
            Step(Solve(y), sp.Eq((lam - 1) * (logit(p) - y), edge), logit(p) - edge / (lam - 1), r"\mathrm{logit}(b)"),
            Step(Substitute({y: logit(p) - edge / (lam - 1)}), sigmoid(y), base, "b"),
            Step(Rewrite(), edge, by_gap),
        ),
        {"clip_for": ("c", sp.Max(1, ratio)), "base_for": ("b", base), "teacher_for": ("p", pushed)},
        given={"b": sigmoid(y)},
        uses=("threshold",),
    )


@derivation
def regimes() -> Derivation:
    """Derive the three regimes of the update with the cap on the log-ratio inside the advantage."""
    clip_edge, modal_edge = 1 - (1 - p) / c, p / c
    untouched = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + s
    tail_held, modal_held = sp.log(p / q) - sp.log(c) + s, sp.log(c) - sp.log((1 - p) / (1 - q)) + s
    kept, held, mirrored = p * sp.exp(s) / (p * sp.exp(s) + 1 - p), p / c * sp.exp(s), 1 - (1 - p) / c * sp.exp(-s)
    end, back, back_end = sp.log(c / p), -sp.log((c - p) / (1 - p)), -sp.log(c / (1 - p))
    place = (between(0, p, 1), above(1, c))
    within = between(0, q, 1)
    preserved, slid, gone, slid_back, gone_back = regions = tuple(
        assume(*place, part, within)
        for part in (
            between(back, s, edge, log=1),
            between(edge, s, end, log=1),
            above(end, s, log=1),
            between(back_end, s, back, log=1),
            below(s, back_end, log=1),
        )
    )
    anywhere = assume(*place, free(s, log=1), within)
    safe = sp.And(s <= edge, s >= back)
    dead = sp.Or(s >= end, s <= back_end)
    student = sp.Piecewise((kept, safe), (1, s >= end), (0, s <= back_end), (held, s > 0), (mirrored, True))
    codes = sp.Piecewise((0, safe), (2, dead), (1, True))
    width = -sp.log(1 - (1 - p) / c) / gap
    saturated, inserted = held.subs(s, push), {s: push}
    name, code = "q", r"\text{regime}"
    return Derivation(
        "regimes",
        anywhere,
        (
            Step(Solve(q), sp.Eq(tail_thinning, c), clip_edge, "q_c"),
            Step(Solve(q), sp.Eq(p / q, c), modal_edge),
            Step(Sign(">"), clip_edge - modal_edge, (c - 1) / c, r"q_c-\frac pc"),
            Step(Differentiate(q), modal_held, -1 / (1 - q), "D_m'(q)", sign="<"),
            Step(Differentiate(q), untouched, -1 / (q * (1 - q)), "D'(q)", sign="<"),
            Step(Differentiate(q), tail_held, -1 / q, r"D_\tau'(q)", sign="<"),
            Step(Solve(q), sp.Eq(untouched, 0), kept, "q_s", preserved),
            Step(
                Sign(">"),
                clip_edge - kept,
                (1 - p) * ((c - 1 + p) - p * sp.exp(s)) / (c * (p * sp.exp(s) + 1 - p)),
                "q_c-q_s",
                preserved,
            ),
            Step(
                Sign(">"),
                kept - modal_edge,
                p * ((c - p) * sp.exp(s) - (1 - p)) / (c * (p * sp.exp(s) + 1 - p)),
                r"q_s-\frac pc",
                preserved,
            ),
            Step(Solve(q), sp.Eq(tail_held, 0), held, name, slid),
            Step(Sign(">"), held - clip_edge, (p * sp.exp(s) - (c - 1 + p)) / c, "q-q_c", slid),
            Step(Substitute({q: sp.Integer(1)}), tail_held, s - end, r"D_\tau(1)", gone, sign=">"),
            Step(Substitute({q: 1 - q, p: 1 - p, s: -s}), tail_held, -modal_held, r"D_\tau(1-q)"),
            Step(Solve(q), sp.Eq(modal_held, 0), mirrored, name, slid_back),
            Step(Sign(">"), modal_edge - mirrored, ((1 - p) * sp.exp(-s) - (c - p)) / c, r"\frac pc-q", slid_back),
            Step(Substitute({q: sp.Integer(0)}), modal_held, s - back_end, "D_m(0)", gone_back, sign="<"),
            Step(Join(regions), sp.Tuple(kept, held, 1, mirrored, 0), student, name),
            Step(Substitute(inserted), student, student.subs(inserted), name, EVERY),
            Step(Join(regions), sp.Tuple(0, 1, 2, 1, 2), codes, code),
            Step(Substitute(inserted), codes, codes.subs(inserted), code, EVERY),
            Step(Solve(lam), sp.Eq(saturated, 1), collapse, r"\lambda_c", AHEAD),
            Step(
                Sign("<"),
                push - end,
                -(end + (lam - 1) * sp.log(b * (1 - p) / (p * (1 - b)))),
                r"(\lambda-1)\Delta-\log\frac cp",
                BEHIND,
            ),
            ahead_only(collapse, r"\lambda_c"),
            Step(Rewrite("factor"), push - end, gap * (lam - collapse), r"D_\tau(1)", AHEAD),
            Step(Substitute({lam: star}), saturated, clip_edge, "", AHEAD),
            Step(Substitute({lam: star}), fixed, clip_edge, "", AHEAD),
            Step(Rewrite("subtract"), collapse - star, width, r"\lambda_c-\lambda^*", AHEAD),
            Step(Sign(">"), width, sp.log(1 + (1 - p) / (c - 1 + p)) / gap, r"\lambda_c-\lambda^*", AHEAD),
            ahead_only(width, r"\lambda_c-\lambda^*"),
            Step(Limit(p, sp.Integer(1)), width * c * gap / (1 - p), sp.Integer(1), "", AHEAD),
        ),
        {
            "collapse_point": (r"\lambda_c", unless_behind(collapse)),
            "cliff_width": (r"\lambda_c-\lambda^*", unless_behind(width)),
            "stationary_student": (name, student.subs(inserted)),
            "regime": (code, codes.subs(inserted)),
        },
        spot={p: "0.99", b: "0.9", c: "5"},
        given={"D_m(q)": modal_held, "D(q)": untouched, r"D_\tau(q)": tail_held, "r_m": p / q},
        uses=("fixed_point", "threshold"),
    )


@derivation
def flip_point() -> Derivation:
    """Derive the λ at which another token overtakes the modal token."""
    lead, flip = lam * x + (1 - lam) * y, 1 + x / (y - x)
    leads = assume(above(0, x, y), above(1, lam))
    trails = assume(below(x, 0), free(y), above(1, lam))
    ahead = assume(above(0, x), below(y, x), above(1, lam))
    anywhere = assume(free(x, y), above(1, lam))
    overtaken = sp.Piecewise((sp.Integer(1), x < 0), (sp.oo, x >= y), (flip, True))
    in_log_odds = {x: logit(p), y: logit(b)}
    name = r"\lambda_{\mathrm{flip}}"
    return Derivation(
        "flip_point",
        leads,
        (
            Step(Differentiate(lam), lead, -(y - x), r"\frac{\partial\ell}{\partial\lambda}", sign="<"),
            Step(Solve(lam), sp.Eq(lead, 0), flip, name),
            Step(Substitute({lam: sp.Integer(1)}), lead, x, r"\ell(1)", trails, sign="<"),
            Step(Sign(">"), lead, x + (lam - 1) * (x - y), r"\ell(\lambda)", ahead),
            Step(Join((trails, ahead, leads)), sp.Tuple(1, sp.oo, flip), overtaken, name, anywhere),
            Step(Substitute(in_log_odds), overtaken, overtaken.subs(in_log_odds), name, EVERY),
        ),
        {"flip_point": (name, overtaken.subs(in_log_odds)), "flip_point_from_logits": (name, overtaken)},
        spot={p: "0.8", b: "0.9"},
        given={r"\ell(\lambda)": lead},
    )


@derivation
def two_sided_threshold() -> Derivation:
    """Derive the λ up to which neither side of the fixed point is clipped."""
    modal_ratio = p + (1 - p) * sp.exp(-push)
    modal_star = 1 + sp.log((c - p) / (1 - p)) / -gap
    whole = sp.Piecewise((star, p > b), (modal_star, p < b), (sp.oo, True))
    name = r"\lambda^*_{\mathrm{two}}"
    return Derivation(
        "two_sided_threshold",
        BEHIND,
        (
            Step(Substitute({q: fixed}), p / q, modal_ratio, "", EVERY),
            Step(Sign("<"), modal_ratio - 1, -(1 - p) * (1 - sp.exp(-push)), "", AHEAD),
            Step(Solve(lam), sp.Eq(modal_ratio, c), modal_star),
            Step(Substitute({p: 1 - p, b: 1 - b}), star, modal_star),
            Step(Substitute({b: p}), modal_ratio, sp.Integer(1), "", EQUAL),
            Step(Join((AHEAD, BEHIND, EQUAL)), sp.Tuple(star, modal_star, sp.oo), whole, name, EVERY),
        ),
        {"two_sided_threshold": (name, whole)},
        spot={p: "0.3", b: "0.5", c: "5"},
        given={"r_m": p / q},
        uses=("fixed_point", "threshold"),
    )


@derivation
def operating_point() -> Derivation:
    """Derive a λ with a margin on the excess over 1."""
    point, name = 1 + (1 - eps) * (star - 1), r"\lambda_{\mathrm{op}}"
    return Derivation(
        "operating_point",
        AHEAD,
        (
            Step(Substitute({lam_star: star}), 1 + (1 - eps) * (lam_star - 1), point, name),
            Step(Sign(">"), star - point, eps * edge / gap, r"\lambda^*-\lambda_{\mathrm{op}}"),
            Step(Substitute({lam: point}), ratio, (1 - p) + p * sp.exp((1 - eps) * edge), r"R(\lambda_{\mathrm{op}})"),
            ahead_only(point, name, between(0, eps, 1)),
        ),
        {"operating_point": (name, unless_behind(point))},
        spot={p: "0.99933697778", b: "0.5", c: "5", eps: "0.1"},
        given={name: 1 + (1 - eps) * (lam_star - 1)},
        uses=("threshold",),
    )
