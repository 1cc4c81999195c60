"""One output position: the derivations of what ``lambda_star.bernoulli`` evaluates."""

from __future__ import annotations

import sympy as sp

from lambda_star.symbolic.assumptions import Assumptions
from lambda_star.symbolic.derivation import Derivation, Step, derivation, renamed
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, eps, gap, lam, logit, p, positive, q, sigmoid, x, y

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


k, m, n, s, u, v, w, z = positive("k m n s u v w z")
Z, peak = sp.symbols(r"Z_{\lambda} q^{\dagger}", positive=True)
"""The normaliser of the fixed point, and its modal probability."""
_modal, _tail = (u / (1 + u)) ** (m - n) * (v / (1 + v)) ** (1 - m + n), (1 + u) ** (n - m) * (1 + v) ** (m - n - 1)
ANY = Assumptions(
    r"0<p,b,q<1,\quad \lambda\in\mathbb{R}",
    {p: u / (1 + u), b: v / (1 + v), q: z / (1 + z), lam: m - n, Z: _modal + _tail, peak: _modal / (_modal + _tail)},
)
_above = v * (1 + s)
AHEAD = Assumptions(
    r"0<b<p<1,\quad c>1,\quad \lambda>1",
    {b: v / (1 + v), p: _above / (1 + _above), c: 1 + w, lam: 1 + m, eps: k / (1 + k), q: z / (1 + z), y: sp.log(z)},
)
BEHIND = Assumptions(
    r"0<p<b<1,\quad c>1,\quad \lambda>1",
    {p: v / (1 + v), b: _above / (1 + _above), c: 1 + w, lam: 1 + m, q: z / (1 + z)},
)
LOG_ODDS = Assumptions(r"x>y,\quad c>1", {x: sp.log(u), y: sp.log(v), c: 1 + w})

push = (lam - 1) * gap
edge = sp.log((c - 1 + p) / p)
star = 1 + edge / gap
ratio = (1 - p) + p * sp.exp(push)
fixed = p * sp.exp(push) / (p * sp.exp(push) + 1 - p)
collapse = 1 + sp.log(c / p) / gap


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
            Step(Define(), objective, name=r"J_\lambda(q)"),
            Step(
                Rewrite("collect"),
                objective,
                sp.log(Z) - divergence,
                r"J_\lambda(q)=\log Z_\lambda-\mathrm{KL}(q \Vert q^\dagger)",
            ),
            Step(Differentiate(q), objective, slope, r"J_\lambda'(q)"),
            Step(Differentiate(q), slope, -1 / (q * (1 - q)), r"J_\lambda''(q)"),
            Step(Sign("<"), -1 / (q * (1 - q)), name=r"J_\lambda''(q)"),
            Step(Solve(q), sp.Eq(slope, 0), fixed, r"q_\lambda"),
        ),
        {"fixed_point": (r"q_\lambda", fixed)},
        spot={p: "0.9", b: "0.5", lam: "2"},
    )


@derivation
def threshold() -> Derivation:
    """Derive λ* from the clip-safe region, and bring it into the form of Eq. 4 and into accurate forms."""
    printed = (sp.log((1 - p) / (c - 1 + p)) - sp.log((1 - b) / b)) / (sp.log((1 - p) / p) - sp.log((1 - b) / b))
    margin_form = 1 + sp.log(1 + (c - 1) / p) / sp.log(1 + (p - b) / (b * (1 - p)))
    log_odds_form = 1 + sp.log(1 + (c - 1) * (1 + sp.exp(-x))) / (x - y)
    growth = p * gap * sp.exp(push)
    return Derivation(
        "threshold",
        AHEAD,
        (
            Step(Substitute({q: fixed}), (1 - p) / (1 - q), ratio, r"R(\lambda)"),
            Step(Rewrite(), logit(p) - logit(b), sp.log(1 + (p - b) / (b * (1 - p))), r"\Delta"),
            Step(Differentiate(lam), ratio, growth, r"R'(\lambda)"),
            Step(Sign(">"), growth, name=r"R'(\lambda)"),
            Step(Solve(lam), sp.Eq(ratio, c), star, r"\lambda^*"),
            Step(Rewrite(), printed, star, r"\lambda^*"),
            Step(Rewrite(), star, margin_form, r"\lambda^*"),
            Step(Substitute({p: sigmoid(x), b: sigmoid(y)}), star, log_odds_form, r"\lambda^*", assumptions=LOG_ODDS),
            Step(Sign("<"), growth, name=r"R'(\lambda)", assumptions=BEHIND),
            Step(Substitute({c: sp.Integer(1)}), star, sp.Integer(1)),
        ),
        {
            "threshold": (r"\lambda^*", sp.Piecewise((star, p > b), (sp.oo, True))),
            "excess": (r"\lambda^*-1", sp.Piecewise((star - 1, p > b), (sp.oo, True))),
            "tail_ratio": (r"R(\lambda)", ratio),
            "is_clip_safe": (r"\text{clip-safe}", sp.Le(ratio, c)),
            "threshold_from_logits": (r"\lambda^*", sp.Piecewise((log_odds_form, x > y), (sp.oo, True))),
        },
        spot={p: "0.99933697778", b: "0.5", c: "5"},
    )


