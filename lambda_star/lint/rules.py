"""From a short text, as the command line takes it, to an update rule: a training code with its settings, or a rule."""

from __future__ import annotations

import re
from typing import NamedTuple

from lambda_star.lint.codes import CODES
from lambda_star.lint.reading import Reading
from lambda_star.lint.settings import Setting, Settings
from lambda_star.updates import RULES, Rule, log_ratio_clamp, parse

__all__ = ["rule_of"]


class _Named(NamedTuple):
    """The settings of a code that decide about its rule, where they stand, and what its examples set."""

    keys: tuple[str, ...]
    defaults: str = ""
    prefix: str = ""


TIS = ("use_opd", "opd_type", "opd_kl_coef", "use_tis", "tis_clip")

NAMED: dict[str, _Named] = {
    "verl": _Named(
        ("loss_mode", "topk", "loss_max_clamp", "log_prob_min_clamp", "use_policy_gradient", "policy_loss_mode"),
        "loss_mode=k1,loss_max_clamp=10",
        "distillation.distillation_loss.",
    ),
    "gopd": _Named(("rollout_is", "rollout_is_threshold"), "", "algorithm.rollout_correction."),
    "nemo": _Named(
        (
            "use_importance_sampling_correction",
            "truncated_importance_sampling_type",
            "truncated_importance_sampling_ratio",
            "kl_type",
            "zero_outside_topk",
        ),
        "",
        "loss_fn.",
    ),
    "miles": _Named((*TIS, "opd_log_prob_top_k"), "use_opd=true"),
    "slime": _Named(TIS, "use_opd=true"),
    "lightrft": _Named(("opd_kl_coef", "advantage_clip", "advantages_norm"), "opd_kl_coef=1"),
    "roll": _Named(
        ("is_pure_opd", "use_opd", "opd_kl_coef", "advantage_clip", "whiten_advantages", "kl_penalty", "reward_clip"),
        "is_pure_opd=true",
    ),
    "rllm": _Named(("adv_clip_min", "adv_clip_max"), "adv_clip_min=-5,adv_clip_max=5", "algorithm."),
    "skyrl": _Named(("use_tis", "tis_imp_ratio_cap")),
    "swift": _Named(("teacher_kl_coef", "gkd_logits_topk")),
    "trl": _Named(("beta", "lmbda", "loss_top_k", "loss_add_tail")),
}
"""What each code's examples of on-policy distillation set, so that ``rule_of`` needs no more than what differs."""

ALIASES = {"msswift": "swift", "nemorl": "nemo"}


def rule_of(text: str) -> Rule:
    """Return the update rule of a training code with its settings, or the rule that a text names.

    Args:
        text: a code (verl, gopd, nemo, miles, slime, lightrft, roll, rllm, skyrl, swift or trl) with those of its
            settings that differ from its examples, as in ``verl:loss_max_clamp=5``; else a rule as
            :func:`lambda_star.updates.parse` reads it, as in ``cap:5``. A clamp of the log-ratio, which is 10 in verl's
            examples, is read with λ added outside of it, the cautious case; ``teacher=extrapolated`` puts λ inside.

    Returns:
        The rule of the loss.

    Raises:
        ValueError: the text names neither a code nor a rule, an argument of a rule is wrong, a setting is not of the
            form key=value, or no rule describes the loss.

    Source: extension; ``derivations/updates.md``.

    >>> [str(rule_of(text)) for text in ("trl", "verl:loss_max_clamp=5", "cap:5")]
    ['none()', 'log_ratio_clamp(bound=5)', 'log_ratio_cap(c=5)']
    """
    code, _, given = text.strip().partition(":")
    name = re.sub(r"[\s_-]", "", code.lower())
    name = ALIASES.get(name, name)
    if name not in CODES:
        if re.split(r"[:(]", text.strip())[0].strip() in {*RULES, "cap", "clamp"}:
            return parse(text)
        raise ValueError(f"{text!r} names no training code ({', '.join(CODES)}) and no rule ({', '.join(RULES)})")
    reading, inside = _of_code(name, given)
    wrong = [finding.message for finding in reading.findings if finding.severity in {"error", "unknown"}]
    if wrong or not reading.rules:
        said = wrong or [finding.message for finding in reading.findings] or ["no rule describes the loss"]
        raise ValueError(f"{text!r}: {said[0]}")
    if inside and reading.clamp:
        return log_ratio_clamp(reading.clamp[1], teacher="extrapolated")
    return reading.rules[0]


def _of_code(name: str, given: str) -> tuple[Reading, bool]:
    """The reading of a code's usual settings with those given, and whether the teacher is the extrapolated one."""
    named, title = NAMED[name], CODES[name].title
    found: dict[str, str] = {}
    for part in filter(None, re.split(r"[,\s]+", f"{named.defaults},{given}")):
        key, separator, value = part.partition("=")
        key = key.lstrip("+-").replace("-", "_").removeprefix(named.prefix)
        if not separator or not value:
            raise ValueError(f"{part!r} is no setting of {title}; write key=value, as its files do")
        if key not in {*named.keys, "teacher"}:
            raise ValueError(f"{key!r} decides nothing about {title}'s rule; what does is {', '.join(named.keys)}")
        found[key] = value
    teacher = found.pop("teacher", "plain")
    if teacher not in {"plain", "extrapolated"}:
        raise ValueError(f"teacher must be plain or extrapolated, got {teacher!r}")
    if name == "verl":
        # Only the plain log-ratio is an advantage; the other losses are differentiated through.
        found.setdefault("use_policy_gradient", str(found["loss_mode"] in {"k1", "kl"}))
    settings = Settings([Setting(named.prefix + key, value, None) for key, value in found.items()])
    return CODES[name].read(settings), teacher == "extrapolated"
