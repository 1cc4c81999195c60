"""What the theory predicts of a distillation step, checked against real forward, backward and optimiser steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lambda_star import bernoulli, categorical, dynamics
from lambda_star._core.quantities import LAM, C, Quantity, require
from lambda_star.torch.step import advantage, log_softmax, opd_loss

__all__ = ["Line", "StepReport", "check_step"]

RATE, STEPS = 0.02, 250
"""Size and number of the optimiser steps on a table of logits."""


FLOWS: tuple[tuple[dynamics.Flow, bool, float], ...] = (
    ("natural", True, -STEPS * math.log1p(-RATE)),
    ("policy-gradient", False, 2 * RATE * STEPS),
)
"""Name of a flow, whether it is natural, and the time that the steps take; the gradient moves both of two logits."""


ROWS = 8
"""Positions that are trained as a table."""


ROUNDING = 256
"""Units of the last place that gradients and logarithms may be off by."""


SHARE = 1e-3
"""The part of the way to the fixed point, in Kullback-Leibler divergence, that one step of a model is to go."""


GAIN = 0.1
"""What second-order terms may add to that."""


HALVINGS = 50


ENDLESS = 1e3
"""The λ at which a clip that never acts is looked for."""


Inputs = Mapping[str, Any] | Tensor | None


class Line(NamedTuple):
    """One prediction beside what was measured; it holds if they differ by at most the tolerance.

    >>> Line("largest ratio", 1.5, 1.5001, 1e-3).holds
    True
    """

    what: str
    predicted: float
    measured: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether measured and predicted agree; NaN agrees with nothing."""
        return bool(self.predicted == self.measured or abs(self.measured - self.predicted) <= self.tolerance)


@dataclass(frozen=True)
class StepReport:
    """Predictions and measurements of :func:`check_step`.

    Attributes:
        lines: one per prediction.
        device: where the steps ran.
        dtype: in what the models computed.
        positions: output positions that were looked at.
        tokens: size of the vocabulary.
        lam: the extrapolation coefficient λ.
        clip: the cap c.

    >>> from lambda_star.torch.models import small_problem
    >>> report = check_step(*small_problem())
    >>> report.passed, report.positions
    (True, 24)
    """

    lines: tuple[Line, ...]
    device: str
    dtype: str
    positions: int
    tokens: int
    lam: float
    clip: float

    @property
    def passed(self) -> bool:
        """Whether every prediction holds."""
        return all(line.holds for line in self.lines)


class _Rows(NamedTuple):
    """Logits of teacher and base, one row per position, and what to expect of numbers computed from them."""

    teacher: Tensor
    base: Tensor
    lam: float
    clip: float
    precision: float

    def mixture(self, lam: float | None = None) -> Tensor:
        """Logits of the fixed point."""
        at = self.lam if lam is None else lam
        absent = (self.teacher == -math.inf) & (self.base == -math.inf)
        return torch.where(absent, -math.inf, at * self.teacher + (1 - at) * self.base)

    def loss(self, student: Tensor) -> Tensor:
        return opd_loss(student, self.teacher, self.base, self.lam)

    def divergence(self, student: Tensor) -> Tensor:
        """The mean Kullback-Leibler divergence of a student from the fixed point."""
        log_s, log_fixed = log_softmax(student), log_softmax(self.mixture())
        return torch.where(log_fixed == -math.inf, 0.0, log_s.exp() * (log_s - log_fixed)).sum(dim=-1).mean()


