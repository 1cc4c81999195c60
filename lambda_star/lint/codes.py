"""From the settings of each training code to its update rule, as its source reads.

Each function says what the version named in :data:`CODES` does with the keys that it reads. All of these codes but
G-OPD have no λ: their users serve an extrapolated teacher, or add the term of λ to the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from lambda_star.lint.reading import LAMBDA, NO_SIGN, Reading, capped_weight, loss_notes, share_notes, weight_note
from lambda_star.lint.settings import Setting, Settings
from lambda_star.lint.trl import trl
from lambda_star.lint.verl import gopd, verl
from lambda_star.updates import advantage_clamp, log_ratio_clamp, none

__all__ = ["CODES", "Code", "lightrft", "miles", "nemo", "read", "rllm", "roll", "skyrl", "slime", "swift"]

LIGHTRFT_CLAMP = 20.0
"""The bound on the reverse KL of a token in versions of LightRFT with ``opd_kl_coef``; as reported, since the version
named below has no such key. It is not a setting."""


class Code(NamedTuple):
    """A training code: its name, the version that was read, the keys that tell it, and what its settings mean.

    ``keys`` are pairs of a pattern of a whole key and one of its value; ``scopes`` is a pattern of the Python calls
    that tell it.
    """

    title: str
    version: str
    keys: tuple[tuple[str, str], ...]
    read: Callable[[Settings], Reading]
    scopes: str = "(?!)"


def slime(settings: Settings) -> Reading:
    """Add −α(log π − log π_T) of the sampled token to the advantage: slime caps nothing of it."""
    return _slime(settings, "slime")


def miles(settings: Settings) -> Reading:
    """Do as slime does, with a reward over the top k tokens besides."""
    reading = _slime(settings, "miles")
    k = settings.last(r"opd_log_prob_top_k")
    if k and k.number > 0:
        reading.rules = []
        reading.say(
            "note",
            k,
            f"opd_log_prob_top_k = {k.value} makes the reward of a position one number, a mean over its top tokens, "
            "whichever token was sampled. As an advantage it has no mean effect on the choice at that position, so λ "
            "has none either; 0 gives the reward of the sampled token",
        )
    return reading


def _slime(settings: Settings, code: str) -> Reading:
    reading = loss_notes(Reading(code, [capped_weight(settings, "use_tis", "tis_clip", 2.0)]), settings)
    if not settings.last("use_opd"):
        reading.say("note", settings.last("opd_type"), "use_opd is not set, so nothing is distilled")
    penalty = settings.last("kl_loss_coef") if settings.last("use_kl_loss") else settings.last("kl_coef")
    weight_note(reading, settings.last("opd_kl_coef"), penalty)
    return reading


def nemo(settings: Settings) -> Reading:
    """NeMo-RL: sampled log π_T − log π behind an importance gate, or a KL over the teacher's top k logits."""
    reading = loss_notes(Reading("nemo"), settings)
    k = settings.last(r"distillation\.topk_logits_k")
    kind = settings.last(r"loss_fn\.kl_type")
    if k or kind:
        outside = settings.last(r"loss_fn\.zero_outside_topk")
        where = "are pushed to 0 at every λ" if outside else "get no force: both sides are renormalised to the k tokens"
        reading.rules = [] if outside else [none()]
        reading.say(
            "note",
            k or kind,
            f"the loss sees the teacher's {k.value if k else 64} most probable tokens alone. Tokens inside settle at "
            f"the teacher's proportions, and tokens outside {where}",
        )
        return reading
    ratio = r"(.*\.)?truncated_importance_sampling_ratio"
    reading.rules = [capped_weight(settings, r"(.*\.)?use_importance_sampling_correction", ratio)]
    weight_note(reading, None, settings.last(r"(.*\.)?reference_policy_kl_penalty"))
    return reading


