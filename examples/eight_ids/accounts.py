"""What three accounts of the reported fall say of a run, before it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from lists import CLOSE, HELD_OUT, IDS, OPEN, SEPARATOR, SEPARATORS, Pair, log_rows, separators
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom
from update import ANSWERS, Rule, distilled

from lambda_star import bernoulli, updates
from lambda_star.updates import general

Floats = NDArray[np.float64]

LAMS = (1.0, 1.1, 1.15, 1.2, 1.23, 1.26, 1.3, 1.4, 1.5, 1.6)
STEPS = (42, 70)
JUDGED, SEEDS = 2000, (11, 12, 13)
DROP = 0.05
FALLS = (
    "A cell, which is the runs of one base, one update and one number of steps, falls if at some λ and at every greater"
    f" λ of the grid the mean validity over its seeds is more than {DROP} below that at λ = 1."
)
REPORTED = {"p": 1 - 6.6e-4, "b": 0.5, "clip": 5.0, "lam": 1.216}
"""What a reader reports of the paper: its marker's p and b, its cap, and the middle of the window of its fall."""
FURTHEST = 100.0  # λ up to which a fall is sought


def predicted(pair: Pair, rule: Rule) -> dict[str, Any]:
    """Return what the accounts say of a run; students above λ = 1 are not trained for it."""
    log_t, log_b = (log_rows(weights, pair.held_out[None])[0] for weights in pair.models)
    odds_t, odds_b = (separators(weights, pair.held_out)[0] for weights in pair.models)
    clip = math.inf if rule.clip is None else rule.clip
    p, b = 1 / (1 + np.exp(-odds_t)), 1 / (1 + np.exp(-odds_b)) if rule.base_term else np.full(odds_b.shape, 0.5)
    stars = np.median(bernoulli.threshold(p, b, clip), axis=0)
    first = int(np.argmin(stars)) if rule.clip else int(np.argmin(np.median(b, axis=0)))
    p, b = float(np.median(p[:, first])), float(np.median(b[:, first]))
    paces = pace(pair, rule)
    said: dict[str, Any] = rounded(
        {
            "tails": {"teacher": tails(odds_t), "base": tails(odds_b)},
            "separator": first + 1,
            "p": p,
            "b": b,
            "threshold": float(stars[first]) if rule.clip else None,
            "pace": paces,
            "mean": mean_dynamics(log_t, log_b, rule, paces),
            "capacity": lam_of_capacity(p, b, rule),
            "starvation": [lam_of_starvation(p, b, steps) for steps in STEPS],
            "power": power(),
            "criterion": FALLS,
        }
    )
    if rule.flipped:
        said |= {"dies": general.dies(partial(flipped_force, clip), p, b)}
    if rule.uniform:
        said |= {"mean advantage": mean_advantage(log_t)}
    return said | {"falls": falls(said)}


def mean_advantage(log_t: Floats) -> float:
    """Return the mean advantage of a token, over λ−1, of a student at the teacher, against a uniform base.

    Where it is negative, as it is without a base, an uncentred update pushes down what is drawn, and the weight of
    what the teacher rejects vanishes; so validity should fall there, and not where it is positive.
    """
    negative_entropy = np.sum(np.exp(log_t) * log_t, axis=-1).mean()
    return float(negative_entropy) + math.log(log_t.shape[-1])


def flipped_force(clip: float, theta: Any, p: float, b: float, lam: float) -> tuple[Any, Any]:
    """Return the effective advantages of the separator and of its tail where the ratio is flipped."""
    forces = []
    for log_q, log_t, log_b in zip(
        (-np.logaddexp(0, -theta), -np.logaddexp(0, theta)),
        *((math.log(q), math.log1p(-q)) for q in (p, b)),
        strict=True,
    ):
        advantage = log_t - log_q + (lam - 1) * (log_t - log_b)
        ratio = np.exp(np.where(advantage > 0, log_q - log_t, log_t - log_q))
        forces.append(np.minimum(clip, ratio) * advantage)
    return forces[0], forces[1]


def falls(said: dict[str, Any]) -> dict[str, list[bool]]:
    """Return whether validity falls on the grid after each number of steps, by each account."""
    mean = [fallen(said["mean"][str(steps)]["valid"]) is not None for steps in STEPS]
    late = [lam is not None and lam < LAMS[-1] for lam in (said["capacity"], *said["starvation"])]
    return {"mean": mean, "capacity": late[:1] * len(STEPS), "starvation": late[1:]}


def fallen(validity: Sequence[float]) -> float | None:
    """Return the λ from which on validity has fallen, or None."""
    low = [validity[0] - each > DROP for each in validity]
    first = max((index + 1 for index, each in enumerate(low) if not each), default=0)
    return LAMS[first] if first < len(LAMS) else None