def check_step(
    teacher: Tensor | nn.Module,
    base: Tensor | nn.Module,
    student: nn.Module | None = None,
    inputs: Inputs = None,
    *,
    lam: float = 1.25,
    clip: float = 5.0,
    positions: int = 64,
) -> StepReport:
    """Run real distillation steps, and compare what they do with what the theory predicts.

    A table of logits, one row per position, is trained by gradient steps: its gradient vanishes at the fixed point and
    its log-odds follow :mod:`lambda_star.dynamics`, with the clip and without. The largest ratio of teacher to student
    probability is compared with R(λ), and the λ at which the clip begins to act with λ*. Of a student model the
    gradient at the fixed point is compared with that elsewhere, the step's gradient with that of the divergence
    from the fixed point, and the gain of one small step with its first order. The student itself is left as it is.

    Args:
        teacher: logits of shape (..., tokens), or a module that gives them (Hugging Face causal language model, or any
            whose output is a tensor or has ``logits``).
        base: the same of the base.
        student: module to be trained for a step; without it only the table of logits is.
        inputs: what the modules are called with: a mapping of keyword arguments, or one tensor.
        lam: extrapolation coefficient λ, finite.
        clip: cap c on the ratio of teacher to student probability, above 1 and finite.
        positions: most positions to look at, evenly spread, at least 1.

    Returns:
        A :class:`StepReport`.

    Raises:
        ValueError: a value lies outside its range, shapes differ, or a module has no inputs.

    Source: ``derivations/bernoulli.md``, ``derivations/categorical.md`` and ``derivations/dynamics.md``.

    >>> teacher, base = torch.tensor([[4.0, 0.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> [line.what for line in check_step(teacher, base, lam=1.2).lines][0]
    'gradient at the fixed point / elsewhere'
    """
    require(
        (C.named("clip")._replace(ends="()"), clip), (LAM, lam), (Quantity("positions", 1, math.inf, "[)"), positions)
    )
    with torch.no_grad():
        raw, other = (_logits(model, inputs, name) for name, model in (("teacher", teacher), ("base", base)))
    if raw.shape != other.shape:
        raise ValueError(
            f"base must have the shape of the teacher's logits, {tuple(raw.shape)}, got {tuple(other.shape)}"
        )
    chosen = torch.linspace(0, len(raw) - 1, min(positions, len(raw)), device=raw.device).long()
    wide = torch.promote_types(raw.dtype, torch.float32)
    rows = _Rows(raw[chosen].to(wide), other[chosen].to(wide), lam, clip, torch.finfo(wide).eps)
    lines = [_gradient(rows), _table(rows), _ratio(rows), _onset(rows), *_two_outcomes(rows)]
    if student is not None:
        lines += _model_step(student, inputs, chosen, rows)
    return StepReport(tuple(lines), str(raw.device), str(raw.dtype)[6:], len(chosen), raw.shape[-1], lam, clip)


def _logits(model: Tensor | nn.Module, inputs: Inputs, name: str) -> Tensor:
    """The logits of a model as rows."""
    if isinstance(model, Tensor):
        return model.detach().reshape(-1, model.shape[-1])
    if inputs is None:
        raise ValueError(f"inputs must be given where {name} is a module")
    out: Any = model(**inputs) if isinstance(inputs, Mapping) else model(inputs)
    logits: Tensor = getattr(out, "logits", out)
    return logits.reshape(-1, logits.shape[-1])


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(math.fsum(float(tensor.double().square().sum()) for tensor in tensors))


def _gradient_at(rows: _Rows, logits: Tensor) -> Tensor:
    leaf = logits.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rows.loss(leaf), leaf)
    return gradient


def _gradient(rows: _Rows) -> Line:
    here, base, flat = (_norm([_gradient_at(rows, at)]) for at in (rows.mixture(), rows.base, _flat(rows.base)))
    return Line(
        "gradient at the fixed point / elsewhere", 0.0, _share(here, max(base, flat)), ROUNDING * rows.precision
    )


def _flat(logits: Tensor) -> Tensor:
    """A student that has made up its mind about nothing: elsewhere, also where base and fixed point agree."""
    return torch.where(logits == -math.inf, logits, 0.0)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.inf if part else 0.0


def _descend(logits: Tensor, loss: Callable[[Tensor], Tensor], natural: bool) -> Tensor:
    """Train a table of logits with SGD; natural gradient divides by the student's probabilities."""
    table = nn.Parameter(logits.detach().clone())
    optimizer = torch.optim.SGD([table], lr=RATE)
    for _ in range(STEPS):
        # The mean over positions is undone, since rows share no parameters.
        (gradient,) = torch.autograd.grad(loss(table) * len(table), table)
        q = log_softmax(table.detach()).exp().clamp(min=torch.finfo(table.dtype).tiny)
        table.grad = gradient / q if natural else gradient
        optimizer.step()
    return table.detach()


