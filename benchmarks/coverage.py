"""How often the limits and intervals of a calibration hold, on synthetic answers whose truth is known.

The limit of a quantile is exact whatever the distribution; the simulation shows it, also for a bootstrap beside it. The
interval of a contract class is not exact for any shape of tail, so its method was chosen here, among those that the
table shows. ``docs/limits.md`` describes the populations and holds the tables, which a full run writes there.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lambda_star.bernoulli import threshold_from_logits
from lambda_star.calibration.jackknife import others
from lambda_star.calibration.statistics import class_interval, limit, rate

Floats = NDArray[np.float64]
Generator = np.random.Generator

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "limits.md"
EXAMPLE = ROOT / "examples" / "rank_by_price" / "logprobs.csv"
BLOCK = re.compile(r"(<!-- output of: python -m benchmarks coverage -->\n```text\n).*?(```)", flags=re.DOTALL)

CLIP, CONFIDENCE = 5.0, 0.95
SIZES, SETS = (30, 100, 360, 1000), 1000
QUANTILES = (0.01, 0.05, 0.1)
TRUTH = 1_000_000
"""The number of answers that stand for a whole population."""

RESAMPLES = 199
"""The number of resamples of the bootstraps."""

EXCEEDS = 0.05 + 0.015
"""The largest share of data sets whose limit may exceed the quantile: 1 − the confidence, and simulation error."""

COVERS, FROM = 0.93, 100
"""The least share of data sets whose class interval may cover, and from how many answers on."""


class Answers(NamedTuple):
    """Answers of one class: the sums of p, 1−p, b and 1−b of each, and the least λ* of each."""

    sums: Floats
    stars: Floats


Population = Callable[[Generator, int], Answers]
Sizes = Sequence[int]


# Populations


def of_positions(answer: NDArray[np.intp], log_odds: Floats, base_log_odds: Floats) -> Answers:
    """Gather positions, given by the answer of each and its log-odds under teacher and base."""
    number = int(answer[-1]) + 1
    masses = [1 / (1 + np.exp(sign * odds)) for odds in (log_odds, base_log_odds) for sign in (-1, 1)]
    stars = np.full(number, math.inf)
    np.minimum.at(stars, answer, threshold_from_logits(log_odds, base_log_odds, CLIP))
    return Answers(np.stack([np.bincount(answer, mass, number) for mass in masses], axis=1), stars)


def places(rng: Generator, number: int, most: int = 9) -> NDArray[np.intp]:
    """The answer of each position, where answers have from one position to ``most``."""
    return np.repeat(np.arange(number), rng.integers(1, most + 1, number))


def light(rng: Generator, number: int) -> Answers:
    """Tails of one size: the mean of an answer is Beta(2, 38), and positions scatter around it."""
    answer = places(rng, number)
    odds = []
    for shape in ((2, 38), (6, 6)):
        mean = rng.beta(*shape, number)[answer]
        tail = np.clip(rng.beta(20 * mean, 20 * (1 - mean)), 1e-12, 1 - 1e-12)
        odds.append(np.log1p(-tail) - np.log(tail))
    return of_positions(answer, *odds)


def lognormal(rng: Generator, number: int, most: int = 9) -> Answers:
    """Tails of all sizes: the log-odds are normal around 8 with standard deviation 2, half of the variance shared."""
    answer = places(rng, number, most)
    own = math.sqrt(0.5) * (rng.normal(size=number)[answer] + rng.normal(size=len(answer)))
    base = 0.3 * own + math.sqrt(1 - 0.3**2) * rng.normal(size=len(answer))
    return of_positions(answer, 8 - 2 * own, -1.5 * base)


def heavy(rng: Generator, number: int) -> Answers:
    """Thin tails around 2e-4, and one position in a hundred between 0.1 and 0.9, which hold 94 % of the mass."""
    answer = places(rng, number)
    count = len(answer)
    odds = 8.5 - 0.7 * (rng.normal(size=number)[answer] + rng.normal(size=count))
    thick = ((rng.random(number) < 0.01)[answer] & (rng.random(count) < 0.5)) | (rng.random(count) < 0.005)
    tail = rng.uniform(0.1, 0.9, count)
    odds = np.where(thick, np.log1p(-tail) - np.log(tail), odds)
    return of_positions(answer, odds, 1.5 * rng.normal(size=count))


SHAPES: dict[str, Population] = {"light": light, "lognormal": lognormal, "heavy": heavy}


def example(label: str) -> Answers:
    """The answers of the example that have a contract class."""
    from lambda_star import read_table
    from lambda_star.calibration.state import Settings, State

    state = State(Settings(clip=CLIP))
    state.add(read_table(EXAMPLE))
    answers, classes = state.answers.columns, state.answers.classes
    rows = classes["label"] == list(state.classes).index(label)
    places_of = np.searchsorted(answers["key"], classes["key"][rows])
    return Answers(classes["sums"][rows, :4], answers["low"][places_of])


def resampled(found: Answers, rng: Generator, number: int) -> Answers:
    """Answers drawn with replacement from given ones."""
    chosen = rng.integers(0, len(found.sums), number)
    return Answers(found.sums[chosen], found.stars[chosen])


def beside() -> dict[str, Population]:
    """The populations that no bound is set for: one position in each answer, and classes of the example."""
    real = {f"example {label}": partial(resampled, example(label)) for label in ('","', '["', "<|im_end|>")}
    return {"lognormal, one position": partial(lognormal, most=1), **real}


# Intervals of a class


def weights(rng: Generator, number: int) -> Floats:
    """How often each answer is in each resample."""
    drawn = rng.integers(0, number, (RESAMPLES, number)) + number * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * number).reshape(RESAMPLES, number).astype(np.float64)


def percentile(sums: Floats, drawn: Floats) -> tuple[float, float]:
    """The percentile bootstrap."""
    low, high = np.quantile(rate(drawn @ sums, CLIP), [0.025, 0.975])
    return low, high


def bca(sums: Floats, drawn: Floats) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap."""
    from scipy.special import ndtr, ndtri

    center, found = rate(sums.sum(axis=0), CLIP), rate(drawn @ sums, CLIP)
    left = rate(others(sums), CLIP)
    away = left.mean() - left
    bias = ndtri(
        np.clip((np.mean(found < center) + np.mean(found <= center)) / 2, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES)
    )
    skew = np.sum(away**3) / (6 * np.sum(away**2) ** 1.5)
    ends = bias + ndtri([0.025, 0.975])
    low, high = np.quantile(found, ndtr(bias + ends / (1 - skew * ends)))
    return low, high


