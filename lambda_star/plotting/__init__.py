"""Pictures of one position, of update rules, of reports, of the cliff experiment, and of the ledger.

Each function draws on the axes or figure that it is given, or on new ones, and returns what it drew on. ``STYLE`` holds
the settings of matplotlib that fit these pictures.
"""

from lambda_star import _deprecated
from lambda_star.plotting._axes import STYLE
from lambda_star.plotting.bernoulli import plot_regimes
from lambda_star.plotting.calibration import (
    plot_readings,
    plot_report,
    plot_tail_ratio,
    plot_thresholds,
    report_pictures,
)
from lambda_star.plotting.cliff import plot_cliff, plot_run
from lambda_star.plotting.cliff_rules import plot_cliff_rules
from lambda_star.plotting.dynamics import plot_budget, plot_trajectory
from lambda_star.plotting.ledger import plot_ledger
from lambda_star.plotting.probe import plot_probe
from lambda_star.plotting.rehearsal import plot_rehearsal
from lambda_star.plotting.updates import plot_forces, plot_rules, plot_updates

__all__ = [
    "STYLE",
    "plot_budget",
    "plot_cliff",
    "plot_cliff_rules",
    "plot_forces",
    "plot_ledger",
    "plot_probe",
    "plot_readings",
    "plot_regimes",
    "plot_rehearsal",
    "plot_report",
    "plot_rules",
    "plot_run",
    "plot_tail_ratio",
    "plot_thresholds",
    "plot_trajectory",
    "plot_updates",
    "report_pictures",
]

_deprecated.serve(__name__)