def _table(rows: _Rows) -> Line:
    """Natural-gradient steps move the log-odds of any two tokens as if there were no others."""
    few = slice(None, ROWS)
    rows = rows._replace(teacher=rows.teacher[few], base=rows.base[few])
    table = _descend(rows.base, rows.loss, natural=True)
    log_t, log_b = log_softmax(rows.teacher), log_softmax(rows.base)
    modal = log_t.argmax(dim=-1, keepdim=True)
    other = log_b.scatter(-1, modal, -math.inf).argmax(dim=-1, keepdim=True)
    odds = [
        (logits.gather(-1, modal) - logits.gather(-1, other)).squeeze(-1).double() for logits in (log_t, log_b, table)
    ]
    teacher, base, measured = (value.cpu().numpy() for value in odds)
    target = base + rows.lam * (teacher - base)
    predicted = base + (target - base) * -math.expm1(STEPS * math.log1p(-RATE))
    scale = float(torch.where(rows.teacher == -math.inf, 0.0, rows.teacher).abs().max()) + 1
    worst = int(np.argmax(np.abs(predicted - measured)))
    what = f"log-odds after {STEPS} natural-gradient steps, without a clip"
    return Line(what, float(predicted[worst]), float(measured[worst]), ROUNDING * rows.precision * scale)


def _two_outcomes(rows: _Rows) -> list[Line]:
    """The modal token against the rest, past its λ* and with the clip, as two logits under either flow."""
    p, b = _modal(rows)
    where = np.flatnonzero((p > b) & (b > p / rows.clip))
    if not len(where):
        return []
    chosen = where[np.linspace(0, len(where) - 1, min(ROWS, len(where))).astype(int)]
    teacher, base = (_pair(value[chosen], rows.teacher) for value in (p, b))
    lines = []
    lams = 1 + 1.5 * bernoulli.excess(p[chosen], b[chosen], rows.clip)
    at = torch.as_tensor(lams, dtype=teacher.dtype, device=teacher.device)
    for flow, natural, time in FLOWS:
        loss = partial(opd_loss, teacher=teacher, base=base, lam=at, clip=rows.clip)
        table = _descend(base, loss, natural)
        measured = (table[:, 1] - table[:, 0]).double().cpu().numpy()
        predicted = np.array(
            [
                dynamics.trajectory(float(p[row]), float(b[row]), rows.clip, float(lam), [time], flow=flow)[0]
                for row, lam in zip(chosen, lams, strict=True)
            ]
        )
        worst = int(np.argmax(np.abs(measured - predicted)))
        # Steps follow the flow up to terms of the order of their size.
        tolerance = RATE * (abs(predicted[worst]) + 1)
        what = f"log-odds after {STEPS} {flow} steps past λ*, clip {rows.clip:g}"
        lines.append(Line(what, float(predicted[worst]), float(measured[worst]), tolerance))
    return lines


def _modal(rows: _Rows) -> tuple[Any, Any]:
    """Probabilities of the teacher's modal token under teacher and base, as float64 arrays inside (0, 1)."""
    log_t, log_b = log_softmax(rows.teacher), log_softmax(rows.base)
    modal = log_t.argmax(dim=-1, keepdim=True)
    near = 1e-6
    return tuple(
        np.clip(logs.gather(-1, modal).squeeze(-1).double().exp().cpu().numpy(), near, 1 - near)
        for logs in (log_t, log_b)
    )


def _pair(p: Any, like: Tensor) -> Tensor:
    """Logits of two outcomes, tail and modal token."""
    odds = torch.as_tensor(np.log(p) - np.log1p(-p), dtype=like.dtype, device=like.device)
    return torch.stack([torch.zeros_like(odds), odds], dim=-1)


