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
from lambda_star.calibration.statistics import Estimate, Limit
from lambda_star.updates import Rule, parse
from lambda_star.verdict.opinion import Opinion, interval, up_to_teacher

__all__ = ["Measured", "OldReportError", "never_kills"]

SCHEMA = "lambda-star/calibrate/2"

LEVEL = Quantity("quantile", 0.0, 1.0, "[]")

LEAST = 5e-324
"""What stands for a b of 0, which no rule takes: the least float above it."""

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


class Measured(NamedTuple):
    """The numbers of a report that decide about λ; ``p`` and ``b`` are those of its binding class.

    ``dies`` is None without a rule, and ``levels`` are the quantiles of the per-position λ*.
    """

    source: str
    binding: str
    p: float
    b: float
    clip: float
    rule: Rule | None
    advised: Limit
    operating: Limit
    dies: Limit | None
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
        except OldReportError:
            raise
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

    def thin(self, lam: float) -> Opinion:
        """Say whether tails at λ are known to be at most c times thinner than the teacher's."""
        if lam <= 1:
            return up_to_teacher(lam)
        point = self.operating
        if math.isnan(point.value):
            return Opinion("unknown", self._too_few(point), lambda: _whole(point.needed))
        allowed = f"the operating point, {point.value:g}"
        if lam <= point.value:
            return Opinion("safe", f"λ is at most {allowed}; up to it at most {self._rarely}.")
        dead = "no tail dies, and" if self.dies else "no --rule says where tails die, and"
        shows = f"whether answers break only `lambda-star rehearse --lam {lam:g}` shows"
        return Opinion("unknown", f"λ is above {allowed}; {dead} {shows}.")

    def death(self, lam: float) -> Opinion | None:
        """Say whether the tail dies at λ; None where the report has no rule, and where nothing is extrapolated."""
        dies = self.dies
        if dies is None or (lam <= 1 and math.isnan(dies.value)):
            return None
        if dies.value == math.inf or (dies.estimate == math.inf and self.rule and never_kills(self.rule)):
            return Opinion("safe", f"Under {self.rule} no tail dies.")
        if math.isnan(dies.estimate):
            return Opinion("unknown", f"The report does not show at which λ tails die under {self.rule}.")
        where = f"under {self.rule} tails die from {_shown(dies)} on"
        if lam >= dies.high:
            return Opinion("unsafe", f"λ is past the death of the tail: {where}.")
        return self._below(lam, dies, where)

    def _below(self, lam: float, dies: Limit, where: str) -> Opinion:
        """Say whether a λ that is not surely past the death is surely below it."""
        if lam < dies.value:
            return Opinion("safe", f"λ is below the death of the tail: {where}.")
        if math.isnan(dies.value):
            return Opinion("unknown", self._not_sure(dies, where), lambda: _whole(dies.needed))
        said = f"It is not sure whether the tail is alive at λ: {where}."
        return Opinion("unknown", said, partial(self._to_tell, lam))

    def under(self, rule: Rule) -> Measured:
        """Return the numbers for another rule than the report's, as far as a report that was not made for it tells."""
        if rule.needs_rows:
            return self._replace(rule=rule, dies=self._death(math.nan, math.nan))
        if self.is_for(rule):
            return self
        if never_kills(rule):
            return self._replace(rule=rule, dies=self._death(math.inf, math.inf))
        return self._replace(rule=rule, dies=self._death(math.nan, float(rule.dies(self.p, self.b))))

    def _death(self, value: float, high: float) -> Limit:
        """A death of which only limits are known."""
        return self.advised._replace(value=value, estimate=high, high=high, at_most=value, needed=math.inf)

    def evidence(self) -> Iterator[str]:
        """Yield what was measured."""
        wanted = self.operating.needed
        needs = "no number of them shows" if wanted == math.inf else f"{wanted:g} are needed to show"
        level = f"the {self._share} quantile with {100 * self.confidence:.3g} % confidence"
        yield f"{self.answers} answers were measured, and {needs} {level}."
        yield self._point()
        if self.dies is None:
            yield "The report has no rule, so it does not say where tails die."
        elif self.dies.estimate == math.inf:
            yield f"Under {self.rule} no tail dies in the mean at these positions."
        else:
            yield f"Under {self.rule} a tail is dead in {self._share} of the answers at λ = {_shown(self.dies)}."

    def _point(self) -> str:
        point = self.operating
        if math.isnan(point.value):
            return f"The operating point is unknown; without a limit it would be {point.estimate:g}."
        said = f"The operating point is {point.value:g}; up to it at most {self._rarely}."
        if point.at_most > point.value:
            said += f" If every number had the other end of its interval, it would be {point.at_most:g}."
        return said

    @property
    def _share(self) -> str:
        return f"{100 * self.quantile:.3g} %"

    @property
    def _rarely(self) -> str:
        return f"{self._share} of the answers have a tail more than {self.clip:g} times thinner than the teacher's"

    def _too_few(self, point: Limit) -> str:
        return (
            f"{point.answers} answers are too few for the {self._share} quantile of the answers; "
            f"they can show the {100 * point.level:.2g} % quantile."
        )

    def _not_sure(self, dies: Limit, where: str) -> str:
        if dies.needed < math.inf:
            return self._too_few(dies)
        return f"It is only known that {where} at the latest; calibrate with that rule."

    def _to_tell(self, lam: float) -> int | None:
        """How many answers would settle whether λ is past the death, as widths fall with the root of their number."""
        dies = self.dies
        if dies is None or lam == dies.estimate:
            return None
        side = dies.estimate - dies.value if lam < dies.estimate else dies.high - dies.estimate
        if not math.isfinite(side):
            return None
        return math.ceil(self.answers * max(1.0, (side / (dies.estimate - lam)) ** 2))


