"""What a report of :func:`lambda_star.calibrate` says about any λ, from the report itself or from its JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from lambda_star._core.quantities import B, C, P, Quantity, require
from lambda_star.calibration.report import Report
from lambda_star.calibration.statistics import Estimate
from lambda_star.updates import Rule, parse
from lambda_star.verdict.opinion import Opinion, interval, up_to_teacher

__all__ = ["Measured", "answers_for", "never_kills"]

UNKNOWN = Estimate(math.nan, math.nan, math.nan)

LEVEL = Quantity("quantile", 0.0, 1.0, "[]")

SURE, UNDECIDED = 0.999, 0.5
"""A sure teacher and an undecided base: a rule that lets no tail die there lets none die anywhere."""


def never_kills(rule: Rule) -> bool:
    """Return whether a rule lets no tail die at any λ, in the mean.

    Args:
        rule: the rule.

    Returns:
        Whether it does; False for a rule that p and b cannot show.

    >>> from lambda_star import updates
    >>> never_kills(updates.none()), never_kills(updates.log_ratio_cap(5.0))
    (True, False)
    """
    return not rule.needs_rows and rule.dies(SURE, UNDECIDED) == math.inf


def answers_for(quantile: float, confidence: float) -> float:
    """Return how many answers a lower limit of a quantile takes, whatever the distribution.

    Args:
        quantile: the level of the quantile, in [0, 1].
        confidence: the confidence of the limit, in (0, 1).

    Returns:
        The least number of answers of which one lies below the quantile with that confidence; +inf for the quantile 0.

    Source: extension; order statistics, (1−quantile)^answers ≤ 1−confidence.

    >>> answers_for(0.01, 0.95), answers_for(0.05, 0.95)
    (299.0, 59.0)
    """
    if quantile in {0, 1}:
        return math.inf if quantile == 0 else 1.0
    return float(math.ceil(math.log(1 - confidence) / math.log1p(-quantile)))


class Measured(NamedTuple):
    """The numbers of a report that decide about λ; ``p`` and ``b`` are those of its binding class.

    ``clip`` and the estimates are None or NaN where a file does not have them; ``dies`` is None without a rule.
    ``levels`` are the quantiles of the per-position λ*.
    """

    source: str
    binding: str
    p: float
    b: float
    clip: float | None
    rule: Rule | None
    advised: Estimate
    operating: Estimate
    dies: Estimate | None
    quantile: float
    margin: float
    confidence: float
    answers: int
    used: int
    levels: Mapping[float, float]
    contract: str | None

    @classmethod
    def of(cls, report: Measured | Report | Mapping[str, Any] | str | PathLike[str]) -> Measured:
        """Return the numbers of a report, of the mapping that its ``to_dict`` gives, or of the file that holds it.

        Raises:
            ValueError: the file cannot be read, or is not a report; the message says what is missing.
        """
        if isinstance(report, Measured):
            return report
        if isinstance(report, Report):
            return _of_values(report.to_dict(), report.source)
        values, name = (report, "report") if isinstance(report, Mapping) else (_read(Path(report)), str(report))
        try:
            return _of_values(values, name)
        except (KeyError, TypeError, AttributeError, StopIteration, ValueError, OverflowError) as error:
            missing = isinstance(error, KeyError)
            said = f"it has no {error}" if missing else "a value of it is not as this version writes it"
            raise ValueError(f"{name}: {said}; write the report again with `lambda-star calibrate --json`") from error

    def is_for(self, rule: Rule) -> bool:
        """Whether the report was made for a rule that does the same here, whatever its name."""
        made = self.rule
        return made is not None and all(
            getattr(made, what)(self.p, self.b) == getattr(rule, what)(self.p, self.b) for what in ("leaves", "dies")
        )

    def share_past(self, lam: float) -> float | None:
        """Return a share that the positions past their own λ* do not exceed at λ; None if no quantile shows one."""
        shares = [level for level, star in self.levels.items() if level >= self.quantile and star >= lam]
        return min(shares, default=None)

    def thin(self, lam: float, confidence: float) -> Opinion:
        """Say whether tails at λ are known to be at most c times thinner than the teacher's."""
        if lam <= 1:
            return up_to_teacher(lam)
        wanted, low = answers_for(self.quantile, confidence), self.operating.low
        if self.answers >= wanted and math.isnan(low):
            return Opinion("unknown", "The report has no interval of its operating point; calibrate with a clip.")
        if not self.answers >= wanted:
            return Opinion("unknown", self._too_few(confidence), lambda: None if wanted == math.inf else int(wanted))
        allowed = f"the operating point's lower end, {low:g}"
        if lam <= low:
            return Opinion("safe", f"λ is at most {allowed}; up to it at most {self._rarely}.")
        dead = "no tail dies, and" if self.dies else "no --rule says where tails die, and"
        shows = f"whether answers break only `lambda-star rehearse --lam {lam:g}` shows"
        return Opinion("unknown", f"λ is above {allowed}; {dead} {shows}.")

    def death(self, lam: float) -> Opinion | None:
        """Say whether the tail dies at λ; None where the report has no rule, and where nothing is extrapolated."""
        dies = self.dies
        if dies is None or (lam <= 1 and math.isnan(dies.low)):
            return None
        if dies.value == math.inf and (dies.low == math.inf or (self.rule and never_kills(self.rule))):
            return Opinion("safe", f"Under {self.rule} no tail dies.")
        if math.isnan(dies.value):
            return Opinion("unknown", f"The report does not show at which λ tails die under {self.rule}.")
        where = f"under {self.rule} tails die from {interval(dies)} on"
        if lam >= dies.high:
            return Opinion("unsafe", f"λ is past the death of the tail: {where}.")
        return self._below(lam, dies, where)

    def _below(self, lam: float, dies: Estimate, where: str) -> Opinion:
        """Say whether a λ that is not surely past the death is surely below it."""
        if lam < dies.low:
            return Opinion("safe", f"λ is below the death of the tail: {where}.")
        if math.isnan(dies.low):
            return Opinion("unknown", f"It is only known that {where} at the latest; calibrate with that rule.")
        said = f"It is not sure whether the tail is alive at λ: {where}."
        return Opinion("unknown", said, partial(self._to_tell, lam))

    def under(self, rule: Rule) -> Measured:
        """Return the numbers for another rule than the report's, as far as a report that was not made for it tells."""
        if rule.needs_rows:
            return self._replace(rule=rule, dies=UNKNOWN)
        if self.is_for(rule):
            return self
        if never_kills(rule):
            return self._replace(rule=rule, dies=Estimate(math.inf, math.inf, math.inf))
        latest = float(rule.dies(self.p, self.b))
        return self._replace(rule=rule, dies=Estimate(latest, math.nan, latest))

    def evidence(self, confidence: float) -> Iterator[str]:
        """Yield what was measured."""
        wanted = answers_for(self.quantile, confidence)
        needs = "no number of them shows" if wanted == math.inf else f"{wanted:g} are needed to show"
        level = f"the {self._share} quantile with {100 * confidence:.3g} % confidence"
        yield f"{self.answers} answers were measured, and {needs} {level}."
        point = f"The operating point is {interval(self.operating)}"
        yield f"{point}; up to it at most {self._rarely}."
        if self.dies is None:
            yield "The report has no rule, so it does not say where tails die."
        elif self.dies.value == math.inf:
            yield f"Under {self.rule} no tail dies in the mean at these positions."
        else:
            yield f"Under {self.rule} {self._share} of the tails are dead at λ = {interval(self.dies)}."

    @property
    def _share(self) -> str:
        return f"{100 * self.quantile:.3g} %"

    @property
    def _rarely(self) -> str:
        times = math.nan if self.clip is None else self.clip
        return f"{self._share} of the positions have a tail more than {times:g} times thinner than the teacher's"

    def _too_few(self, confidence: float) -> str:
        level = 1 - (1 - confidence) ** (1 / max(self.answers, 1))
        return (
            f"{self.answers} answers are too few for the {self._share} quantile by position; "
            f"they can show the {100 * level:.2g} % quantile."
        )

    def _to_tell(self, lam: float) -> int | None:
        """How many answers would settle whether λ is past the death, as widths fall with the root of their number."""
        dies = self.dies or UNKNOWN
        side = dies.value - dies.low if lam < dies.value else dies.high - dies.value
        if lam == dies.value or not math.isfinite(side):
            return None
        return math.ceil(self.answers * max(1.0, (side / (dies.value - lam)) ** 2))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read the report ({error}); check the path") from error
    except (ValueError, RecursionError) as error:  # ValueError: more digits than Python reads, too
        raise ValueError(f"{path}: the report is not JSON ({error}); write it with `lambda-star calibrate`") from error


