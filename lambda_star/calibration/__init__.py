"""Turn measured log-probabilities into a λ that is safe, and say how sure that is.

Each position of a sampled answer gives one pair (p, b), the probabilities of the teacher's modal token under the
teacher and under the base. Positions of the contract are grouped into contract classes. A class has one λ*, from its
mean tail masses, with an interval over whole answers. Every position also has its own λ*, and every answer the least of
its positions. The advice is the lower limit of a low quantile of these, which bounds the share of answers in which the
student makes a tail more than c times thinner than the teacher's. Eq. 4 of the paper gives the λ* of one pair;
everything else here is an extension.
"""

# The way of the data through the modules, each of which stands on those above it:
#    texts, table            a table: its columns, its problems, and how tables are joined
#    rows                    what a good row is, one by one
#    readers                 a table, or a stream of tables, from files (the map of that folder stands there)
#    writers                 the files of a table
#    thresholds              λ*, flip points and deaths of rows, as intervals where their numbers are
#    contracts               the contract class of a row, and how a contract fits; classified() writes the classes down
#    readings                λ* for any single token, for everything but the modal token, and for a class
#    distribution            quantiles of any number of values
#    settings                what is summed
#    jackknife, statistics   limits of quantiles over answers, intervals of classes, and sample sizes
#    shares                  exact intervals of shares
#    concerns                warnings
#    report                  what is reported: the attributes, and their form as JSON
#    answers                 what is kept of each answer
#    classes                 what is kept of each contract class, and its report
#    samples                 what is kept one by one: the worst positions, listed tokens, texts and problems
#    summary                 from a state to its report
#    saved                   a state as bytes
#    state                   all that is kept, which can be added to, merged and saved
#    comparison              what differs between two states
#    pieces, cluster, large  files of any size: how they are cut, a Ray cluster, and one machine
#    grids, forms            the tables of a report, and the report as Markdown and HTML

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lambda_star import _deprecated
from lambda_star.calibration.report import Report
from lambda_star.calibration.state import Settings, State
from lambda_star.calibration.table import Table
from lambda_star.contract import Contract, Labeller
from lambda_star.updates import Rule

__all__ = ["Settings", "State", "calibrate"]

_deprecated.serve(__name__)


def calibrate(
    table: Table | Any,
    *,
    clip: float = 5.0,
    rule: Rule | None = None,
    lam: float | None = None,
    contract: Contract | Labeller | str | None = None,
    tokens: Sequence[str] = (),
    least_b: float = 0.0,
    margin: float = 0.1,
    quantile: float = 0.05,
    confidence: float = 0.95,
    budget: float | None = None,
) -> Report:
    """Return the λ* of every contract class and position of a table, and the λ that is advised.

    Args:
        table: rows from :func:`lambda_star.read_table` or :meth:`lambda_star.calibration.table.Table.from_rows`, or a
            data frame with the columns of a table (pandas, polars, Arrow, or any other with an Arrow C stream).
        clip: the clip c, how many times thinner than the teacher's the student's tail may become; in (1, inf). The
            default is 5, a tolerance.
        rule: what the trainer's update bounds, a value of :mod:`lambda_star.updates`. The report then says where tails
            die under it, and the operating point keeps its margin below that λ too.
        lam: a λ to judge, for instance the one in a training configuration.
        contract: what a valid answer is: a contract, its name for :func:`lambda_star.contract.parse`, or a labeller
            that tells the class of a position from the text of its modal token. The default is the table's ``contract``
            column, if it has one, and otherwise JSON. Positions after the token that broke their answer do not count.
        tokens: modal tokens that belong to the contract beside its own.
        least_b: the least probability that the base is taken to give a token that it did not list, an assumption, in
            [0, 1). It is the lower end of a ``log_b`` that is only bounded from above; by default 0, for which λ* is 1.
        margin: share of the excess λ*−1 that the operating point gives up, in [0, 1).
        quantile: the quantile of the least λ* of each answer on which the operating point rests, in [0, 1]; 0 is the
            least of all, which no number of answers shows.
        confidence: confidence of the limits and of the intervals, in (0, 1).
        budget: a planned training time, the learning rate times the number of steps of natural gradient, in (0, inf].
            Each class then also gets the λ at which such a run just reaches the clip edge.

    Returns:
        A :class:`lambda_star.calibration.report.Report`.

    Raises:
        ValueError: an option lies outside its range, or no row of the table is a usable contract position.

    Source: paper, Eq. 4, for the λ* of one (p, b); extension for everything else.

    >>> from lambda_star import calibrate, read_table
    >>> report = calibrate(read_table("examples/rank_by_price/logprobs.csv"), clip=5.0, lam=1.25)
    >>> 1 < report.operating_point.value <= report.advised.value < report.binding.high
    True
    """
    table = table if isinstance(table, Table) else Table.from_frame(table)
    state = State(Settings(clip, rule, lam, contract, tuple(tokens), least_b), table.source)
    state.add(table)
    return state.report(margin=margin, quantile=quantile, confidence=confidence, budget=budget)