def _slopes(sums: Floats) -> Floats:
    """The derivatives of 1/(λ*−1) by the four sums, from differences."""
    steps = 1e-6 * sums[..., None, :] * np.eye(4)
    change: Floats = rate(sums[..., None, :] + steps, CLIP) - rate(sums[..., None, :] - steps, CLIP)
    return change / (2e-6 * sums)


def bootstrap_t(sums: Floats, drawn: Floats) -> tuple[float, float]:
    """The bootstrap of Student's ratio, with linearized standard errors."""
    pairs = (sums[:, :, None] * sums[:, None, :]).reshape(len(sums), 16)

    def errors(total: Floats, squares: Floats) -> Floats:
        slopes = _slopes(total)
        found: Floats = np.einsum("...i,...ij,...j", slopes, squares.reshape(*total.shape, 4), slopes)
        return np.sqrt(np.maximum(found, 1e-300))

    total, totals = sums.sum(axis=0), drawn @ sums
    center, error = rate(total, CLIP), errors(total, pairs.sum(axis=0))
    low, high = np.quantile((rate(totals, CLIP) - center) / errors(totals, drawn @ pairs), [0.025, 0.975])
    return float(center - high * error), float(center - low * error)


def student(sums: Floats, drawn: Floats) -> tuple[float, float]:
    """Student's interval with the standard error of the jackknife."""
    from scipy.special import stdtrit

    left = rate(others(sums), CLIP)
    half = stdtrit(len(sums) - 1, 0.975) * math.sqrt((len(sums) - 1) * np.var(left))
    center = rate(sums.sum(axis=0), CLIP)
    return center - half, center + half


BESIDE: dict[str, Callable[[Floats, Floats], tuple[float, float]]] = {
    "percentile": percentile,
    "BCa": bca,
    "bootstrap-t": bootstrap_t,
    "Student": student,
}
OURS = "this library"


# Measurement


class Limits(NamedTuple):
    """How often the limit of a quantile exceeds it, NaN where so few answers have none, and the bootstrap's limit."""

    shape: str
    answers: int
    quantile: float
    exceeds: float
    bootstrap: float

    @property
    def kept(self) -> bool:
        """Whether the limit holds as often as it says."""
        return not self.exceeds > EXCEEDS


class Intervals(NamedTuple):
    """How often the intervals of a class hold its λ*, how often λ* lies below them, and their median width."""

    shape: str
    answers: int
    method: str
    covers: float
    below: float
    width: float
    bound: float

    @property
    def kept(self) -> bool:
        """Whether the interval covers as often as it is meant to."""
        return self.covers >= self.bound