def _of_values(report: Mapping[str, Any], source: str) -> Measured:
    binding = next(one for one in report["classes"] if one["name"] == report["binding"])
    p, b, clip = float(binding["p"]), float(binding["b"]), _plain(report["clip"])
    require((P, p), (B, b), (C.named("clip"), clip))
    rule, dies = report.get("rule"), report.get("dies")
    if rule is None and dies is not None:
        raise ValueError("tails die under a rule, and the report has none")
    found = Measured(
        source=source,
        binding=report["binding"],
        p=p,
        b=b,
        clip=clip,
        rule=None if rule is None else parse(rule),
        advised=_estimate(report["advised"]),
        operating=_estimate(report["operating_point"]),
        dies=None if rule is None else _estimate(dies),
        quantile=float(report.get("quantile", 0.01)),
        margin=float(report.get("margin", 0.1)),
        confidence=float(report.get("confidence", 0.95)),
        answers=int(report.get("answers", report.get("sequences", 0))),
        used=int(report.get("used", 0)),
        levels={float(level): float(value) for level, value in report.get("quantiles", {}).items()},
        contract=report.get("contract"),
    )
    require((LEVEL, found.quantile), (P.named("confidence"), found.confidence))
    if any(estimate.low > estimate.high for estimate in (found.operating, found.dies or UNKNOWN)):
        raise ValueError("the ends of an interval must be in order")
    return found


def _estimate(value: Any) -> Estimate:
    """An estimate of a report, NaN where it has none."""
    if value is None:
        return UNKNOWN
    return Estimate(*(math.nan if (end := _plain(value.get(name))) is None else end for name in Estimate._fields))


def _plain(value: Any) -> float | None:
    """A number of a report, where "inf" is text and null is unknown."""
    return None if value is None else float(value)
