"""Parts of a row of K tokens: classes, and tokens that are not known."""

from __future__ import annotations

from functools import cache

import sympy as sp

from lambda_star.symbolic.assumptions import Domain
from lambda_star.symbolic.bernoulli import star
from lambda_star.symbolic.categorical.bounds import centre, rho, w
from lambda_star.symbolic.categorical.ratios import A, partition_by_ratio, r, t, weights
from lambda_star.symbolic.derivation import Derivation, Step
from lambda_star.symbolic.rules import Define, Differentiate, Rewrite, Sign, Solve, Substitute
from lambda_star.symbolic.symbols import b, c, lam, p, positive, real

__all__ = ["class_march_derivation", "rest_derivation"]

g, h, k, m, s, u, v, z = positive("g h k m s u v z")
mean, class_mean, r_low, r_high, A_C = real(r"\mu \mu_C r_{\mathrm{lo}} r_{\mathrm{hi}} A_C")
mean_before, mean_after = real(r"\mu_{0} \mu_{1}")
class_mean_before, class_mean_after = real(r"\mu_{C0} \mu_{C1}")
class_mass, start, step = positive(r"T_C R_0 \delta")
"""A class of tokens: tilted means of r over all tokens and in the class, range of r, and the teacher's mass of the class."""

tilted = positive("n_1:4")
"""Weights of three tokens at the λ that a step starts from."""

T, B, low, high = positive(r"T B \rho_{\mathrm{lo}} \rho_{\mathrm{hi}}")
b_low, b_high = positive(r"b_{\mathrm{lo}} b_{\mathrm{hi}}")
"""What teacher and base leave for the tokens that are not known, and the range of t/b among these."""

known, in_class, unknown, most, least = positive(r"S S_C X X_{\mathrm{hi}} X_{\mathrm{lo}}")
"""Summands of Z: known tokens, those of them in a class, and the tokens that are not known with their bounds."""

FALLING = Domain(
    r"K=3,\quad r_1<r_2<r_3,\quad t_k>0,\quad \lambda\in\mathbb{R}",
    {
        **dict(zip(t, positive("u_1:4"), strict=True)),
        **dict(zip(r, (k - z, k - z + u, k - z + u + v), strict=True)),
        lam: m - g,
        class_mass: h,
    },
)
TILTED = Domain(
    r"K=3,\quad n_k>0,\quad r_k\in\mathbb{R},\quad \delta>0",
    {
        **dict(zip(tilted, positive("u_1:4"), strict=True)),
        **{symbol: sp.log(value) / m for symbol, value in zip(r, positive("v_1:4"), strict=True)},
        step: m,
    },
)
_share = v / (1 + v)
MARCH = Domain(
    r"r_{\mathrm{lo}}<\mu_C<r_{\mathrm{hi}},\quad r_{\mathrm{lo}}<\mu<r_{\mathrm{hi}},\quad c>R_0>0,\quad \delta>0",
    {
        r_low: k - g,
        class_mean: k - g + sp.log(1 + u) / m,
        r_high: k - g + sp.log(1 + u) / m + h,
        mean: k - g + _share * (sp.log(1 + u) / m + h),
        w: _share,
        start: s,
        c: s + z,
        step: m,
    },
)
MEANS = Domain(
    r"\lambda_0<\lambda<\lambda_1",
    {
        mean_before: k - g,
        mean: k - g + u,
        mean_after: k - g + u + v,
        class_mean_before: h - m,
        class_mean: h - m + s,
        class_mean_after: h - m + s + z,
    },
)
FIRST = Domain(MARCH.text, {**MARCH.values, c: 1 + z})
CLASS = Domain(r"T_C>0,\quad A,A_C\in\mathbb{R}", {class_mass: u, A: k - g, A_C: h - m})

CHORD = Domain(
    r"0<\rho_{\mathrm{lo}}<\rho<\rho_{\mathrm{hi}},\quad \lambda>1",
    {low: z, rho: z + s, high: z + s + h, lam: 1 + m},
)
UNKNOWN = Domain(
    r"0<\rho_{\mathrm{lo}}<\frac TB<\rho_{\mathrm{hi}},\quad \lambda>1",
    {low: z, high: z + s, b_low: u, b_high: v, B: u + v, T: u * z + v * (z + s), lam: 1 + m},
)
SUMS = Domain(
    r"X_{\mathrm{lo}}<X<X_{\mathrm{hi}},\quad S,S_C,T_C>0",
    {least: u, unknown: u + v, most: u + v + h, known: k, in_class: s, class_mass: z},
)