@derivation
def limits() -> Derivation:
    """Derive bounds and limits of λ*."""
    lower = sp.log(1 + (c - 1) * (1 - p) / (c * p))
    upper = sp.log(1 + (1 - p) / (c - 1 + p))
    return Derivation(
        "limits",
        AHEAD,
        (
            Step(Rewrite("factor"), (c - 1 + p) - c * p, (c - 1) * (1 - p)),
            Step(Sign(">"), (edge - sp.log(c)) / gap, lower / gap),
            Step(Sign(">"), (sp.log(c / p) - edge) / gap, upper / gap),
            Step(Limit(p, sp.Integer(1), s, sp.oo), star, sp.Integer(1)),
            Step(Limit(p, b, s, sp.Integer(0)), star, sp.oo),
            Step(Limit(c, sp.Integer(1), w, sp.Integer(0)), star, sp.Integer(1)),
            Step(Substitute({b: sp.Rational(1, 2)}), star, 1 + edge / logit(p)),
        ),
        {
            "lower bound": (r"\text{lower bound of }\lambda^*", 1 + sp.log(c) / gap),
            "upper bound": (r"\text{upper bound of }\lambda^*", 1 + sp.log(c / p) / gap),
        },
    )


@derivation
def sensitivity() -> Derivation:
    """Derive the three slopes of λ* and their signs."""
    in_c = 1 / ((c - 1 + p) * gap)
    in_b = (star - 1) / (b * (1 - b) * gap)
    in_p = -((c - 1) / (p * (c - 1 + p)) + (star - 1) / (p * (1 - p))) / gap
    slopes = {c: (in_c, ">"), b: (in_b, ">"), p: (in_p, "<")}
    steps = []
    for symbol, (slope, relation) in slopes.items():
        name = rf"\frac{{\partial\lambda^*}}{{\partial {symbol}}}"
        steps += [Step(Differentiate(symbol), star, slope, name), Step(Sign(relation), slope, name=name)]
    flat = sp.Tuple(*(sp.Piecewise((slopes[symbol][0], p > b), (0, True)) for symbol in (p, b, c)))
    return Derivation(
        "sensitivity",
        AHEAD,
        tuple(steps),
        {
            "sensitivity": (
                r"\left(\frac{\partial\lambda^*}{\partial p},\frac{\partial\lambda^*}{\partial b},"
                r"\frac{\partial\lambda^*}{\partial c}\right)",
                flat,
            )
        },
    )


@derivation
def inverses() -> Derivation:
    """Derive the clip, the base or the teacher whose threshold is a given λ."""
    base = sigmoid(logit(p) - edge / (lam - 1))
    by_gap = sp.log(c + (c - 1) * (1 - b) / b * sp.exp(-gap))
    return Derivation(
        "inverses",
        AHEAD,
        (
            Step(Solve(c), sp.Eq(lam, star), ratio, "c"),
            Step(Solve(y), sp.Eq((lam - 1) * (logit(p) - y), edge), logit(p) - edge / (lam - 1), r"\mathrm{logit}(b)"),
            Step(Substitute({y: logit(p) - edge / (lam - 1)}), sigmoid(y), base, "b"),
            Step(Rewrite(), edge, by_gap),
        ),
        {
            "clip_for": ("c", sp.Max(1, ratio)),
            "base_for": ("b", base),
            "teacher_for": ("p", sp.Eq((lam - 1) * gap, edge)),
        },
    )