def _ratio(rows: _Rows) -> Line:
    """Teacher over student probability, the largest of all, where the student is the fixed point."""
    log_t, log_s = log_softmax(rows.teacher), log_softmax(rows.mixture())
    measured = float(torch.where(log_t == -math.inf, -math.inf, log_t - log_s).max().double().exp())
    predicted = float(categorical.ratio(rows.teacher.double(), rows.base.double(), rows.lam).max())
    return Line(
        f"largest teacher / student ratio at λ = {rows.lam:g}",
        predicted,
        measured,
        ROUNDING * rows.precision * predicted,
    )


def _onset(rows: _Rows) -> Line:
    """The least λ at which the clip changes the advantage of a token of the fixed point, found by halving."""
    found = categorical.threshold(rows.teacher, rows.base, rows.clip).value.double()
    row = int(found.argmin())
    predicted, what = float(found[row]), "least λ at which the clip acts on a token"
    one = rows._replace(teacher=rows.teacher[row : row + 1], base=rows.base[row : row + 1])
    log_t, log_b = log_softmax(one.teacher), log_softmax(one.base)

    def acts(lam: float) -> bool:
        log_s = log_softmax(one.mixture(lam))
        return bool((advantage(log_t, log_s, log_b, lam, rows.clip) < advantage(log_t, log_s, log_b, lam)).any())

    low, high = 1.0, min(2 * predicted, ENDLESS)
    if not acts(high):
        return Line(what, predicted, math.inf, ROUNDING * rows.precision)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if acts(middle) else (middle, high)
    return Line(what, predicted, high, ROUNDING * rows.precision * high)


def _model_step(student: nn.Module, inputs: Inputs, chosen: Tensor, rows: _Rows) -> list[Line]:
    """Gradients and one step of a model whose positions share their weights."""
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    if not weights:
        raise ValueError("student must have weights that require a gradient, got none")
    tolerance = max(ROUNDING * rows.precision, *(8 * torch.finfo(weight.dtype).eps for weight in weights))

    def logits() -> Tensor:
        out = _logits(student, inputs, "student")[chosen]
        return out.to(rows.teacher.dtype)

    def gradients(loss: Tensor) -> list[Tensor]:
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [torch.zeros_like(weight) if part is None else part for weight, part in zip(weights, found, strict=True)]

    def at(target: Tensor) -> list[Tensor]:
        """The same backward pass with other logits in place of the student's."""
        out = logits()
        return gradients(rows.loss(out + (target - out).detach()))

    step = gradients(rows.loss(logits()))
    elsewhere = max(_norm(step), _norm(at(_flat(rows.base))))
    apart = _norm(a - b for a, b in zip(step, gradients(rows.divergence(logits())), strict=True))
    lines = [
        Line(
            "model: gradient at the fixed point / elsewhere",
            0.0,
            _share(_norm(at(rows.mixture())), elsewhere),
            tolerance,
        ),
        Line("model: step's gradient − gradient of the divergence, relative", 0.0, _share(apart, elsewhere), tolerance),
    ]
    if _share(_norm(step), elsewhere) > tolerance:  # else it stands at the fixed point, and no step gains anything
        lines.append(Line("model: gain of a step / its first order", 1.0, _gain(student, inputs, chosen, rows), GAIN))
    return lines


def _gain(student: nn.Module, inputs: Inputs, chosen: Tensor, rows: _Rows) -> float:
    """What an SGD step of a copy takes off the divergence, over rate times squared gradient.

    The copy is float32 at least, as the master weights of an optimiser are: others cannot hold so small a step.
    """
    model = copy.deepcopy(student)
    model = model.float() if any(weight.dtype.itemsize < 4 for weight in model.parameters()) else model
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def divergence() -> Tensor:
        return rows.divergence(_logits(model, inputs, "student")[chosen].to(rows.teacher.dtype))

    start = divergence()
    for weight, gradient in zip(weights, torch.autograd.grad(start, weights, allow_unused=True), strict=True):
        weight.grad = gradient
    before = float(start.detach())
    size = _norm(weight.grad for weight in weights if weight.grad is not None)
    torch.optim.SGD(weights, lr=SHARE * before / size**2).step()
    with torch.no_grad():
        return (before - float(divergence())) / (SHARE * before)