def _whole(needed: float) -> int | None:
    return None if needed == math.inf else int(needed)


def _shown(limit: Limit) -> str:
    """A limit as text: the quantile of the sample, with its limits where they are known."""
    return interval(Estimate(limit.estimate, limit.value, limit.high))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot read the report ({error}); check the path") from error
    except (ValueError, RecursionError) as error:  # ValueError: more digits than Python reads, too
        raise ValueError(f"{path}: the report is not JSON ({error}); write it with `lambda-star calibrate`") from error


def _of_values(report: Mapping[str, Any], source: str) -> Measured:
    _refuse_old(report, source)
    binding = next(one for one in report["classes"] if one["name"] == report["binding"])
    p, b, clip = float(binding["p"]), max(float(binding["b"]), LEAST), float(report["clip"])
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
        advised=_limit(report["advised"]),
        operating=_limit(report["operating_point"]),
        dies=None if rule is None else _limit(dies),
        quantile=float(report["quantile"]),
        margin=float(report.get("margin", 0.1)),
        confidence=float(report["confidence"]),
        answers=int(report["answers"]),
        used=int(report.get("used", 0)),
        levels={float(level): float(value) for level, value in report.get("quantiles", {}).items()},
        contract=report.get("contract"),
    )
    require((LEVEL, found.quantile), (P.named("confidence"), found.confidence))
    limits = (found.operating, *([found.dies] if found.dies else ()))
    if found.confidence >= 0.5 and any(limit.value > limit.high for limit in limits):  # below, they may change places
        raise ValueError("the limits of a quantile must be in order")
    return found


def _refuse_old(report: Mapping[str, Any], source: str) -> None:
    """Raise an error for a report of another version."""
    schema = report.get("schema", SCHEMA)
    if schema != SCHEMA or "low" in (report.get("advised") or ()):
        raise OldReportError(
            f"{source}: this is a report of another version, {schema}; the limits of version 1 came from a bootstrap "
            "of positions that covered too little, so calibrate again with this version"
        )


class OldReportError(ValueError):
    """A report of a version that is not read any more."""


def _limit(value: Any) -> Limit:
    """A limit of a report, NaN where it has null; None is a limit of which nothing is known."""
    if value is None:
        unknown: dict[str, Any] = dict.fromkeys(Limit._fields, math.nan)
        return Limit(**(unknown | {"answers": 0, "needed": math.inf}))
    numbers: dict[str, Any] = {name: math.nan if value[name] is None else float(value[name]) for name in Limit._fields}
    return Limit(**(numbers | {"answers": int(numbers["answers"])}))