def rounded(value: Any) -> Any:
    """Return values with six significant digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def tails(odds: Floats) -> list[float]:
    """Return the median tail at each separator."""
    found: list[float] = np.median(1 / (1 + np.exp(odds)), axis=0).tolist()
    return found


def pace(pair: Pair, rule: Rule) -> list[float]:
    """Measure how much time of a natural gradient flow the steps take, in a run at λ = 1 with other random numbers.

    In time s such a flow leaves e^−s of the distance to the teacher, measured by the root mean square of the
    separators' log-odds.
    """
    target, start = (separators(weights, pair.held_out) for weights in pair.models)
    found = []
    for student in distilled(pair.models, replace(rule, from_teacher=False), (1.0,), STEPS, pair.generator("pace")):
        left = np.mean((separators(student, pair.held_out) - target) ** 2) / np.mean((start - target) ** 2)
        found.append(max(0.0, -math.log(left) / 2))
    return found


def mean_dynamics(log_t: Floats, log_b: Floats, rule: Rule, paces: Sequence[float]) -> dict[str, Any]:
    """Return what the expected update does: the students after the steps of the run, and after infinitely many."""
    students = {str(steps): unfinished(log_t, log_b, rule, s) for steps, s in zip(STEPS, paces, strict=True)}
    if not rule.flipped:
        students["converged"] = converged(log_t, log_b, rule)
    return {name: expected(rows) for name, rows in students.items()}


def unfinished(log_t: Floats, log_b: Floats, rule: Rule, s: float) -> Floats:
    """Return the rows of the students at each λ after time s of a natural gradient flow from where they start."""
    lams, done = np.array(LAMS)[:, None, None, None], -math.expm1(-s)
    end = lams * log_t + (1 - lams) * log_b if rule.base_term else lams * log_t
    return normalised(done * end + (1 - done) * (log_t if rule.from_teacher else log_b))


def converged(log_t: Floats, log_b: Floats, rule: Rule) -> Floats:
    """Return the rows at which the expected update ends.

    Without the base term they are those of the centred update, π_T^λ, in either case.
    """
    lams = np.array(LAMS)[:, None, None, None]
    if not rule.base_term:
        return normalised(lams * log_t)
    weight = updates.teacher_weight(math.inf if rule.clip is None else rule.clip, centred=rule.centred)
    some = slice(None, None, HELD_OUT // 8)  # an uncentred row takes long, and the lists are alike
    log_t, log_b = log_t[some], log_b[some]
    return np.stack([np.asarray(weight.student(log_t, log_b, lam, axis=-1)) for lam in LAMS])


def normalised(logits: Floats) -> Floats:
    """Return rows whose probabilities add up to 1."""
    rows: Floats = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return rows


def expected(rows: Floats) -> dict[str, list[float]]:
    """Return the share of lists that the students of such rows end after the eighth id, and after the seventh.

    The rows are those of closed lists of eight ids, shape (students, lists, places, tokens).
    """
    masses = np.exp(rows)
    kept = np.stack([masses[:, :, 0, OPEN], *(masses[:, :, 2 * k + 1, 1:11].sum(-1) for k in range(IDS))], -1).prod(-1)
    on = masses[:, :, SEPARATORS, SEPARATOR]
    stop = masses[:, :, -1, 0]
    valid = kept * on.prod(-1) * masses[:, :, 2 * IDS, CLOSE] * stop
    last = masses[:, :, 2 * IDS - 1, 1:11].sum(-1)
    missing = kept / last * on[:, :, :-1].prod(-1) * masses[:, :, SEPARATORS[-1], CLOSE] * stop
    tail = np.median(1 - on, axis=1)
    return {"valid": valid.mean(1).tolist(), "one missing": missing.mean(1).tolist(), "tail": tail[:, -1].tolist()}


def lam_of_capacity(p: float, b: float, rule: Rule) -> float | None:
    """Return the λ at which the push that explains the reported fall, relative to the teacher's tail, wins here.

    The push is not measured: it is the capacity at the reported p, b, cap and λ. None means at no λ.
    """
    if rule.clip is None:
        return None
    said, centred = REPORTED, rule.centred
    push: float = updates.capacity(said["p"], said["b"], said["lam"], said["clip"], centred=centred) / (1 - said["p"])

    def spare(lam: float) -> float:
        return float(updates.capacity(p, b, lam, rule.clip, centred=centred)) / (1 - p) - push

    return 1.0 if spare(1.0) <= 0 else float(brentq(spare, 1.0, FURTHEST))


def lam_of_starvation(p: float, b: float, steps: int) -> float:
    """Return the λ from which less than one token of the tail is drawn in all steps, at the tail of the fixed point."""
    odds_t, odds_b, needed = (math.log(q / (1 - q)) for q in (p, b, 1 - 1 / (steps * ANSWERS)))
    found: float = 1 + (needed - odds_t) / (odds_t - odds_b)
    return max(1.0, found)


def power(drop: float = 0.1, below: float = 0.5) -> float:
    """Return the chance that a mean validity over all seeds that is less by ``drop`` is seen to be less by ``DROP``.

    This is about the judged answers alone, at the validity at which they say least; training adds its own spread.
    """
    answers = JUDGED * len(SEEDS)
    counts = np.arange(answers + 1)
    seen = binom.sf(counts + DROP * answers, answers, below + drop / 2)
    return float(np.sum(binom.pmf(counts, answers, below - drop / 2) * seen))