def roll(settings: Settings) -> Reading:
    """ROLL's advantage is −Σ α·KL over the teachers, clamped to ±``advantage_clip`` where that is set."""
    reading = loss_notes(Reading("roll"), settings)
    weight = settings.last(r"(teacher\.)?(.*\.)?opd_kl_coef")
    alpha = weight.number if weight else 1.0
    (clamp, bound), whitened = reading.bound(settings, "advantage_clip"), reading.switch(settings, "whiten_advantages")
    pure = reading.switch(settings, "is_pure_opd") or not reading.switch(settings, "use_opd")
    if bound < math.inf and (whitened or not pure):
        reading.rules = [advantage_clamp(bound, centred=bool(whitened))]
    elif bound < math.inf and alpha > 0 and bound / alpha > 0:
        _clamped(reading, clamp, bound / alpha)
    estimate = settings.last("kl_penalty")
    if estimate and estimate.value.strip("'\"") in {"abs", "mse"}:
        reading.say("error", estimate, NO_SIGN.format(mode=estimate.value, remedy="kl_penalty=kl"))
    clip = settings.last("reward_clip")
    if clip and pure:
        reading.say(
            "note",
            clip,
            "reward_clip does not reach the advantage of pure distillation in the version that was read; where it "
            "clamps α(log π_T − log π) to ±R, it is a cap with c = e^(R/α)",
        )
    weight_note(reading, weight, settings.last("kl_loss_coef") if settings.last("use_kl_loss") else None)
    return reading


def rllm(settings: Settings) -> Reading:
    """Clip the advantage, α(log π_T − log π), to [``clip_min``, ``clip_max``], as rLLM does."""
    reading = loss_notes(Reading("rllm"), settings)
    _, bound = reading.bound(settings, r"(.*\.)?adv_clip_max")
    bound = min(bound, reading.bound(settings, "clip_max", ANY)[1])
    if bound < math.inf:
        reading.rules = [advantage_clamp(bound)]
    weight_note(reading, settings.last("kl_penalty_coef", ANY), None)
    return reading


def skyrl(settings: Settings) -> Reading:
    """SkyRL's example takes −(log π − log π_T) of the sampled token as the reward, and caps nothing of it."""
    old = r"(.*\.)?(use_tis|off_policy_correction\.tis_ratio_type)"
    cap = r"(.*\.)?(tis_imp_ratio_cap|off_policy_correction\.token_tis_ratio_clip_high)"
    reading = loss_notes(Reading("skyrl", [capped_weight(settings, old, cap, 2.0)]), settings)
    if settings.last(r"(.*\.)?use_kl_loss"):
        weight_note(reading, None, settings.last(r"(.*\.)?kl_loss_coef"))
    return reading


def swift(settings: Settings) -> Reading:
    """ms-swift adds α(log π_T − log π) to GRPO's advantage, or distils by a divergence (GKD)."""
    reading = loss_notes(Reading("swift"), settings)
    k = settings.last("gkd_logits_topk")
    if k:
        reading.say(
            "note",
            k,
            f"the loss sees the teacher's {k.value} most probable tokens alone, with both sides renormalised to them. "
            "Tokens inside settle at the teacher's proportions, and tokens outside get no force",
        )
    share_notes(reading, settings, "ms-swift")
    grpo = settings.has("rlhf_type", "grpo")
    weight_note(reading, settings.last("teacher_kl_coef"), settings.last("beta") if grpo else None)
    return reading


def lightrft(settings: Settings) -> Reading:
    """LightRFT's advantage is log π_T − log π, whitened or clipped where that is switched on."""
    reading = loss_notes(Reading("lightrft"), settings)
    weight = settings.last("opd_kl_coef")
    clamp, bound = reading.bound(settings, "advantage_clip")
    if settings.last("advantages_norm") and bound < math.inf:
        reading.rules = [advantage_clamp(bound, centred=True)]
    elif bound < math.inf or weight:
        _clamped(reading, clamp or weight, min(bound, LIGHTRFT_CLAMP if weight else math.inf))
    weight_note(reading, weight, settings.last("init_kl_coef") if settings.last("use_kl_loss") else None)
    return reading


def _clamped(reading: Reading, setting: Setting | None, bound: float) -> None:
    """A clamp of the log-ratio itself; the cautious reading adds λ outside of it."""
    reading.rules, reading.clamp = [log_ratio_clamp(bound)], (setting, bound)


ANY = r".*"
TRUE = r"true|yes|on|1"

