"""Random and adversarial arguments, and the textbook formulas at 80 digits or more that the enclosures must hold.

``python -m benchmarks.verified`` runs it on 10⁶ cases, the tests on 10⁴.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath

from lambda_star import updates, verified
from lambda_star.updates import Rule
from lambda_star.verified import Interval

mp = mpmath.mp.clone()
mp.dps = DIGITS = 80
LARGEST, SMALLEST = 1 - 2.0**-53, 5e-324
SLACK = mp.mpf(10) ** -40  # relative error of the reference


def logit(p: Any) -> Any:
    return mp.log(p) - mp.log(1 - p)


def gap(p: Any, b: Any) -> Any:
    return logit(p) - logit(b)


def excess(p: Any, b: Any, c: Any) -> Any:
    """Eq. 4 as printed, less 1."""
    if p <= b or mp.isinf(c):
        return mp.inf
    return (mp.log((1 - p) / (c - 1 + p)) - mp.log((1 - b) / b)) / (mp.log((1 - p) / p) - mp.log((1 - b) / b)) - 1


def from_logits(x: Any, y: Any, c: Any) -> Any:
    return mp.inf if x <= y or mp.isinf(c) else 1 + mp.log(1 + (c - 1) * (1 + mp.exp(-x))) / (x - y)


def two_sided(p: Any, b: Any, c: Any) -> Any:
    if p == b or mp.isinf(c):
        return mp.inf
    return 1 + mp.log(1 + (c - 1) / (p if p > b else 1 - p)) / abs(gap(p, b))


def collapse(p: Any, b: Any, c: Any) -> Any:
    return mp.inf if p <= b or mp.isinf(c) else 1 + mp.log(c / p) / gap(p, b)


def width(p: Any, b: Any, c: Any) -> Any:
    if p <= b or mp.isinf(c):
        return mp.inf if p <= b else mp.zero
    # Of two forms of one number, the one that keeps its digits.
    return (mp.log(c / (c - 1 + p)) if c < 2 else -mp.log1p(-(1 - p) / c)) / gap(p, b)


def sigmoid(log_odds: Any) -> Any:
    return 1 / (1 + mp.exp(-log_odds)) if log_odds >= 0 else mp.exp(log_odds) / (1 + mp.exp(log_odds))


def fixed(p: Any, b: Any, lam: Any) -> Any:
    """The log-linear mixture itself."""
    return sigmoid(lam * logit(p) + (1 - lam) * logit(b))


def ratio(p: Any, b: Any, lam: Any) -> Any:
    return (1 - p) * (1 + mp.exp(lam * logit(p) + (1 - lam) * logit(b)))


def stationary(p: Any, b: Any, c: Any, lam: Any) -> Any:
    push = (lam - 1) * gap(p, b)
    mass, size = (p, push) if push >= 0 else (1 - p, -push)
    if mp.isinf(c) or mass * mp.exp(size) + 1 - mass <= c:
        return fixed(p, b, lam)
    held = min(mass / c * mp.exp(size), mp.one)
    return held if push >= 0 else 1 - held


def flip(p: Any, b: Any) -> Any:
    return mp.one if p < mp.mpf(0.5) else mp.inf if p >= b else logit(b) / (logit(b) - logit(p))


def base(p: Any, c: Any, lam: Any) -> Any:
    return 1 / (1 + (1 - p) / p * mp.exp(mp.log((c - 1 + p) / p) / (lam - 1)))


FUNCTIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "threshold": ("pbc", lambda p, b, c: 1 + excess(p, b, c)),
    "excess": ("pbc", excess),
    "threshold_from_logits": ("xyc", from_logits),
    "two_sided_threshold": ("pbc", two_sided),
    "operating_point": ("pbcm", lambda p, b, c, m: 1 + (1 - m) * excess(p, b, c)),
    "collapse_point": ("pbc", collapse),
    "cliff_width": ("pbc", width),
    "fixed_point": ("pbl", fixed),
    "tail_ratio": ("pbl", ratio),
    "stationary_student": ("pbcl", stationary),
    "flip_point": ("pb", flip),
    "clip_for": ("pbl", lambda p, b, lam: max(ratio(p, b, lam), mp.one)),
    "base_for": ("pce", base),
}


def clamp_dies(p: Any, b: Any, bound: Any) -> Any:
    return mp.inf if p <= b or mp.isinf(bound) else 1 + min(bound - mp.log(p), 2 * bound) / gap(p, b)


def floor_dies(p: Any, b: Any, bound: Any) -> Any:
    if p <= b:
        return mp.zero if logit(p) >= bound else mp.inf
    return mp.inf if mp.isinf(bound) else max(mp.zero, 1 + (bound - logit(p)) / gap(p, b))


def kl_leaves(p: Any, b: Any, c: Any) -> Any:
    if p == b or mp.isinf(c):
        return mp.inf
    return mp.log(1 + (c - 1) / (b if p > b else 1 - b)) / abs(gap(p, b))


def kl_dies(p: Any, b: Any, c: Any) -> Any:
    return mp.inf if p <= b or mp.isinf(c) else mp.log(c / b) / gap(p, b)


def through_dies(p: Any, b: Any, c: Any) -> Any:
    return mp.inf if p <= b or mp.isinf(c) else 1 + (1 + mp.log(c / p)) / gap(p, b)


def never(*values: Any) -> Any:
    del values
    return mp.inf


def reward_student(p: Any, b: Any, lam: Any, bound: Any) -> Any:
    modal, tail = (min(max(r, -bound), bound) for r in (mp.log(p / b), mp.log((1 - p) / (1 - b))))
    return sigmoid(logit(p) + (lam - 1) * (modal - tail))


def floor_student(p: Any, b: Any, lam: Any, bound: Any) -> Any:
    """The fixed point while both sides exceed e^−bound, then e^(θ−bound); at θ = 0 what is nearest to the base."""
    log_odds = logit(p) + (lam - 1) * gap(p, b)
    size = abs(log_odds)
    if mp.isinf(bound) or -mp.log(1 + mp.exp(size)) >= -bound:
        return fixed(p, b, lam)
    held = min(mp.exp(size - bound), mp.one)
    if log_odds == 0:
        return min(max(b, 1 - held), held)
    return held if log_odds > 0 else 1 - held


def through_student(p: Any, b: Any, lam: Any, c: Any) -> Any:
    push = (lam - 1) * gap(p, b)
    mass, size = (p, push) if push >= 0 else (1 - p, -push)
    edge = mp.inf if mp.isinf(c) else mp.log((c - 1 + mass) / mass)
    if size <= edge:
        return fixed(p, b, lam)
    if size <= edge + 1:
        return (c - 1 + p) / c if push >= 0 else p / c
    held = min(mass / c * mp.exp(size - 1), mp.one)
    return held if push >= 0 else 1 - held


def kl_student(p: Any, b: Any, lam: Any, c: Any) -> Any:
    """The capped student whose teacher is the base, pushed by λΔ."""
    push = lam * gap(p, b)
    mass, size = (b, push) if push >= 0 else (1 - b, -push)
    if mp.isinf(c) or mass * mp.exp(size) + 1 - mass <= c:
        return fixed(p, b, lam)
    held = min(mass / c * mp.exp(size), mp.one)
    return held if push >= 0 else 1 - held


RULES: dict[str, tuple[Callable[[float], Rule], str, str, Callable[..., Any]]] = {
    "cap leaves": (updates.log_ratio_cap, "c", "leaves", two_sided),
    "cap dies": (updates.log_ratio_cap, "c", "dies", collapse),
    "cap student": (updates.log_ratio_cap, "c", "student", lambda p, b, lam, c: stationary(p, b, c, lam)),
    "through dies": (lambda c: updates.log_ratio_cap(c, through=True), "c", "dies", through_dies),
    "through student": (lambda c: updates.log_ratio_cap(c, through=True), "c", "student", through_student),
    "clamp dies": (updates.log_ratio_clamp, "bound", "dies", clamp_dies),
    "least dies": (updates.log_prob_floor, "bound", "dies", floor_dies),
    "least student": (updates.log_prob_floor, "bound", "student", floor_student),
    "KL leaves": (updates.kl_to_base_cap, "c", "leaves", kl_leaves),
    "KL dies": (updates.kl_to_base_cap, "c", "dies", kl_dies),
    "KL student": (updates.kl_to_base_cap, "c", "student", kl_student),
    "reward student": (updates.reward_clip, "bound", "student", reward_student),
    "PPO leaves": (updates.importance_weight, "c", "leaves", never),
}


def normaliser(p: Any, b: Any, lam: Any) -> Any:
    """Log Z_λ, the advantage at the fixed point."""
    return mp.log(p * (p / b) ** (lam - 1) + (1 - p) * ((1 - p) / (1 - b)) ** (lam - 1))


def force(q: Any, p: Any, b: Any, lam: Any, of_ratio: Callable[[Any, Any], Any]) -> Any:
    """F_m − F_τ, where ``of_ratio`` gives an advantage from the log-ratio of teacher to student and the push."""
    q = min(max(q, mp.mpf(10) ** -400), 1 - mp.mpf(10) ** -60)  # at a death, what lies beside it
    outcomes = ((p, b, q), (1 - p, 1 - b, 1 - q))
    modal, tail = (of_ratio(mp.log(t / s), (lam - 1) * mp.log(t / u)) for t, u, s in outcomes)
    return modal - tail


def clamped(q: Any, p: Any, b: Any, lam: Any, bound: Any) -> Any:
    return force(q, p, b, lam, lambda ratio, push: min(max(ratio, -bound), bound) + push)


def weighted(q: Any, p: Any, b: Any, lam: Any, c: Any) -> Any:
    return force(q, p, b, lam, lambda ratio, push: min(mp.exp(ratio), c) * (ratio + push))


def uncentred(c: float) -> Rule:
    return updates.teacher_weight(c, centred=False)


ROOTS: dict[str, tuple[Callable[..., Any], str, Callable[..., Any]]] = {
    "teacher_for": (verified.teacher_for, "bce", lambda p, b, c, lam: excess(p, b, c) - (lam - 1)),
    "clamp student": (
        lambda p, b, lam, bound: verified.updates.student(updates.log_ratio_clamp(2.0), p, b, lam, bound=bound),
        "pblk",
        clamped,
    ),
    "weighted student": (
        lambda p, b, lam, c: verified.updates.student(uncentred(2.0), p, b, lam, c=c),
        "pbec",
        weighted,
    ),
    "advantage leaves": (
        lambda p, b, bound: verified.updates.leaves(updates.advantage_clamp(2.0), p, b, bound=bound),
        "pbk",
        lambda lam, p, b, bound: bound - normaliser(p, b, lam),
    ),
}
"""Functions without a closed form, with what is positive below the value and negative above it."""
EVERY = (*FUNCTIONS, *RULES, *ROOTS, "tokens")
SLOW = {"weighted student": 20, "advantage leaves": 100, "tokens": 20, "teacher_for": 10}
"""Of so many rounds one takes these."""


def tokens(rng: random.Random) -> tuple[list[float], list[float], float]:
    """Logits of two models over a few tokens, and a clip."""
    count, spread = rng.randint(2, 6), 10 ** rng.uniform(-3, 1.5)
    teacher = [rng.gauss(0, spread) for _ in range(count)]
    near_by = 10 ** rng.uniform(-8, 1)
    return teacher, [logit + rng.gauss(0, near_by) for logit in teacher], min(clip(rng), 1e300)


def log_ratio(lam: Any, teacher: list[float], base: list[float]) -> Any:
    """The greatest log-ratio of teacher to mixture over the tokens."""
    log_t, log_b = (
        [mp.mpf(one) - mp.log(mp.fsum(map(mp.exp, map(mp.mpf, row)))) for one in row] for row in (teacher, base)
    )
    powers = [lam * t + (1 - lam) * b for t, b in zip(log_t, log_b, strict=True)]
    total = mp.log(mp.fsum(map(mp.exp, powers)))
    return max(t - power + total for t, power in zip(log_t, powers, strict=True))


def probability(rng: random.Random) -> float:
    kinds: tuple[Callable[[], float], ...] = (
        rng.random,
        lambda: 1 / (1 + math.exp(-rng.uniform(-37, 37))),
        lambda: 10 ** rng.uniform(-323, 0),
        lambda: 1 - 10 ** rng.uniform(-16, 0),
        lambda: rng.choice([SMALLEST, 2.0**-1022, 0.25, 0.5, 0.5 + 2.0**-53, 0.999, LARGEST]),
    )
    return min(max(rng.choice(kinds)(), SMALLEST), LARGEST)


def near(rng: random.Random, p: float) -> float:
    """A probability that is close to another one, or is not."""
    kinds: tuple[Callable[[], float], ...] = (
        lambda: probability(rng),
        lambda: probability(rng),
        lambda: math.nextafter(p, rng.choice([0, 1])),
        lambda: p * (1 - 10 ** rng.uniform(-16, -1)),
        lambda: 1 - (1 - p) * (1 + 10 ** rng.uniform(-16, 1)),
        lambda: p,
    )
    return min(max(rng.choice(kinds)(), SMALLEST), LARGEST)


def clip(rng: random.Random) -> float:
    kinds: tuple[Callable[[], float], ...] = (
        lambda: 1 + 10 ** rng.uniform(-16, 2),
        lambda: rng.uniform(1, 10),
        lambda: 10 ** rng.uniform(0, 308),
        lambda: rng.choice([1.0, 1 + 2.0**-52, 2.0, 5.0, math.inf]),
    )
    return rng.choice(kinds)()


def coefficient(rng: random.Random) -> float:
    kinds: tuple[Callable[[], float], ...] = (
        lambda: rng.uniform(0, 3),
        lambda: 1 + rng.choice([-1, 1]) * 10 ** rng.uniform(-16, 1),
        lambda: rng.choice([-1, 1]) * 10 ** rng.uniform(-5, 3),
        lambda: rng.choice([0.0, 1.0, 2.0, 1 + 2.0**-52, -1.0, 1e300]),
    )
    return rng.choice(kinds)()


def drawn(rng: random.Random, names: str) -> list[float]:
    """The arguments of a function, one letter each: p, b, c, λ, a λ above 1 (e), margin, bound (k), log-odds x, y."""
    p = probability(rng)
    values = {
        "p": p,
        "b": near(rng, p) if "b" in names else 0.5,
        "c": clip(rng),
        "l": coefficient(rng),
        "e": max(abs(coefficient(rng)), 1 + 2.0**-52),
        "m": rng.choice([0.0, 0.1, rng.random(), 1 - 10 ** rng.uniform(-15, 0)]),
        "k": rng.choice([10 ** rng.uniform(-5, 3), rng.uniform(0.1, 30), math.inf]),
        "x": (x := rng.uniform(-900, 900)),
        "y": rng.choice([rng.uniform(-900, 900), x - 10 ** rng.uniform(-13, 1), x, -x]),
    }
    if "e" in names and "c" in names and math.isinf(values["c"]):
        values["c"] = 1e300
    if rng.random() < 0.3 and {"p", "b", "c", "l"} <= set(names) and p > values["b"] and values["c"] < 1e6:
        # λ at a border of regimes, as nearly as a float can be
        border = rng.choice([verified.threshold, verified.collapse_point])(p, values["b"], values["c"])
        values["l"] = rng.choice([border.lower, border.upper])
    return [values[name] for name in names]


class Case(NamedTuple):
    """One call: its name, its arguments as they are passed, the result, and whether it holds what it must."""

    name: str
    arguments: tuple[Any, ...]
    found: Interval
    holds: bool

    @property
    def ulps(self) -> float:
        """The width in units of the last place, of a point."""
        lower, upper = float(self.found.lower), float(self.found.upper)
        return 0.0 if lower == upper else (upper - lower) / max(math.ulp(lower), math.ulp(upper) / 2)


def holds(found: Interval, value: Any) -> bool:
    """Whether an interval holds a value, but for the error of the reference."""
    if mp.isinf(value):
        return bool(found.upper == math.inf)
    return bool(found.lower - SLACK * abs(value) <= value <= found.upper + SLACK * abs(value))


def changes_sign(found: Interval, side: Callable[..., Any], point: list[Any]) -> bool:
    """Whether a function is not negative at the lower end and not positive at the upper one."""
    ends = [mp.mpf(end) for end in found[:2]]
    low = ends[0] == 0 or mp.isinf(ends[0]) or side(ends[0], *point) >= -SLACK
    high = ends[1] == 1 or mp.isinf(ends[1]) or side(ends[1], *point) <= SLACK
    return bool(low and high)


def given_as(
    rng: random.Random, value: float, form: str, low: float, high: float
) -> tuple[Any, list[Fraction | float]]:
    """An argument in one of its forms, and points inside it."""
    if math.isinf(value) or form == "float":
        return value, [value]
    if form == "string":
        text = f"{Decimal(value):.40e}" if rng.random() < 0.5 and value else repr(value)
        digits = text if rng.random() < 0.5 else text.replace("e", f"{rng.randrange(10**12)}e")
        digits = digits if low <= Fraction(digits) <= high else repr(value)
        return digits, [Fraction(digits)]
    size = 10 ** rng.uniform(-15, 0)
    other = rng.choice([value + size * abs(value), value - size * abs(value), 1 - (1 - value) * (1 + size), value])
    other = min(max(other, low), high)
    ends = (min(value, other), max(value, other))
    inner = [Fraction(ends[0]) + Fraction(rng.random()) * (Fraction(ends[1]) - Fraction(ends[0])) for _ in range(2)]
    return ends, [*ends, *inner]


LIMITS = {"p": (SMALLEST, LARGEST), "b": (SMALLEST, LARGEST), "c": (1.0, 1.7e308), "l": (-1.7e308, 1.7e308)}
LIMITS |= {
    "e": (1 + 2.0**-52, 1.7e308),
    "m": (0.0, LARGEST),
    "k": (SMALLEST, 1e308),
    "x": (-1e3, 1e3),
    "y": (-1e3, 1e3),
}


def real(value: Fraction | float) -> Any:
    return mp.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else mp.mpf(value)


def cases(count: int, seed: int, form: str, names: Sequence[str] = EVERY) -> Iterator[Case]:
    """Calls of every function in turn, with points ("float" or "string") or intervals ("pair")."""
    rng = random.Random(seed)
    left = count
    for number in itertools.count():
        name, turn = names[number % len(names)], number // len(names)
        if left == 0:
            return
        if turn % SLOW.get(name, 1):
            continue
        left -= 1
        yield _tokens(rng, name) if name == "tokens" else _case(rng, name, form)


def _case(rng: random.Random, name: str, form: str) -> Case:
    call, letters = _call(name)
    picks = [
        given_as(rng, one, form, *LIMITS[letter]) for letter, one in zip(letters, drawn(rng, letters), strict=True)
    ]
    arguments = tuple(argument for argument, _ in picks)
    found = call(*arguments)
    points = [[rng.choice(inside) for _, inside in picks] for _ in range(3 if form == "pair" else 1)]
    # λ·logit needs as many digits as λ has before the point.
    large = any(abs(float(value)) > 1e9 for place, value in enumerate(points[0]) if letters[place] in "le")
    right = all(_right(name, found, point, 400 if large else DIGITS) for point in points)
    return Case(name, arguments, found, right or all(_right(name, found, point, 800) for point in points))


def _right(name: str, found: Interval, point: list[Fraction | float], digits: int) -> bool:
    with mp.workdps(digits):
        values = [real(value) for value in point]
        if name in ROOTS:
            return changes_sign(found, ROOTS[name][-1], values)
        return holds(found, (FUNCTIONS[name] if name in FUNCTIONS else RULES[name])[-1](*values))


def _call(name: str) -> tuple[Callable[..., Interval], str]:
    """A function of the library by its name here, and the letters of its arguments."""
    if name in FUNCTIONS:
        return getattr(verified, name), FUNCTIONS[name][0]
    if name in ROOTS:
        return ROOTS[name][:2]
    make, own, method, _ = RULES[name]
    return _of_rule(make, own, method), ("pbl" if method == "student" else "pb") + ("c" if own == "c" else "k")


def _tokens(rng: random.Random, name: str) -> Case:
    teacher, base, c = tokens(rng)
    found = verified.categorical.threshold(teacher, base, c)
    value = found.value
    log_c = mp.log(mp.mpf(c))
    right = changes_sign(value, lambda lam: log_c - log_ratio(lam, teacher, base), [])
    inside = found.lower.lower <= value.upper and value.lower <= found.upper.upper
    return Case(name, (teacher, base, c), value, right and inside)


def _of_rule(make: Callable[[float], Rule], own: str, method: str) -> Callable[..., Interval]:
    def call(*values: Any) -> Interval:
        found: Interval = getattr(verified.updates, method)(make(2.0), *values[:-1], **{own: values[-1]})
        return found

    return call
