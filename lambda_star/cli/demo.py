"""The command ``demo``: a calibration of a real table that ships with the package."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from lambda_star._core.extras import install_command
from lambda_star._core.quantities import LAM
from lambda_star._core.text import shown
from lambda_star.cli._output import RULE_HELP, RuleType, json_option, quantity_option, say, write_json
from lambda_star.cli.calibration import print_report

__all__ = ["demo"]

TABLE = Path(__file__).with_name("demo.csv.gz")
"""The first 120 answers of examples/rank_by_price/logprobs.csv; demo.md says what they are."""

WHAT = (
    "A real table: a language model, SmolLM2-135M-Instruct, ranks items by price and answers with a JSON list. The 120 "
    "answers were sampled from an early step of a fine-tuning, the base; the last step is the teacher."
)

NEXT = """\
Next, every table of this report:
  lambda-star calibrate {table} --rule {rule} --lam {lam} --all

The same for two models of your own; the first command installs what they need:
  {install}
  lambda-star score --teacher T --base B --prompts prompts.jsonl --contract json --out rows.csv
  lambda-star calibrate rows.csv --rule {rule} --lam {lam}"""


def _with_text(context: click.Context, option: click.Parameter, text: str) -> tuple[str, Any]:
    """The rule behind the text that names it, which the commands to run next repeat."""
    return text, RuleType().convert(text, option, context)


@click.command(short_help="Calibrate a real table that ships with the package.")
@quantity_option(LAM, default=1.25, show_default=True, help="The lambda to judge.")
@click.option("--rule", default="trl", show_default=True, callback=_with_text, help=RULE_HELP)
@json_option(kind="calibrate")
def demo(lam: float, rule: tuple[str, Any], json_path: Path | None) -> None:
    """Calibrate a real table that ships with the package, print the verdict, and say what to do next.

    This needs no file, no model and no network. The exit status and the JSON are those of `lambda-star calibrate`; at
    the lambda and the rule of the defaults the verdict is UNKNOWN, with status 3.

    The table holds 120 answers of SmolLM2-135M-Instruct (Apache-2.0), a cut of examples/rank_by_price/logprobs.csv in
    the repository, under the licence of this package.

    \b
    Examples:
      lambda-star demo
      lambda-star demo --lam 1.05
      lambda-star demo --rule log_ratio_cap:5 --json report.json
    """  # noqa: D301 (click wants the character \b)
    from lambda_star.calibration.large import calibrate_files
    from lambda_star.calibration.state import Settings
    from lambda_star.verdict import decide

    report = calibrate_files([TABLE], Settings(clip=5.0, rule=rule[1], lam=lam)).report()
    verdict = decide(report, lam=lam)
    say(WHAT)
    click.echo()
    print_report(report, verdict)
    table, text = shlex.quote(shown(str(TABLE))), shlex.quote(rule[0])
    click.echo("\n" + NEXT.format(table=table, rule=text, lam=lam, install=install_command("models")))
    write_json(json_path, "calibrate", report.to_dict() | {"verdict": verdict.to_dict()})
    click.get_current_context().exit(verdict.exit_status)
