"""Pictures of reports and of the dynamics of one position; each takes ``ax=None`` and returns what it drew on."""

from lambda_star.plotting.bernoulli import plot_regimes
from lambda_star.plotting.calibration import plot_readings, plot_report, plot_tail_ratio, plot_thresholds
from lambda_star.plotting.cliff import plot_cliff, plot_run
from lambda_star.plotting.dynamics import plot_budget, plot_trajectory

__all__ = [
    "plot_budget",
    "plot_cliff",
    "plot_readings",
    "plot_regimes",
    "plot_report",
    "plot_run",
    "plot_tail_ratio",
    "plot_thresholds",
    "plot_trajectory",
]
