"""What a configuration does: the training code it is for, its update rules, its λ, and what else there is to say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lambda_star.lint.findings import Finding, Severity
from lambda_star.lint.settings import UNSET, Setting, Settings
from lambda_star.updates import Rule, importance_weight, none, truncated_sampling

__all__ = ["LAMBDA", "NO_SIGN", "Reading", "capped_weight", "loss_notes", "share_notes", "weight_note"]

LAMBDA = r"(.*\.)?lambda_vals(\.values?)?(\.\d+)?"

SAMPLERS = tuple(
    rf"{place}({{}})"
    for place in (
        r"(.*\.)?rollout\.",
        r"rollout_",
        r"(.*\.)?(student|actor)_infer\.generating_args\.",
        r"(.*\.)?policy\.generation\.",
        r"(.*\.)?generator\.sampling_params\.",
        r"(.*\.)?sampling\.train\.",
        "",
    )
)
"""The keys of the sampler that draws the rollouts, but for their last part; evaluation has keys of its own."""

NO_SIGN = (
    "{mode} is at least 0 whichever of teacher and student is larger. As a reward it punishes every deviation, so a "
    "tail thinner than the teacher's is pushed out further, at every λ; set {remedy}"
)

ON = ("true", "yes", "on", "1")

NOT_ROLLOUTS = r"(?!GenerationConfig$|dict$).*"


@dataclass
class Reading:
    """What a configuration does, as far as its file tells.

    Attributes:
        code: the training code, by its key in ``lambda_star.lint.codes.CODES``.
        rules: the update rules that bound the force on a tail, the loss first; empty where none describes the loss.
        lambdas: the settings of λ; none if the code has no λ of its own and the file adds none.
        clamp: the setting of a bound on the log-ratio of teacher to student, and the bound; what it does depends on
            where λ enters.
        truncated: the settings that keep tokens out of the rollouts, each with its rule.
        capped: whether λ is lowered to each position's own threshold before it is used.
        findings: what there is to say whatever λ is.
    """

    code: str
    rules: list[Rule] = field(default_factory=lambda: [none()])
    lambdas: list[Setting] = field(default_factory=list)
    clamp: tuple[Setting | None, float] | None = None
    truncated: list[tuple[Setting, Rule]] = field(default_factory=list)
    capped: bool = False
    findings: list[Finding] = field(default_factory=list)

    def say(self, severity: Severity, setting: Setting | None, message: str) -> None:
        """Add a finding about a setting, or about the whole file."""
        self.findings.append(Finding(severity, setting and setting.line, setting and setting.key, message))

    def bound(self, settings: Settings, key: str, scope: str = "(?!dict$).*") -> tuple[Setting | None, float]:
        """Return a bound and its setting, +inf where none is set; one that cannot be read is said to be unknown."""
        setting = settings.last(key, scope)
        if setting is None:
            return None, math.inf
        if math.isnan(setting.number):
            self.say("unknown", setting, f"{setting.key} is {setting.value!r}, so the bound is unknown; write a number")
            self.rules = []
            return setting, math.inf
        if setting.number <= 0:
            self.say("unknown", setting, f"{setting.key} is {setting.value}, and a bound must be positive")
            self.rules = []
            return setting, math.inf
        return setting, setting.number

    def switch(self, settings: Settings, key: str) -> bool | None:
        """Return whether something is switched on, or None, which is said to be unknown, if that cannot be read."""
        found = [*settings.all(key)]
        if not found:
            return False
        text = found[-1].value.strip().strip("'\"").lower()
        if text in ON or text in UNSET:
            return text in ON
        self.say(
            "unknown", found[-1], f"{found[-1].key} is {found[-1].value!r}, not true or false, so the rule is unknown"
        )
        self.rules = []
        return None


def _truncations(settings: Settings) -> Iterator[tuple[Setting, Rule]]:
    """Yield the settings that draw rollouts from a part of the vocabulary alone, each with its rule."""
    for name in ("top_p", "top_k"):
        found = (settings.last(sampler.format(name), NOT_ROLLOUTS) for sampler in SAMPLERS)
        for setting in filter(None, found):
            number = setting.number
            if name == "top_p" and 0 < number < 1:
                yield setting, truncated_sampling(top_p=number)
            elif name == "top_k" and number >= 1 and number == int(number):
                yield setting, truncated_sampling(top_k=int(number))


def capped_weight(settings: Settings, switch: str, cap: str, default: float = math.inf) -> Rule:
    """Return the rule of a truncated importance weight if it is switched on, and otherwise that of no bound.

    A cap that cannot be read is none: no such cap makes a cliff.
    """
    bound = settings.number(cap, default)
    return importance_weight(bound) if settings.last(switch) and 1 <= bound < math.inf else none()


def weight_note(reading: Reading, weight: Setting | None, penalty: Setting | None) -> None:
    """Explain a weight α on log π_T − log π, with a weight β of a KL to the base; neither of them is λ."""
    beta = penalty.number if penalty else 0.0
    if weight is None and not beta > 0:
        return
    alpha = weight.number if weight else 1.0
    named = f"{weight.key} = {weight.value}" if weight else "the teacher's term"
    if alpha < 0:
        reading.say("error", weight, f"{named} is negative, so training moves away from the teacher; make it positive")
    elif beta > 0 and penalty:
        share = (
            f", here π_T^{alpha / (alpha + beta):.4g}·π_B^{beta / (alpha + beta):.4g}" if not math.isnan(alpha) else ""
        )
        reading.say(
            "note",
            penalty,
            f"{penalty.key} = {penalty.value} is the weight β of a KL term. If its reference is the student's start, a "
            f"weight α on log π_T − log π has the fixed point π_T^(α/(α+β))·π_B^(β/(α+β)){share}: a λ of at most 1, "
            "which never extrapolates",
        )
    else:
        reading.say(
            "note",
            weight,
            f"{named} is a weight α on log π_T − log π and not λ: it changes the speed, and without a KL term to the "
            "base the fixed point is the teacher at every α > 0",
        )


def share_notes(reading: Reading, settings: Settings, whose: str, advice: str = "") -> bool:
    """Tell that ``lmbda`` is not λ; the answer is whether there is one."""
    shares = [setting for setting in settings.all(r"(.*\.)?lmbda") if setting.value != "true"]
    for setting in shares:
        refused = not 0 <= setting.number <= 1 and not math.isnan(setting.number)
        message = f"{whose} refuses lmbda = {setting.number:g} outside [0, 1]: " if refused else ""
        message += f"lmbda is {whose}'s share of on-policy samples, not λ{advice}"
        reading.say("error" if refused else "note", setting, message)
    return bool(shares)


def loss_notes(reading: Reading, settings: Settings) -> Reading:
    """Add what every code shares: λ by its usual key, and the sampler of the rollouts."""
    reading.lambdas += settings.all(LAMBDA, ".*")
    reading.truncated += _truncations(settings)
    return reading
