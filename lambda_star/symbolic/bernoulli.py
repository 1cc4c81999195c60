"""One output position: what ``lambda_star.bernoulli`` evaluate."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Limit, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, eps, gap, lam, logit, p, positive, q, sigmoid, x, y

__all__ = [
    "collapse_derivation",
    "fixed_point_derivation",
    "flip_point_derivation",
    "inverse_derivation",
    "limits_derivation",
    "operating_point_derivation",
    "sensitivity_derivation",
    "threshold_derivation",
    "two_sided_derivation",
]

PAPER = "paper, Theorem 4.1"
EQUATION_4 = "paper, Eq. 4"

k, m, n, s, u, v, w, z = positive("k m n s u v w z")
Z, peak = sp.symbols(r"Z_{\lambda} q^{\dagger}", positive=True)
"""The normaliser of the extrapolated distribution, and its modal probability."""
_modal, _tail = (u / (1 + u)) ** (m - n) * (v / (1 + v)) ** (1 - m + n), (1 + u) ** (n - m) * (1 + v) ** (m - n - 1)
ANY = Domain(
    r"0<p,b,q<1,\quad \lambda\in\mathbb{R}",
    {
        p: u / (1 + u),
        b: v / (1 + v),
        q: z / (1 + z),
        lam: m - n,
        Z: _modal + _tail,
        peak: _modal / (_modal + _tail),
    },
)
_above = v * (1 + s)
AHEAD = Domain(
    r"0<b<p<1,\quad c>1,\quad \lambda>1",
    {b: v / (1 + v), p: _above / (1 + _above), c: 1 + w, lam: 1 + m, eps: k / (1 + k), q: z / (1 + z), y: sp.log(z)},
)
BEHIND = Domain(
    r"0<p<b<1,\quad c>1,\quad \lambda>1",
    {p: v / (1 + v), b: _above / (1 + _above), c: 1 + w, lam: 1 + m, q: z / (1 + z)},
)
LOG_ODDS = Domain(r"x>y,\quad c>1", {x: sp.log(u), y: sp.log(v), c: 1 + w})

push = (lam - 1) * gap
edge = sp.log((c - 1 + p) / p)
star = 1 + edge / gap
ratio = (1 - p) + p * sp.exp(push)
fixed = p * sp.exp(push) / (p * sp.exp(push) + 1 - p)
collapse = 1 + sp.log(c / p) / gap


def _advantage(teacher: sp.Expr, student: sp.Expr, base: sp.Expr) -> sp.Expr:
    """A(a) = λ log π_T(a) − log π(a) − (λ−1) log π_B(a)."""
    return lam * sp.log(teacher) - sp.log(student) - (lam - 1) * sp.log(base)


@cache
def fixed_point_derivation() -> Derivation:
    """The student that maximises the objective.

    >>> fixed_point_derivation().check()
    6
    """
    objective = q * _advantage(p, q, b) + (1 - q) * _advantage(1 - p, 1 - q, 1 - b)
    divergence = q * sp.log(q / peak) + (1 - q) * sp.log((1 - q) / (1 - peak))
    slope = lam * logit(p) + (1 - lam) * logit(b) - logit(q)
    return Derivation(
        "fixed_point",
        "Objective and fixed point",
        ANY,
        (
            Step(
                "The objective is the mean of the advantage "
                r"$A(a)=\lambda\log\pi_T(a)-\log\pi(a)-(\lambda-1)\log\pi_B(a)$ over the student's two outcomes.",
                Define(),
                objective,
                objective,
                PAPER,
                r"J_\lambda(q)",
            ),
            Step(
                r"It is a constant less a KL divergence from $q^\dagger=p^\lambda b^{1-\lambda}/Z_\lambda$, with "
                r"$Z_\lambda=p^\lambda b^{1-\lambda}+(1-p)^\lambda(1-b)^{1-\lambda}$: a divergence vanishes only where its "
                r"arguments agree, so $q^\dagger$ is the only maximiser.",
                Rewrite("collect"),
                objective,
                sp.log(Z) - divergence,
                PAPER,
                r"J_\lambda(q)=\log Z_\lambda-\mathrm{KL}(q \Vert q^\dagger)",
            ),
            Step(
                "The same by calculus: the slope in the student's probability.",
                Differentiate(q),
                objective,
                slope,
                PAPER,
                r"J_\lambda'(q)",
            ),
            Step(
                "The slope falls everywhere, so the objective is strictly concave and has one stationary point at most.",
                Differentiate(q),
                slope,
                -1 / (q * (1 - q)),
                PAPER,
                r"J_\lambda''(q)",
            ),
            Step("Its sign.", Sign("<"), -1 / (q * (1 - q)), -1 / (q * (1 - q)), PAPER, r"J_\lambda''(q)"),
            Step(
                r"Where the slope vanishes, $\mathrm{logit}(q)=\mathrm{logit}(p)+(\lambda-1)\Delta$ with the gap "
                r"$\Delta=\mathrm{logit}(p)-\mathrm{logit}(b)$. That point is the fixed point.",
                Solve(q),
                sp.Eq(slope, 0),
                fixed,
                PAPER,
                r"q_\lambda",
            ),
        ),
        {"fixed_point": (r"q_\lambda", fixed)},
        spot={p: "0.9", b: "0.5", lam: "2"},
        remarks="The code divides both weights by the larger exponential, so that neither overflows.",
    )


@cache
def threshold_derivation() -> Derivation:
    """λ*, from the clip-safe region to Eq. 4 and its accurate forms.

    >>> threshold_derivation().check()
    10
    """
    printed = (sp.log((1 - p) / (c - 1 + p)) - sp.log((1 - b) / b)) / (sp.log((1 - p) / p) - sp.log((1 - b) / b))
    margin_form = 1 + sp.log(1 + (c - 1) / p) / sp.log(1 + (p - b) / (b * (1 - p)))
    log_odds_form = 1 + sp.log(1 + (c - 1) * (1 + sp.exp(-x))) / (x - y)
    growth = p * gap * sp.exp(push)
    return Derivation(
        "threshold",
        "Clip-safe region and threshold",
        AHEAD,
        (
            Step(
                "The tail ratio: how many times smaller the fixed point's tail is than the teacher's.",
                Substitute({q: fixed}),
                (1 - p) / (1 - q),
                ratio,
                PAPER,
                r"R(\lambda)",
            ),
            Step(
                "The log-odds gap without cancellation at $p\\approx b$.",
                Rewrite(),
                logit(p) - logit(b),
                sp.log(1 + (p - b) / (b * (1 - p))),
                "extension",
                r"\Delta",
            ),
            Step("How the tail ratio changes with λ.", Differentiate(lam), ratio, growth, PAPER, r"R'(\lambda)"),
            Step(
                "It grows where the teacher is ahead of the base, so $R(\\lambda)\\le c$ holds up to one λ and not beyond.",
                Sign(">"),
                growth,
                growth,
                PAPER,
                r"R'(\lambda)",
            ),
            Step(
                r"A λ is clip-safe where $R(\lambda)\le c$, a student tail of at least $(1-p)/c$. The threshold is the border.",
                Solve(lam),
                sp.Eq(ratio, c),
                star,
                PAPER,
                r"\lambda^*",
            ),
            Step("This is Eq. 4 as printed.", Rewrite(), printed, star, EQUATION_4, r"\lambda^*"),
            Step(
                "Margin form, the one to compute with: no digit is lost at $p\\approx b$ or $c\\approx1$.",
                Rewrite(),
                star,
                margin_form,
                EQUATION_4,
                r"\lambda^*",
            ),
            Step(
                r"In log-odds $x=\mathrm{logit}(p)$ and $y=\mathrm{logit}(b)$, for positions where $1-p$ is no float.",
                Substitute({p: sigmoid(x), b: sigmoid(y)}),
                star,
                log_odds_form,
                EQUATION_4,
                r"\lambda^*",
                LOG_ODDS,
            ),
            Step(
                r"Where the base is ahead of the teacher the tail ratio falls: every $\lambda\ge1$ is safe and $\lambda^*=\infty$.",
                Sign("<"),
                growth,
                growth,
                PAPER,
                r"R'(\lambda)",
                BEHIND,
            ),
            Step(
                "Without any room for the clip nothing is safe above 1.",
                Substitute({c: sp.Integer(1)}),
                star,
                sp.Integer(1),
            ),
        ),
        {
            "threshold": (r"\lambda^*", sp.Piecewise((star, p > b), (sp.oo, True))),
            "excess": (r"\lambda^*-1", sp.Piecewise((star - 1, p > b), (sp.oo, True))),
            "tail_ratio": (r"R(\lambda)", ratio),
            "is_clip_safe": (r"\text{clip-safe}", sp.Le(ratio, c)),
            "threshold_from_logits": (r"\lambda^*", sp.Piecewise((log_odds_form, x > y), (sp.oo, True))),
        },
        spot={p: "0.99933697778", b: "0.5", c: "5"},
        remarks=r"""What $c$ is: the cap on how many times smaller the student's tail mass may become than the teacher's. The importance