@cache
def rest_derivation() -> Derivation:
    """Bounds on the log-partition where only some tokens are known.

    >>> rest_derivation().check()
    19
    """
    tangent = centre**lam + lam * centre ** (lam - 1) * (rho - centre)
    chord = low**lam + (rho - low) * (high**lam - low**lam) / (high - low)
    slope = (high**lam - low**lam) / (high - low) - lam * rho ** (lam - 1)
    curvature = -lam * (lam - 1) * rho ** (lam - 2)
    share_high = (T - low * B) / (high - low)
    share_low = (high * B - T) / (high - low)
    outside = class_mass * (known + in_class + unknown) / in_class
    inside = class_mass * (1 + known / (in_class + unknown))
    return Derivation(
        "rest",
        "Tokens that are not known",
        UNKNOWN,
        (
            Step(
                r"Of some tokens only the masses $T=1-\sum t$ and $B=1-\sum b$ are known, and that their ratios $\rho=t/b$ lie between "
                r"$\rho_{\mathrm{lo}}$ and $\rho_{\mathrm{hi}}$. Each adds $b\rho^\lambda$ to $Z_\lambda$. The base's mean of $\rho$ over them "
                r"is $T/B$, and the tangent of the power there lies below the power; its mean is its value at $T/B$. Any $K$: one token with all "
                r"of $T$ and $B$ gives the least $Z_\lambda$ for $\lambda>1$.",
                Substitute({rho: T / B, centre: T / B}),
                B * tangent,
                T**lam * B ** (1 - lam),
                name=r"X_{\mathrm{lo}}",
            ),
            Step(
                r"Any $K$, in the other direction: the chord of the power over the range, less the power.",
                Define(),
                chord - rho**lam,
                chord - rho**lam,
                name=r"g(\rho)",
                domain=CHORD,
            ),
            Step(
                "It vanishes at the lower end.",
                Substitute({rho: low}),
                chord - rho**lam,
                sp.Integer(0),
                name=r"g(\rho_{\mathrm{lo}})",
                domain=CHORD,
            ),
            Step(
                "It vanishes at the upper end.",
                Substitute({rho: high}),
                chord - rho**lam,
                sp.Integer(0),
                name=r"g(\rho_{\mathrm{hi}})",
                domain=CHORD,
            ),
            Step("Its slope.", Differentiate(rho), chord - rho**lam, slope, name=r"g'(\rho)", domain=CHORD),
            Step("The slope falls.", Differentiate(rho), slope, curvature, name=r"g''(\rho)", domain=CHORD),
            Step(
                "So $g$ is concave, and the chord lies above the power between the ends.",
                Sign("<"),
                curvature,
                curvature,
                name=r"g''(\rho)",
                domain=CHORD,
            ),
            Step(
                r"A token at each end of the range, with base probabilities $b_{\mathrm{lo}}=B-b_{\mathrm{hi}}$ and $b_{\mathrm{hi}}$, has the "
                r"teacher's mass $T$ if",
                Solve(b_high),
                sp.Eq(low * (B - b_high) + high * b_high, T),
                share_high,
                name=r"b_{\mathrm{hi}}",
            ),
            Step("It is positive.", Sign(">"), share_high, share_high, name=r"b_{\mathrm{hi}}"),
            Step(
                "What is left for the other one.",
                Rewrite("collect"),
                B - share_high,
                share_low,
                name=r"b_{\mathrm{lo}}",
            ),
            Step("That is positive too.", Sign(">"), share_low, share_low, name=r"b_{\mathrm{lo}}"),
            Step(
                r"Any $K$: the chord is linear in ρ, so its mean is its value at $T/B$. That is what the two tokens add to $Z_\lambda$, the "
                "most that any division of the masses can.",
                Substitute({rho: T / B}),
                B * chord,
                share_low * low**lam + share_high * high**lam,
                name=r"X_{\mathrm{hi}}",
            ),
            Step(
                r"Any $K$: so $A$ lies between those of the two completed rows. With $S$ for the known tokens and $X$ for what the others add, "
                "it is above that of the merged row,",
                Sign(">"),
                sp.log(known + unknown) - sp.log(known + least),
                sp.log(1 + (unknown - least) / (known + least)),
                name=r"A-A_{\mathrm{lo}}",
                domain=SUMS,
            ),
            Step(
                "and below that of the divided row.",
                Sign(">"),
                sp.log(known + most) - sp.log(known + unknown),
                sp.log(1 + (most - unknown) / (known + unknown)),
                name=r"A_{\mathrm{hi}}-A",
                domain=SUMS,
            ),
            Step(
                r"The least log-ratio is at least that of the divided row, by $\rho\ge\rho_{\mathrm{lo}}$, and at most that of the merged row: "
                r"a mean is not below the least. The merged token lies above the lower end by",
                Sign(">"),
                T / B - low,
                (T - low * B) / B,
                name=r"\frac TB-\rho_{\mathrm{lo}}",
            ),
            Step(
                r"Any $K$: by $\log R_{\mathrm{bind}}=A-(\lambda-1)r_{\min}$ the binding ratio is therefore at most that of the divided row and at "
                r"least that of the merged row. $\lambda^*_{\mathrm{token}}$ lies between the thresholds of the two. A class whose tokens are "
                r"all known, with the summands $S_C$ and the teacher's mass $T_C$, has the ratio below; it grows with $X$, so the same holds.",
                Differentiate(unknown),
                outside,
                class_mass / in_class,
                name=r"\frac{\partial}{\partial X}R_C",
                domain=SUMS,
            ),
            Step(
                "It grows.",
                Sign(">"),
                class_mass / in_class,
                class_mass / in_class,
                name=r"\frac{\partial}{\partial X}R_C",
                domain=SUMS,
            ),
            Step(
                r"A class that holds all the unknown tokens, and $S_C$ of known ones, has a ratio that falls with $X$; here $S$ stands for the "
                "known tokens outside of it.",
                Differentiate(unknown),
                inside,
                -class_mass * known / (in_class + unknown) ** 2,
                name=r"\frac{\partial}{\partial X}R_C",
                domain=SUMS,
            ),
            Step(
                r"So for such a class the bounds change sides: the merged row gives the largest ratio and the least threshold. A class with some of "
                "the unknown tokens is not bounded by these two rows.",
                Sign("<"),
                -class_mass * known / (in_class + unknown) ** 2,
                -class_mass * known / (in_class + unknown) ** 2,
                name=r"\frac{\partial}{\partial X}R_C",
                domain=SUMS,
            ),
        ),
        {
            "with_unlisted": (
                r"\left(t_{\mathrm{lo}},t_{\mathrm{hi}};b_{\mathrm{lo}},b_{\mathrm{hi}}\right)",
                sp.Tuple(low * share_low, high * share_high, share_low, share_high),
            ),
            "merged token": ("(t;b)", sp.Tuple(T, B)),
        },
        module="categorical",
        remarks=r"""Without a range for the unknown ratios only the merged row is known, and with it an upper bound on $\lambda^*_{\mathrm{token}}$. The tokens of
the divided row may bind like any other: if one of the unknown tokens does, the bound still holds.""",
    )


