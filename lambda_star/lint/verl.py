"""verl and its fork G-OPD: from their settings to the update rule."""

from __future__ import annotations

import math

from lambda_star.lint import bounds as known
from lambda_star.lint.reading import NO_SIGN, Reading, capped_weight, loss_notes, weight_note
from lambda_star.lint.settings import Settings
from lambda_star.updates import Rule, log_prob_floor, log_ratio_clamp, top_k

__all__ = ["gopd", "verl"]

LOSS = r"(.*\.)?distillation\.distillation_loss\."
PLAIN = ("kl", "k1")
SIGNLESS = ("abs", "mse", "k2", "low_var_kl", "k3")
TOP_K = "forward_kl_topk"

DEFAULT_MODE, DEFAULT_K = "k3", 32
"""What verl's ``distillation.yaml`` sets; its examples set k1 with policy gradient, a clamp of 10 and one of −10."""


def gopd(settings: Settings) -> Reading:
    """G-OPD's advantage is −(log π − log π_B) + λ(log π_T − log π_B), neither clipped nor centred."""
    correction = r"(.*\.)?rollout_correction\."
    rule = capped_weight(settings, f"{correction}rollout_is", f"{correction}rollout_is_threshold", 2.0)
    reading = loss_notes(Reading("gopd", [rule]), settings)
    missing = "; ".join(f"{key} to {to}" for key, to in known.NEEDS if not settings.last(_anywhere(key)))
    for setting in reading.lambdas if missing else ():
        if setting.number != 1:
            said = (
                "G-OPD ignores this λ and distils with λ = 1 or not at all, unless another file or a command line sets"
            )
            reading.say("warning", setting, f"{said} {missing}")
    switch, several = settings.last(_anywhere(known.SWITCH)), settings.last(_anywhere(known.SEVERAL_TEACHERS))
    if reading.lambdas and several:
        reading.say(
            "note",
            several,
            "G-OPD applies λ only to samples whose opd_teacher is math or code; check that the data have that column, "
            "and compare λ with the λ* of each teacher, because all teachers share it",
        )
    elif switch and not reading.lambdas:
        said = "no lambda_vals is set, so λ is 1 and nothing is extrapolated; set policy_loss.lambda_vals"
        reading.say("note", switch, said)
    return reading


def _anywhere(key: str) -> str:
    """The pattern of a key that may stand below others, as in a Python file or a sweep."""
    return r"(.*\.)?" + key.replace(".", r"\.") + r"(\.value|\.values\.0)?"


def verl(settings: Settings) -> Reading:
    """Clamp the estimate of the reverse KL to ±``loss_max_clamp``, as an advantage or as a loss."""
    reading = loss_notes(Reading("verl"), settings)
    enabled = settings.last(r"(.*\.)?distillation\.enabled")
    if not enabled and settings.has(r"(.*\.)?distillation\.enabled"):
        if reading.lambdas:
            return gopd(settings)
        reading.say("note", None, "distillation.enabled is false, so nothing is distilled")
        return reading
    mode = settings.last(LOSS + "loss_mode")
    name = mode.value.strip().strip("'\"") if mode else DEFAULT_MODE
    gradient = reading.switch(settings, LOSS + "use_policy_gradient")
    if gradient is None:
        return reading
    if name == TOP_K:
        reading.rules = _over_top_k(reading, settings, gradient)
    elif name in PLAIN and gradient:
        clamp, bound = reading.bound(settings, LOSS + "loss_max_clamp")
        if bound < math.inf:
            reading.rules, reading.clamp = [log_ratio_clamp(bound)], (clamp, bound)
    elif name in PLAIN:
        said = "drops out of the gradient when it is differentiated: the teacher has no effect; set use_policy_gradient"
        reading.say("error", mode, f"{name} {said}")
    elif name in SIGNLESS and gradient:
        reading.say(
            "error",
            mode,
            NO_SIGN.format(mode=name, remedy="loss_mode=k1, or use_policy_gradient=False"),
        )
    elif name not in SIGNLESS:
        reading.rules = []
        reading.say("unknown", mode, f"loss_mode = {name} is not known; its rule cannot be told")
    _weights(reading, settings, gradient)
    return reading


def _over_top_k(reading: Reading, settings: Settings, gradient: bool) -> list[Rule]:
    """The forward KL over the teacher's top k, whose log-probabilities may be clamped from below."""
    k = settings.last(LOSS + "topk")
    mode = settings.last(LOSS + "loss_mode")
    if gradient:
        reading.say(
            "warning",
            mode,
            f"{TOP_K} with use_policy_gradient gives a position one number, whichever token was sampled. As an "
            "advantage it has no mean effect on the choice at that position; set use_policy_gradient=False",
        )
        return []
    count = k.number if k else DEFAULT_K
    shown = k.value if k else str(DEFAULT_K)
    reading.say(
        "note",
        k or mode,
        f"{TOP_K} sees the teacher's {shown} most probable tokens, without a bucket for the others. Tokens outside "
        "lose their mass at every λ, also at 1; tokens inside settle at the teacher's proportions",
    )
    lowest = settings.last(LOSS + "log_prob_min_clamp")
    rules: list[Rule] = [top_k(int(count))] if count >= 1 and count == int(count) else []
    if lowest and math.isnan(lowest.number):
        reading.say(
            "unknown", lowest, f"log_prob_min_clamp is {lowest.value!r}, so the bound is unknown; write a number"
        )
    elif lowest and -math.inf < lowest.number < 0:
        rules.insert(0, log_prob_floor(-lowest.number))
    return rules


def _weights(reading: Reading, settings: Settings, gradient: bool) -> None:
    """The weights that are no λ: of the teacher's term, of a KL to the base, and the ratio of policies."""
    policy = settings.last(LOSS + "policy_loss_mode")
    if policy and gradient and policy.value.strip().strip("'\"") != "vanilla":
        said = (
            "weights the advantage by a ratio of policies, so it makes no cliff; the version read takes vanilla alone"
        )
        reading.say("note", policy, f"policy_loss_mode = {policy.value} {said}")
    weight = settings.last(LOSS + "distillation_loss_coef") if settings.last(LOSS + "use_task_rewards") else None
    penalty = settings.last(r"(.*\.)?kl_loss_coef") if settings.last(r"(.*\.)?use_kl_loss") else None
    weight_note(reading, weight, penalty)