ratios that training codes clip (training engine to rollout engine) are other ratios; a clip on those is a $c$ only if the
code applies it to the ratio of teacher to student. How the paper ties its importance-sampling clip to the tail ratio is not known to us.""",
    )


@cache
def limits_derivation() -> Derivation:
    """Bounds and limits of λ*.

    >>> limits_derivation().check()
    7
    """
    lower = sp.log(1 + (c - 1) * (1 - p) / (c * p))
    upper = sp.log(1 + (1 - p) / (c - 1 + p))
    return Derivation(
        "limits",
        "Bounds and limits",
        AHEAD,
        (
            Step(
                r"Lower bound: $\lambda^*-1$ exceeds $\log(c)/\Delta$, because $(c-1+p)-cp$ is positive.",
                Rewrite("factor"),
                (c - 1 + p) - c * p,
                (c - 1) * (1 - p),
            ),
            Step("Hence the difference is positive.", Sign(">"), (edge - sp.log(c)) / gap, lower / gap),
            Step(
                r"Upper bound: $\lambda^*-1$ stays below $\log(c/p)/\Delta$.",
                Sign(">"),
                (sp.log(c / p) - edge) / gap,
                upper / gap,
            ),
            Step(
                "The more deterministic the teacher, the nearer the threshold is to 1.",
                Limit(p, sp.Integer(1), s, sp.oo),
                star,
                sp.Integer(1),
            ),
            Step(
                "It leaves every bound as the teacher comes down to the base.",
                Limit(p, b, s, sp.Integer(0)),
                star,
                sp.oo,
            ),
            Step("It goes to 1 as the clip closes.", Limit(c, sp.Integer(1), w, sp.Integer(0)), star, sp.Integer(1)),
            Step(
                "Base-neutral case: only the teacher's log-odds are left in the denominator.",
                Substitute({b: sp.Rational(1, 2)}),
                star,
                1 + edge / logit(p),
            ),
        ),
        {
            "lower bound": (r"\text{lower bound of }\lambda^*", 1 + sp.log(c) / gap),
            "upper bound": (r"\text{upper bound of }\lambda^*", 1 + sp.log(c / p) / gap),
        },
    )


@cache
def sensitivity_derivation() -> Derivation:
    """The three slopes of λ*.

    >>> sensitivity_derivation().check()
    6
    """
    in_c = 1 / ((c - 1 + p) * gap)
    in_b = (star - 1) / (b * (1 - b) * gap)
    in_p = -((c - 1) / (p * (c - 1 + p)) + (star - 1) / (p * (1 - p))) / gap
    slopes = {c: in_c, b: in_b, p: in_p}
    words = {
        c: ("A wider clip raises the threshold.", ">"),
        b: ("A better base raises it, so a base that is measured too high makes λ look safer than it is.", ">"),
        p: ("A more deterministic teacher lowers it.", "<"),
    }
    steps = []
    for symbol, slope in slopes.items():
        name = rf"\frac{{\partial\lambda^*}}{{\partial {symbol}}}"
        text, relation = words[symbol]
        steps.append(Step(f"The slope in ${symbol}$.", Differentiate(symbol), star, slope, name=name))
        steps.append(Step(text, Sign(relation), slope, slope, name=name))
    flat = sp.Tuple(*(sp.Piecewise((slopes[symbol], p > b), (0, True)) for symbol in (p, b, c)))
    return Derivation(
        "sensitivity",
        "Slopes",
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


@cache
def inverse_derivation() -> Derivation:
    """The clip, the base or the teacher that a given λ needs.

    >>> inverse_derivation().check()
    4
    """
    base = sigmoid(logit(p) - edge / (lam - 1))
    by_gap = sp.log(c + (c - 1) * (1 - b) / b * sp.exp(-gap))
    return Derivation(
        "inverse",
        "Inverses",
        AHEAD,
        (
            Step(
                "The least clip for which λ is safe is the tail ratio itself; no clip is below 1.",
                Solve(c),
                sp.Eq(lam, star),
                ratio,
                name="c",
            ),
            Step(
                "The log-odds of the base for which λ is the threshold.",
                Solve(y),
                sp.Eq((lam - 1) * (logit(p) - y), edge),
                logit(p) - edge / (lam - 1),
                name=r"\mathrm{logit}(b)",
            ),
            Step("The base itself.", Substitute({y: logit(p) - edge / (lam - 1)}), sigmoid(y), base, name="b"),
            Step(
                r"The teacher has no closed form: with $\frac1p=1+\frac{1-b}{b}e^{-\Delta}$ the edge depends on the gap. By the "
                "slopes and limits above the threshold falls strictly from infinity to 1 as the teacher rises from the base "
                "to 1, so there is one root. Newton's method runs on the logarithm of both sides of "
                r"$(\lambda-1)\Delta=\log\left(c+(c-1)\frac{1-b}{b}e^{-\Delta}\right)$.",
                Rewrite(),
                edge,
                by_gap,
            ),
        ),
        {
            "clip_for": ("c", sp.Max(1, ratio)),
            "base_for": ("b", base),
            "teacher_for": ("p", sp.Eq((lam - 1) * gap, edge)),
        },
        module="bernoulli",
    )


@cache
def collapse_derivation() -> Derivation:
    """The three regimes of a student whose clip sits inside the update.

    >>> collapse_derivation().check()
    14
    """
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
        "collapse",
        "Three regimes and the width of the cliff",
        AHEAD,
        (
            Step(
                r"The model: the clip sits inside the update, $A_c(a)=\min\left(\log\frac{\pi_T(a)}{\pi(a)},\log c\right)"
                r"+(\lambda-1)\log\frac{\pi_T(a)}{\pi_B(a)}$. The student moves by the difference of the advantages of its two "
                "outcomes. Without the clip that is:",
                Define(),
                free,
                free,
                name="D(q)",
            ),
            Step("It rests at the fixed point.", Substitute({q: fixed}), free, sp.Integer(0), name=r"D(q_\lambda)"),
            Step(
                r"The clip acts on the tail once $\log\frac{1-p}{1-q}>\log c$. At the fixed point the left side is $\log R(\lambda)$, "
                r"so up to $\lambda^*$ the clip never acts: **preserving**.",
                Substitute({q: fixed}),
                (1 - p) / (1 - q),
                ratio,
                name=r"\frac{1-p}{1-q_\lambda}",
            ),
            Step(
                "Where it acts, the tail's restoring force is the constant $\\log c$:",
                Define(),
                clipped,
                clipped,
                name="D_c(q)",
            ),
            Step(
                r"The student then rests further out, with a tail that slides to 0: **saturated**.",
                Solve(q),
                sp.Eq(clipped, 0),
                saturated,
                name="q",
            ),
            Step("How the clipped drift changes with the student.", Differentiate(q), clipped, -1 / q, name="D_c'(q)"),
            Step("It falls, so this rest is stable.", Sign("<"), -1 / q, -1 / q, name="D_c'(q)"),
            Step(
                r"It exists as long as it is below 1. From $\lambda_c$ on nothing holds the student: **collapsing**.",
                Solve(lam),
                sp.Eq(saturated, 1),
                collapse,
                name=r"\lambda_c",
            ),
            Step(
                r"Above $\lambda_c$ the drift of a student close to 1 is $\Delta(\lambda-\lambda_c)$, in log-odds per unit of "
                "natural-gradient time.",
                Substitute({q: sp.Integer(1)}),
                clipped,
                gap * (lam - collapse),
                name="D_c(1)",
            ),
            Step(
                r"At $\lambda^*$ the two formulas meet, at a tail of $(1-p)/c$.",
                Substitute({lam: star}),
                saturated,
                1 - (1 - p) / c,
            ),
            Step(
                r"The same from below.",
                Substitute({lam: star}),
                fixed,
                1 - (1 - p) / c,
            ),
            Step(
                "The width of the cliff.",
                Rewrite("subtract"),
                collapse - star,
                width,
                name=r"\lambda_c-\lambda^*",
            ),
            Step(
                "It is positive.",
                Sign(">"),
                width,
                sp.log(1 + (1 - p) / (c - 1 + p)) / gap,
                name=r"\lambda_c-\lambda^*",
            ),
            Step(
                r"The more deterministic, the sharper: the width is asymptotically $\frac{1-p}{c\Delta}$.",
                Limit(p, sp.Integer(1), s, sp.oo),
                width * c * gap / (1 - p),
                sp.Integer(1),
            ),
        ),
        {
            "collapse_point": (r"\lambda_c", sp.Piecewise((collapse, p > b), (sp.oo, True))),
            "cliff_width": (r"\lambda_c-\lambda^*", sp.Piecewise((width, p > b), (sp.oo, True))),
            "stationary_student": ("q", student),
            "regime": (r"\text{regime}", codes),
        },
        spot={p: "0.99", b: "0.9", c: "5"},
        remarks=r"""For a push against the modal token ($p<b$ with $\lambda>1$, or $p>b$ with $\lambda<1$) exchange modal token and tail:
replace $p$ by $1-p$, $q$ by $1-q$ and $(\lambda-1)\Delta$ by $-(\lambda-1)\Delta$; the results above do. Regimes are numbered: 0 preserving, 1 saturated, 2
collapsing. Without a clip, $c=\infty$, every λ is preserving: an experiment needs that control.""",
    )


@cache
def flip_point_derivation() -> Derivation:
    """Where another token overtakes the teacher's modal one.

    >>> flip_point_derivation().check()
    4
    """
    teacher, base = sp.symbols("delta_T delta_B", real=True)
    domain = Domain(r"\frac12\le p<b<1", {p: (1 + u) / (2 + u), b: (1 + u + v) / (2 + u + v), lam: 1 + m})
    tokens = Domain(r"\delta_B>\delta_T", {teacher: u, base: u + v, lam: 1 + m})
    flip = logit(b) / (logit(b) - logit(p))
    return Derivation(
        "flip_point",
        "Flip point",
        domain,
        (
            Step(
                r"Against one other token, with $\delta_T$ and $\delta_B$ the modal token's lead in log-probability under teacher and "
                r"base: the lead under $\pi_\lambda$ is $\lambda\delta_T+(1-\lambda)\delta_B$ and is gone at",
                Solve(lam),
                sp.Eq(lam * teacher + (1 - lam) * base, 0),
                base / (base - teacher),
                domain=tokens,
            ),
            Step(
                "The lead falls as λ grows where the base is more certain than the teacher, so the token is overtaken once.",
                Sign("<"),
                sp.diff(lam * teacher + (1 - lam) * base, lam),
                -(base - teacher),
                domain=tokens,
            ),
            Step(
                "Two outcomes: the log-odds of the fixed point vanish at",
                Solve(lam),
                sp.Eq(lam * logit(p) + (1 - lam) * logit(b), 0),
                flip,
            ),
            Step("In the form that the code evaluates.", Rewrite(), flip, 1 + logit(p) / (logit(b) - logit(p))),
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
        remarks=r"For $p<\frac12$ the tail leads at $\lambda=1$ already. A token can flip before it reaches $\lambda^*$, clip or no clip.",
    )


@cache
def two_sided_derivation() -> Derivation:
    """The λ at which neither side of the fixed point is clipped.

    >>> two_sided_derivation().check()
    3
    """
    modal_ratio = p + (1 - p) * sp.exp(-push)
    modal_star = 1 + sp.log((c - p) / (1 - p)) / -gap
    return Derivation(
        "two_sided",
        "Two-sided threshold",
        BEHIND,
        (
            Step(
                "Where the base is ahead the modal token shrinks: how many times smaller it is under the fixed point.",
                Substitute({q: fixed}),
                p / q,
                modal_ratio,
            ),
            Step("It reaches the clip at", Solve(lam), sp.Eq(modal_ratio, c), modal_star),
            Step(
                "That is the threshold of the tail with modal token and tail exchanged.",
                Substitute({p: 1 - p, b: 1 - b}),
                star,
                modal_star,
            ),
        ),
        {
            "two_sided_threshold": (
                r"\lambda^*_{\mathrm{two}}",
                sp.Piecewise((star, p > b), (modal_star, p < b), (sp.oo, True)),
            )
        },
        spot={p: "0.3", b: "0.5", c: "5"},
    )


@cache
def operating_point_derivation() -> Derivation:
    """A λ with a margin on the excess over 1.

    >>> operating_point_derivation().check()
    3
    """
    point = 1 + (1 - eps) * (star - 1)
    return Derivation(
        "operating_point",
        "From many positions to one λ",
        AHEAD,
        (
            Step(
                r"The margin $\varepsilon$ is on the excess over 1, not on λ, so that it means the same for a $\lambda^*$ of 1.05 and of 3.",
                Define(),
                point,
                point,
                name=r"\lambda_{\mathrm{op}}",
            ),
            Step(
                "It lies below the threshold.",
                Sign(">"),
                star - point,
                eps * edge / gap,
                name=r"\lambda^*-\lambda_{\mathrm{op}}",
            ),
            Step(
                r"The tail ratio that is left there.",
                Substitute({lam: point}),
                ratio,
                (1 - p) + p * sp.exp((1 - eps) * edge),
                name=r"R(\lambda_{\mathrm{op}})",
            ),
        ),
        {"operating_point": (r"\lambda_{\mathrm{op}}", sp.Piecewise((point, p > b), (sp.oo, True)))},
        spot={p: "0.99933697778", b: "0.5", c: "5", eps: "0.1"},
        remarks=r"""The strict threshold of an answer is the least $\lambda^*$ over its contract positions. `lambda_star.calibration` takes $\lambda^*$ per class
of contract tokens from the mean masses of the class, and per position from each $(p,b)$; its operating point rests on a low quantile of the
latter, 1 % by default. Positions share the student's parameters, so positions past their own threshold can drag others along; which
quantile predicts best is an empirical question, and the choice of 1 % is ours. Intervals resample whole answers.""",
    )