@cache
def class_march_derivation() -> Derivation:
    """How far λ may go at once before any class of tokens can reach the clip.

    >>> class_march_derivation().check()
    14
    """
    log_class = sp.log(class_mass) + partition_by_ratio - sp.log(weights[0] + weights[1])
    overall = sum(weight * log_ratio for weight, log_ratio in zip(weights, r, strict=True)) / sum(weights)
    within = (weights[0] * r[0] + weights[1] * r[1]) / (weights[0] + weights[1])
    spread = weights[0] * weights[1] * (r[0] - r[1]) ** 2 / (weights[0] + weights[1]) ** 2
    grown = [weight * sp.exp(step * log_ratio) for weight, log_ratio in zip(tilted, r, strict=True)]
    chord = sp.exp(step * r_low) * (1 - w + w * sp.exp(step * (r_high - r_low)))
    growth = (1 - w) * sp.exp(-step * (class_mean - r_low)) + w * sp.exp(step * (r_high - class_mean))
    bound = 1 - w + w * sp.exp(step * (r_high - class_mean))
    safe = sp.log(1 + (c / start - 1) / w) / (r_high - class_mean)
    base_of_bound = w / (w + (1 - w) * sp.exp(r_high - class_mean))
    return Derivation(
        "class_march",
        "A step that is safe for classes",
        MARCH,
        (
            Step(
                r"Any $K$: a class $C$ of tokens with the teacher's mass $T_C$ has the summands $e^{A_C}$ of $e^A$. How many times smaller it is "
                "under the fixed point:",
                Rewrite("expand"),
                sp.log(class_mass / (sp.exp(A_C) / sp.exp(A))),
                sp.log(class_mass) + A - A_C,
                name=r"\log R_C(\lambda)",
                domain=CLASS,
            ),
            Step(
                r"Its slope is the mean μ of $r$ under $\pi_\lambda$ less the mean $\mu_C$ in the class; for $K=3$ and a class of the first two "
                "tokens:",
                Differentiate(lam),
                log_class,
                overall - within,
                name=r"(\log R_C)'(\lambda)",
                domain=FALLING,
            ),
            Step(
                r"Both means grow with λ. The slope of $\mu_C$ is the variance in the class; for two tokens:",
                Differentiate(lam),
                within,
                spread,
                name=r"\mu_C'(\lambda)",
                domain=FALLING,
            ),
            Step(
                r"It is positive, and that of μ too, the variance over all tokens. Their difference can have either sign: $R_C$ need not be monotone.",
                Sign(">"),
                spread,
                spread,
                name=r"\mu_C'(\lambda)",
                domain=FALLING,
            ),
            Step(
                r"Between $\lambda_0$, with the means $\mu_0$ and $\mu_{C0}$, and $\lambda_1$, with $\mu_1$ and $\mu_{C1}$, the slope is therefore at "
                r"least $\mu_0-\mu_{C1}$. Where that is positive $R_C$ grows all the way, and a crossing of $c$ in between is the only one.",
                Sign(">"),
                (mean - class_mean) - (mean_before - class_mean_after),
                (mean - mean_before) + (class_mean_after - class_mean),
                name=r"(\log R_C)'(\lambda)-(\mu_0-\mu_{C1})",
                domain=MEANS,
            ),
            Step(
                r"And it is at most $\mu_1-\mu_{C0}$. Where $\log R_C(\lambda_0)+(\lambda_1-\lambda_0)(\mu_1-\mu_{C0})<\log c$ there is no crossing in "
                "between.",
                Sign(">"),
                (mean_after - class_mean_before) - (mean - class_mean),
                (mean_after - mean) + (class_mean - class_mean_before),
                name=r"(\mu_1-\mu_{C0})-(\log R_C)'(\lambda)",
                domain=MEANS,
            ),
            Step(
                r"A step δ from $\lambda_0$ multiplies the class ratio by the mean of $e^{\delta r}$ over all tokens, divided by that in the class. "
                r"With the weights $n_k$ at $\lambda_0$, for $K=3$ and the same class:",
                Rewrite("divide"),
                sum(grown) / (grown[0] + grown[1]) / (sum(tilted) / (tilted[0] + tilted[1])),
                (sum(grown) / sum(tilted)) / ((grown[0] + grown[1]) / (tilted[0] + tilted[1])),
                name=r"\frac{R_C(\lambda_0+\delta)}{R_C(\lambda_0)}",
                domain=TILTED,
            ),
            Step(
                r"Any $K$: the mean over all tokens is at most that of the chord from $r_{\mathrm{lo}}$ to $r_{\mathrm{hi}}$, the range of $r$, as "
                r"for the floor. The weight $w$ of the upper end:",
                Solve(w),
                sp.Eq((1 - w) * r_low + w * r_high, mean),
                (mean - r_low) / (r_high - r_low),
                name="w",
            ),
            Step(
                r"Any $K$: the mean in the class is at least $e^{\delta\mu_C}$, by the tangent. The quotient of the two bounds:",
                Rewrite("divide"),
                chord / sp.exp(step * class_mean),
                growth,
            ),
            Step(
                r"The first summand is at most $1-w$, because $\mu_C$ is not below $r_{\mathrm{lo}}$.",
                Sign(">"),
                bound - growth,
                (1 - w) * (1 - sp.exp(-step * (class_mean - r_low))),
            ),
            Step(
                r"Any $K$: so $R_C(\lambda_0+\delta)\le R_C(\lambda_0)\left(1-w+we^{\delta(r_{\mathrm{hi}}-\mu_C)}\right)$. With "
                r"$R_0=R_C(\lambda_0)<c$ the class stays below $c$ for steps up to",
                Solve(step),
                sp.Eq(start * bound, c),
                safe,
                name=r"\delta_C",
            ),
            Step(
                "It is positive, so the least of these steps over all classes is a step that is safe for all of them.",
                Sign(">"),
                safe,
                safe,
                name=r"\delta_C",
            ),
            Step(
                r"This is the excess of Eq. 4 once more, with $c/R_0$ in place of $c$, $w$ in place of $p$ and $r_{\mathrm{hi}}-\mu_C$ in place of "
                "Δ.",
                Substitute({c: c / start, p: w, b: base_of_bound}),
                star - 1,
                safe,
                name=r"\delta_C",
            ),
            Step(
                r"The first step, from $\lambda_0=1$ where every class ratio is 1.",
                Substitute({start: sp.Integer(1)}),
                safe,
                sp.log(1 + (c - 1) / w) / (r_high - class_mean),
                name=r"\delta_C",
                domain=FIRST,
            ),
        ),
        {"safe step": (r"\delta_C", safe)},
        module="categorical",
        remarks=r"""A march of such steps never passes the first λ at which a class ratio reaches $c$, and comes to rest there if there is one.""",
    )