@derivation
def regimes() -> Derivation:
    """Derive the three regimes of the update with the cap on the log-ratio inside the advantage."""
    free = sp.log(p / q) - sp.log((1 - p) / (1 - q)) + push
    clipped = sp.log(p / q) - sp.log(c) + push
    saturated = p / c * sp.exp(push)
    width = -sp.log(1 - (1 - p) / c) / gap
    mirrored = 1 - (1 - p) / c * sp.exp(-push)
    mirrored_edge, mirrored_end = -sp.log((c - p) / (1 - p)), -sp.log(c / (1 - p))
    preserving = sp.And(push <= edge, push >= mirrored_edge)
    student = sp.Piecewise(
        (fixed, preserving),
        (sp.Integer(1), push >= sp.log(c / p)),
        (sp.Integer(0), push <= mirrored_end),
        (saturated, push > 0),
        (mirrored, True),
    )
    codes = sp.Piecewise(
        (sp.Integer(0), preserving),
        (sp.Integer(2), sp.Or(push >= sp.log(c / p), push <= mirrored_end)),
        (sp.Integer(1), True),
    )
    return Derivation(
        "regimes",
        AHEAD,
        (
            Step(Define(), free, name="D(q)"),
            Step(Substitute({q: fixed}), free, sp.Integer(0), r"D(q_\lambda)"),
            Step(Substitute({q: fixed}), (1 - p) / (1 - q), ratio, r"\frac{1-p}{1-q_\lambda}"),
            Step(Define(), clipped, name="D_c(q)"),
            Step(Solve(q), sp.Eq(clipped, 0), saturated, "q"),
            Step(Differentiate(q), clipped, -1 / q, "D_c'(q)"),
            Step(Sign("<"), -1 / q, name="D_c'(q)"),
            Step(Solve(lam), sp.Eq(saturated, 1), collapse, r"\lambda_c"),
            Step(Substitute({q: sp.Integer(1)}), clipped, gap * (lam - collapse), "D_c(1)"),
            Step(Substitute({lam: star}), saturated, 1 - (1 - p) / c),
            Step(Substitute({lam: star}), fixed, 1 - (1 - p) / c),
            Step(Rewrite("subtract"), collapse - star, width, r"\lambda_c-\lambda^*"),
            Step(Sign(">"), width, sp.log(1 + (1 - p) / (c - 1 + p)) / gap, r"\lambda_c-\lambda^*"),
            Step(Limit(p, sp.Integer(1), s, sp.oo), width * c * gap / (1 - p), sp.Integer(1)),
        ),
        {
            "collapse_point": (r"\lambda_c", sp.Piecewise((collapse, p > b), (sp.oo, True))),
            "cliff_width": (r"\lambda_c-\lambda^*", sp.Piecewise((width, p > b), (sp.oo, True))),
            "stationary_student": ("q", student),
            "regime": (r"\text{regime}", codes),
        },
        spot={p: "0.99", b: "0.9", c: "5"},
    )


@derivation
def flip_point() -> Derivation:
    """Derive the λ at which another token overtakes the modal token."""
    teacher, base = sp.symbols("delta_T delta_B", real=True)
    ahead = Assumptions(r"\frac12\le p<b<1", {p: (1 + u) / (2 + u), b: (1 + u + v) / (2 + u + v), lam: 1 + m})
    tokens = Assumptions(r"\delta_B>\delta_T", {teacher: u, base: u + v, lam: 1 + m})
    flip = logit(b) / (logit(b) - logit(p))
    return Derivation(
        "flip_point",
        ahead,
        (
            Step(Solve(lam), sp.Eq(lam * teacher + (1 - lam) * base, 0), base / (base - teacher), assumptions=tokens),
            Step(Sign("<"), sp.diff(lam * teacher + (1 - lam) * base, lam), -(base - teacher), assumptions=tokens),
            Step(Solve(lam), sp.Eq(lam * logit(p) + (1 - lam) * logit(b), 0), flip),
            Step(Rewrite(), flip, 1 + logit(p) / (logit(b) - logit(p))),
        ),
        {
            "flip_point": (
                r"\lambda_{\mathrm{flip}}",
                sp.Piecewise((sp.Integer(1), 2 * p < 1), (sp.oo, p >= b), (flip, True)),
            ),
            "flip_point_from_logits": (
                r"\lambda_{\mathrm{flip}}",
                sp.Piecewise((sp.Integer(1), x < 0), (sp.oo, x >= y), (1 + x / (y - x), True)),
            ),
        },
        spot={p: "0.8", b: "0.9"},
    )


@derivation
def two_sided_threshold() -> Derivation:
    """Derive the λ up to which neither side of the fixed point is clipped."""
    modal_ratio = p + (1 - p) * sp.exp(-push)
    modal_star = 1 + sp.log((c - p) / (1 - p)) / -gap
    return Derivation(
        "two_sided_threshold",
        BEHIND,
        (
            Step(Substitute({q: fixed}), p / q, modal_ratio),
            Step(Solve(lam), sp.Eq(modal_ratio, c), modal_star),
            Step(Substitute({p: 1 - p, b: 1 - b}), star, modal_star),
        ),
        {
            "two_sided_threshold": (
                r"\lambda^*_{\mathrm{two}}",
                sp.Piecewise((star, p > b), (modal_star, p < b), (sp.oo, True)),
            )
        },
        spot={p: "0.3", b: "0.5", c: "5"},
    )


@derivation
def operating_point() -> Derivation:
    """Derive a λ with a margin on the excess over 1."""
    point = 1 + (1 - eps) * (star - 1)
    return Derivation(
        "operating_point",
        AHEAD,
        (
            Step(Define(), point, name=r"\lambda_{\mathrm{op}}"),
            Step(Sign(">"), star - point, eps * edge / gap, r"\lambda^*-\lambda_{\mathrm{op}}"),
            Step(Substitute({lam: point}), ratio, (1 - p) + p * sp.exp((1 - eps) * edge), r"R(\lambda_{\mathrm{op}})"),
        ),
        {"operating_point": (r"\lambda_{\mathrm{op}}", sp.Piecewise((point, p > b), (sp.oo, True)))},
        spot={p: "0.99933697778", b: "0.5", c: "5", eps: "0.1"},
    )