CODES: dict[str, Code] = {
    "verl": Code(
        "verl",
        "verl-project/verl at 1dda039, 22 August 2026",
        ((r"(.*\.)?distillation\.(enabled|distillation_loss\..*|teacher_models\..*)", ANY),),
        verl,
    ),
    "gopd": Code(
        "G-OPD",
        "RUCBM/G-OPD at 37371a4, 28 May 2026",
        (
            (r"(.*\.)?policy_loss\.(lambda_vals|multi_teacher_distill)", ANY),
            (r"(.*\.)?policy_loss\.only_reverse_kl_advantages", TRUE),
        ),
        gopd,
    ),
    "nemo": Code(
        "NeMo-RL",
        "NVIDIA-NeMo/RL at 7ea279a, 22 August 2026",
        (
            (r"on_policy_distillation\..*", ANY),
            (r"grpo\.adv_estimator\.name", "opd"),
            (r"distillation\.topk_logits_k", ANY),
            (r"loss_fn\.(kl_type|zero_outside_topk)", ANY),
        ),
        nemo,
    ),
    "miles": Code(
        "miles",
        "radixark/miles at 31f1ca9, 21 August 2026",
        (
            (r"opd_(log_prob_top_k|top_k_strategy|reward_weight_mode|topk_per_position|teacher_urls)", ANY),
            (r"custom_(rm|reward_post_process)_path", r"miles\..*"),
        ),
        miles,
    ),
    "slime": Code(
        "slime",
        "THUDM/slime at 624b824, 21 August 2026",
        ((r"opd_(type|teacher_load)", ANY), (r"custom_(rm|reward_post_process)_path", r"slime\..*")),
        slime,
    ),
    "lightrft": Code(
        "LightRFT",
        "opendilab/LightRFT at 0f3cd68, branch dev-onpolicy-distillation, 10 February 2026",
        ((r"advantage_estimator", r"on_policy_distillation"),),
        lightrft,
    ),
    "roll": Code(
        "ROLL",
        "alibaba/ROLL at 8eb27cc, 19 August 2026",
        (
            (r"is_pure_opd|use_opd", ANY),
            (r"student_(train|infer)\..*", ANY),
            (r"teacher\.(.*\.)?(opd_kl_coef|model_args\..*)", ANY),
        ),
        roll,
    ),
    "rllm": Code(
        "rLLM",
        "rllm-org/rllm at 9beb6e0, 15 August 2026",
        (
            (r"(.*\.)?algorithm\.adv_clip_(min|max)", ANY),
            (r"(.*\.)?algorithm\.adv_estimator", "distill"),
            (r"(.*\.)?rllm\.distill\..*", ANY),
            (r"workflow_class", r".*DistillationWorkflow"),
        ),
        rllm,
    ),
    "skyrl": Code(
        "SkyRL",
        "NovaSky-AI/SkyRL at a956457, 21 August 2026",
        (
            (r"trainer\.algorithm\.(advantage_estimator|policy_loss_type|tis_imp_ratio_cap|use_tis)", ANY),
            (r"trainer\.algorithm\.off_policy_correction\..*", ANY),
        ),
        skyrl,
    ),
    "swift": Code(
        "ms-swift",
        "modelscope/ms-swift at 3602360 (4.6.0.dev0), 22 August 2026",
        ((r"rlhf_type|teacher_kl_coef|gkd_logits_topk|teacher_model_server", ANY),),
        swift,
    ),
    "trl": Code(
        "TRL",
        "huggingface/trl 1.16.0",
        ((r"(.*\.)?lmbda|teacher_model_name_or_path|distillation_objective|loss_top_k|loss_add_tail", ANY),),
        trl,
        r"ExtrapolatedTeacher|opd_loss|(Distillation|ServerDistillation|AsyncDistillation|GKD|GOLD|IWOPD)(Config|Trainer)",
    ),
}
"""The training codes by their short name; the first one that a key of the file tells is the file's."""


def read(settings: Settings) -> Reading | None:
    """Return what a configuration does, or None if it belongs to none of the codes that are known."""
    for code in CODES.values():
        if any(settings.has(key, value) for key, value in code.keys) or any(settings.all(ANY, code.scopes)):
            return code.read(settings)
    return gopd(settings) if any(settings.all(LAMBDA, ANY)) else None
