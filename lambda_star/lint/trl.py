"""TRL, and the extrapolated teacher and the loss of ``lambda_star.torch`` that are used with it."""

from __future__ import annotations

import math

from lambda_star.lint.reading import Reading, loss_notes, share_notes
from lambda_star.lint.settings import Settings
from lambda_star.updates import log_ratio_cap

__all__ = ["trl"]

TEACHER = "ExtrapolatedTeacher"
LOSS = "opd_loss"

NO_EXTRAPOLATION = (
    "an unmodified TRL trainer does not extrapolate; give it an ExtrapolatedTeacher of lambda_star.torch to do so"
)


def trl(settings: Settings) -> Reading:
    """TRL's losses cap nothing, so that an extrapolated teacher is reached at every λ."""
    reading = loss_notes(Reading("trl"), settings)
    reading.lambdas += settings.all("lam", f"{TEACHER}|{LOSS}")
    clip = settings.last("clip", TEACHER)
    reading.capped = clip is not None
    _, cap = reading.bound(settings, "clip", LOSS)
    if 1 <= cap < math.inf:
        reading.rules = [log_ratio_cap(cap)]
    shared = share_notes(reading, settings, "TRL", "" if reading.lambdas else f"; {NO_EXTRAPOLATION}")
    teacher = settings.last("teacher_model_name_or_path")
    if teacher and not shared and not reading.lambdas:
        reading.say("note", teacher, f"TRL's distillation has no λ: {NO_EXTRAPOLATION}")
    _itself(reading, settings)
    k = settings.last("loss_top_k")
    if k and k.number >= 1 and not settings.has("loss_add_tail", "true"):
        reading.rules = []
        reading.say(
            "note",
            k,
            f"loss_top_k = {k.value} leaves the loss with so many tokens and one bucket of all others, whose mass it "
            "restores as a whole. With loss_add_tail=False it renormalises to them, and the others get no force",
        )
    return reading


def _itself(reading: Reading, settings: Settings) -> None:
    """A student that is its own base: then λ multiplies a distance that is always 0 for the gradient."""
    students = {setting.value for setting in settings.all("model", r".*Trainer")}
    for setting in settings.all("base", TEACHER):
        if setting.value in students:
            reading.say(
                "error",
                setting,
                f"{setting.value} is both the student and the base of the extrapolated teacher, whose weights are "
                "frozen: nothing would train; load the student's start a second time",
            )