def truth(population: Population, number: int = TRUTH) -> tuple[float, dict[float, float]]:
    """Return λ* of the mean masses of a population, and the quantiles of its per-answer λ*, from many answers."""
    rng = np.random.default_rng(2026)
    parts = [population(rng, number // 10) for _ in range(10)]
    total, stars = sum(part.sums.sum(axis=0) for part in parts), np.sort(np.concatenate([part.stars for part in parts]))
    return 1 + 1 / float(rate(np.asarray(total), CLIP)), {
        level: float(stars[math.ceil(level * len(stars)) - 1]) for level in QUANTILES
    }


def bootstrap_rank(number: int, quantile: float) -> int:
    """The rank, from 0, of the percentile bootstrap's lower end for a quantile, without drawing: it is binomial."""
    from scipy.stats import binom

    ranks = np.arange(1, number + 1)
    reached = binom.sf(math.ceil(quantile * number) - 1, number, ranks / number)
    return int(np.argmax(reached > 1 - CONFIDENCE))


def measure_limits(
    shape: str, population: Population, known: Mapping[float, float], sizes: Sizes, sets: int
) -> list[Limits]:
    """Measure the limits of the quantiles on so many data sets of each size."""
    found = []
    for number in sizes:
        drawn = [np.sort(population(np.random.default_rng([number, seed]), number).stars) for seed in range(sets)]
        for quantile, exact in known.items():
            limits = np.array([limit(stars, quantile, CONFIDENCE).value for stars in drawn])
            rank = bootstrap_rank(number, quantile)
            ends = np.array([stars[rank] for stars in drawn])
            exceeds = math.nan if np.isnan(limits).any() else float(np.mean(limits > exact))
            found.append(Limits(shape, number, quantile, exceeds, float(np.mean(ends > exact))))
    return found


def intervals_of(sums: Floats, drawn: Floats) -> Iterator[tuple[str, float, float]]:
    """The intervals of λ* by every method."""
    own = class_interval(sums, CLIP, CONFIDENCE)
    yield OURS, own.low, own.high
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, method in BESIDE.items():
            slow, fast = method(sums, drawn)
            low, high = (1 + 1 / end if end > 0 else math.inf for end in (fast, slow))
            yield name, low, high


def measure_intervals(
    shape: str, population: Population, star: float, sizes: Sizes, sets: int, bound: float = COVERS
) -> list[Intervals]:
    """Measure the intervals of the class on so many data sets of each size."""
    found = []
    for number in sizes:
        ends: dict[str, list[tuple[float, float]]] = {}
        for seed in range(sets):
            rng = np.random.default_rng([number, seed])
            sums = population(rng, number).sums
            for name, low, high in intervals_of(sums, weights(rng, number)):
                ends.setdefault(name, []).append((low, high))
        for name, pairs in ends.items():
            low, high = np.array(pairs).T
            inside, width = np.mean((low <= star) & (star <= high)), np.median(high - low)
            least = bound if name == OURS and number >= FROM else 0.0
            found.append(Intervals(shape, number, name, float(inside), float(np.mean(star < low)), float(width), least))
    return found


# The tables


def shown(number: float, form: str = ".3f") -> str:
    """A number as text, and what stands for none."""
    return "unknown" if math.isnan(number) else "+inf" if math.isinf(number) else format(number, form)


def table_of_limits(found: Sequence[Limits]) -> Table:
    """Return a row for each shape and size, and two columns for each quantile."""
    title = f"Share of data sets whose {CONFIDENCE:.0%} limit exceeds the quantile, at most {EXCEEDS:.3f} where kept"
    heads = [head for quantile in QUANTILES for head in (f"limit {quantile:g}", f"bootstrap {quantile:g}")]
    table = Table("shape", "answers", *heads, "kept", title=title, title_justify="left")
    for shape, number in dict.fromkeys((one.shape, one.answers) for one in found):
        row = [one for one in found if (one.shape, one.answers) == (shape, number)]
        cells = [shown(share) for one in row for share in (one.exceeds, one.bootstrap)]
        table.add_row(shape, str(number), *cells, "yes" if all(one.kept for one in row) else "NO")
    return table


def table_of_intervals(found: Sequence[Intervals]) -> Table:
    """Return a row for each population and size, and a column for each method: coverage and median width."""
    title = f"Share of data sets whose {CONFIDENCE:.0%} interval holds the λ* of the class, and its median width"
    table = Table("population", "answers", OURS, *BESIDE, "bound", "kept", title=title, title_justify="left")
    for shape, number in dict.fromkeys((one.shape, one.answers) for one in found):
        row = {one.method: one for one in found if (one.shape, one.answers) == (shape, number)}
        cells = [f"{row[name].covers:.3f}  {shown(row[name].width)}" for name in (OURS, *BESIDE)]
        bound, kept = row[OURS].bound, "yes" if row[OURS].kept else "NO"
        table.add_row(shape, str(number), *cells, *((f"{bound:g}", kept) if bound else ("", "")))
    return table


def main() -> None:
    """Measure everything, print the tables, and write them into the page on limits."""
    limits: list[Limits] = []
    intervals: list[Intervals] = []
    populations = {**SHAPES, **beside()}
    for shape, population in track(populations.items(), "coverage", transient=True):
        star, known = truth(population)
        if shape in SHAPES:
            limits += measure_limits(shape, population, known, SIZES, SETS)
            intervals += measure_intervals(shape, population, star, SIZES, SETS)
        else:
            intervals += measure_intervals(shape, population, star, SIZES[1:3], SETS, bound=0.0)
    page = Console(width=130, file=io.StringIO(), record=True)
    for table in (table_of_limits(limits), table_of_intervals(intervals)):
        Console(width=130).print(table)
        page.print(table)
    lines = "\n".join(line.rstrip() for line in page.export_text().splitlines())
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda block: f"{block[1]}{lines}\n{block[2]}", text), encoding="utf-8")
