"""The optional bridge to PyTorch: a distillation step, its checks, extrapolated teachers, and a monitor for a run.

All formulas stay in the numeric layer, which accepts tensors; everything here computes on the device of its inputs.
Each name is loaded on first use. ``ExtrapolatedTeacher``, ``PredictedStudent``, ``SafetyMonitor`` and what loads models
by name need transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lambda_star._core.extras import missing as _missing

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise _missing("lambda_star.torch", "PyTorch", "torch") from error

if TYPE_CHECKING:
    from lambda_star.torch.adapters import without_adapters
    from lambda_star.torch.check import StepReport, check_step
    from lambda_star.torch.metrics import safety_metrics, safety_metrics_from_sampled
    from lambda_star.torch.models import load_pair
    from lambda_star.torch.monitor import SafetyMonitor
    from lambda_star.torch.pairs import pair_of
    from lambda_star.torch.probing import probe
    from lambda_star.torch.prompts import read_prompts
    from lambda_star.torch.rehearsing import rehearse
    from lambda_star.torch.report import ProbeReport
    from lambda_star.torch.sampling import sample
    from lambda_star.torch.scoring import score
    from lambda_star.torch.serving import PredictedStudent
    from lambda_star.torch.step import advantage, opd_loss
    from lambda_star.torch.teacher import ExtrapolatedTeacher

__all__ = [
    "ExtrapolatedTeacher",
    "PredictedStudent",
    "ProbeReport",
    "SafetyMonitor",
    "StepReport",
    "advantage",
    "check_step",
    "load_pair",
    "opd_loss",
    "pair_of",
    "probe",
    "read_prompts",
    "rehearse",
    "safety_metrics",
    "safety_metrics_from_sampled",
    "sample",
    "score",
    "without_adapters",
]

_HOME = {
    "ExtrapolatedTeacher": "teacher",
    "PredictedStudent": "serving",
    "ProbeReport": "report",
    "SafetyMonitor": "monitor",
    "StepReport": "check",
    "advantage": "step",
    "check_step": "check",
    "load_pair": "models",
    "opd_loss": "step",
    "pair_of": "pairs",
    "probe": "probing",
    "read_prompts": "prompts",
    "rehearse": "rehearsing",
    "safety_metrics": "metrics",
    "safety_metrics_from_sampled": "metrics",
    "sample": "sampling",
    "score": "scoring",
    "without_adapters": "adapters",
}


@contextmanager
def _transformers_for(purpose: str) -> Iterator[None]:
    """Import transformers inside this block; if it is missing, the error says what needs it and what to install."""
    try:
        yield
    except ImportError as error:
        raise _missing(purpose, "transformers", "trl") from error


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
