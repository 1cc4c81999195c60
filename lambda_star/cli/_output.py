"""What the commands share: options of quantities, failures, tables, and the writing of files."""

from __future__ import annotations

import json
import math
import re
import shlex
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime, timezone
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lambda_star import __version__
from lambda_star._core.extras import install_command
from lambda_star._core.files import MARK, write_whole
from lambda_star._core.quantities import C, Quantity
from lambda_star._core.text import harmless, shown
from lambda_star._core.text import number as figure
from lambda_star.cli._files import Output, forced, guarded, reads, writable
from lambda_star.cli._streams import Unwritten, flush, silence, stand, stoppable

if TYPE_CHECKING:
    from lambda_star.verdict import Verdict

CLIP_NOTE = """\
What CLIP means: c caps how many times thinner than the teacher's tail the student's tail may become. A reader of the
paper reports that its runs use c = 5 and weight the advantage by min(c, pi_T/pi_S). The clips of verl (2), TRL GRPO (3)
and G-OPD (5) bound another ratio, that of the training engine to the rollout engine, and PPO's epsilon limits how far
an update moves the student. Use such a number as c only if your code caps the tail ratio with it.
"""

SCREEN = 100
"""The columns of a screen, at which sentences are broken."""

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)

OPEN_CLIP = C._replace(ends="(]")
"""A clip above 1: at c = 1 every λ above 1 is past λ*, and there is nothing to draw or to calibrate."""


def range_type(quantity: Quantity) -> click.ParamType[float]:
    """Return the type of an option that must lie in the range of a quantity; an infinite end is left to the library."""
    low, high = (None if math.isinf(end) else int(end) if end == int(end) else end for end in quantity[1:3])
    if low is None and high is None:
        return click.FLOAT
    return click.FloatRange(low, high, min_open=quantity.ends[0] == "(", max_open=quantity.ends[1] == ")")


def quantity_option(quantity: Quantity, *flags: str, **settings: Any) -> Callable[..., Any]:
    """Return the option of a quantity; its flag is the name and its help the meaning, unless others are given."""
    settings.setdefault("help", quantity.meaning[:1].upper() + quantity.meaning[1:] + ".")
    return click.option(*(flags or (f"--{quantity.name}",)), type=range_type(quantity), **settings)


class RuleType(click.ParamType[Any]):
    """An update rule, by the name of a training code or of the rule."""

    name = "rule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the rule that a text names."""
        from lambda_star.lint import rule_of

        try:
            return rule_of(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(shown(str(error)), param, ctx)


RULE_HELP = """\
What your trainer's update bounds: a training code such as trl, gopd or verl:loss_max_clamp=5, or a rule such as
log_ratio_cap:5. `lambda-star updates` lists the rules."""


def rule_option(**settings: Any) -> Callable[..., Any]:
    """Return the option of an update rule."""
    return click.option("--rule", type=RuleType(), **{"help": RULE_HELP, **settings})


ARGUMENTS = "lambda_star.arguments"
STDOUT = "lambda_star.stdout"
"""Where the context of a command keeps what it was called with, and the standard output that JSON is written to."""


class Group(click.Group):
    """A group that remembers what it was called with, guards what its commands write, and ends with their status."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, whose outputs are checked before it begins."""
        super().add_command(guarded(cmd), name)

    def main(self, *arguments: Any, **extra: Any) -> Any:
        """Run the command; whatever goes wrong ends with status 2, since Python's own 1 would say "unsafe"."""
        run: Any = super().main
        if not extra.pop("standalone_mode", True):
            return run(*arguments, standalone_mode=False, **extra)
        try:
            with stoppable(), _ending():
                stand()
                status = run(*arguments, standalone_mode=False, **extra)
        except click.ClickException as error:
            status = error.exit_code
            try:
                error.show()
            except OSError:  # not even the error can be told
                silence(sys.stderr)
        sys.exit(status)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Return the context, with the arguments in its ``meta``."""
        given = list(args)
        with _ending():
            context = super().make_context(info_name, args, *rest, **extra)
        context.meta[ARGUMENTS] = given
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click itself would end with status 1 where a reader left."""
        with _ending():
            return super().invoke(ctx)


@contextmanager
def _ending() -> Iterator[None]:
    """Turn every error into one with status 2, and so the loss of what was printed, whatever the status would be."""
    try:
        yield
    except (click.exceptions.Exit, SystemExit):
        flush()
        raise
    except click.ClickException as error:
        vars(error).update(message=_lines(error.message))
        flush()
        raise
    except (click.Abort, KeyboardInterrupt) as error:
        raise Stopped(error) from error
    except OSError as error:
        flush()
        if error.filename is None:  # an unbuffered stream has nothing left that flush could fail on
            raise Unwritten("standard output or a file", error) from error
        raise Failure(shown(f"{error.filename}: {error.strerror}")) from error
    except Exception as error:
        raise Failure(_lines(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")) from error
    flush()


def _lines(message: str) -> str:
    """A message of several lines as it is shown, since it may hold text of a file."""
    return "\n".join(map(shown, message.split("\n")))


def output_option(*flags: str, kind: str = "", dash: bool = False, **settings: Any) -> Callable[..., Any]:
    """Return the option of a file to write; :class:`lambda_star.cli._files.Output` says what a kind is.

    With ``dash``, - is standard output: all else that the command prints then goes to standard error, and
    :func:`write` with that path writes to standard output.
    """
    settings = {"callback": _prepare, "is_eager": True} | settings if dash else settings
    return click.option(*flags, type=Output(kind, dash=dash), **settings)


def _prepare(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path == Path("-") and STDOUT not in context.meta:
        context.meta[STDOUT] = sys.stdout
        context.with_resource(redirect_stdout(sys.stderr))
    return path


def json_option(kind: str = "") -> Callable[..., Any]:
    """Return the option ``--json``; with ``-`` all that a command prints goes to standard error, and JSON to stdout.

    ``kind`` is the command whose schema the JSON has, if that is another one.
    """
    text = "Write the result as JSON to a file, or to standard output with -, where nothing else is then written."
    return output_option("--json", "json_path", kind=kind, dash=True, help=text)


def plot_option(*names: str, what: str = "report") -> Callable[..., Any]:
    """Return the option ``--plot``."""
    return output_option("--plot", *names, kind="picture", help=f"Draw the {what} (.png, .pdf or .svg).")


VERSIONS = {"calibrate": 2}
"""The versions of schemas that have changed."""


def write_json(path: Path | None, command: str, payload: Mapping[str, Any]) -> None:
    """Write what a command found, behind its schema, version, command line and time; without a path write nothing."""
    if path is None:
        return
    context = click.get_current_context()
    head = {
        "schema": f"lambda-star/{command}/{VERSIONS.get(command, 1)}",
        "version": __version__,
        "command": shlex.join(["lambda-star", *context.meta.get(ARGUMENTS, [command])]),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    text = json.dumps(_plain({**head, **payload}), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write(path, re.sub(r"[^\x00-\x7f]", _escaped, text), command)


def _escaped(character: re.Match[str]) -> str:
    """A character of a JSON text, as its escape where it could not be seen."""
    return character[0] if shown(character[0]) == character[0] else json.dumps(character[0])[1:-1]


def _plain(value: Any) -> Any:
    """The value in the types of JSON: the text "inf" or "-inf" stands for an infinite number, and null for NaN."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else f"{value:g}"
    return value


def finish(verdict: Verdict) -> NoReturn:
    """Print a verdict in one line, and end with its exit status: 0 safe, 1 unsafe, 3 unknown."""
    click.echo(f"\n{shown(str(verdict))}")
    click.get_current_context().exit(verdict.exit_status)


class ContractType(click.ParamType[Any]):
    """A contract, by its name."""

    name = "contract"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the contract that a text names."""
        from lambda_star.contract import parse

        try:
            if isinstance(value, str):
                reads(ctx, value)
            return parse(value) if isinstance(value, str) else value
        except (ValueError, ImportError) as error:
            tokens = ctx is not None and any(option.name == "tokens" for option in ctx.command.params)
            self.fail(shown(f"{error}{'; single tokens are for --token' if tokens else ''}"), param, ctx)


CONTRACT_HELP = """\
What a valid answer is: json, csv, yaml, xml, json-schema:FILE, function-call:FILE (a JSON list of tools, each with name
and parameters), grammar:FILE (in llguidance's language), regex:PATTERN, python:module.function or command:COMMAND."""


def contract_option(**settings: Any) -> Callable[..., Any]:
    """Return the option of a contract."""
    return click.option("--contract", type=ContractType(), **{"help": CONTRACT_HELP, "metavar": "TEXT", **settings})


def token_option() -> Callable[..., Any]:
    """Return the option of further tokens of a contract."""
    text = "A modal token that belongs to the contract beside its own; repeat it for more."
    return click.option("--token", "tokens", multiple=True, help=text)


def least_b_option() -> Callable[..., Any]:
    """Return the option of the assumption about what the base does not list."""
    text = "The least probability that the base is taken to give a token that it does not list; 0 assumes nothing."
    return click.option("--least-b", type=click.FloatRange(0, 1, max_open=True), default=0.0, help=text)


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what measured data are read from: FILES, or --teacher and --base, and --keep-going."""
    path = click.Path(path_type=Path, allow_dash=True)
    for one in (
        click.option("--keep-going", is_flag=True, help="Leave bad rows out and list them, instead of stopping."),
        click.option("--base", type=path, help="What the base's engine wrote about the same answers, with --teacher."),
        click.option("--teacher", type=path, help="What the teacher's engine wrote about the answers, with --base."),
        click.argument("files", type=path, nargs=-1),
    ):
        command = one(command)
    return command


class Failure(click.ClickException):
    """An error with its remedy: one message, no traceback, exit code 2."""

    exit_code = 2


class Stopped(Failure):
    """What a signal ended, by default Ctrl-C; the exit code is 128 and the signal's number, as a shell has it."""

    def __init__(self, error: BaseException, kept: str = "") -> None:
        super().__init__(f"stopped; {kept}" if kept else "stopped")
        self.exit_code = 128 + (error.args[0] if error.args else signal.SIGINT)  # type: ignore[misc]


def need_models() -> None:
    """Fail unless everything is there that loading models and their adapters takes."""
    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise Failure(f"models need {', '.join(missing)}; install with: {install_command('models')}")


@contextmanager
def as_failure(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors of the library into a failure of the command."""
    try:
        yield
    except errors as error:
        raise Failure(with_flags(shown(str(error)))) from error


FLAGS = "p|b|base|clip|contract|force|keep_going|least_b|model|quantile|rehearsal|report|resume|state|teacher|tokens"
NAMED = re.compile(rf"`({FLAGS})(=True)?`(?! column)")
"""What a message of the library names that has a flag; a column has none."""


def with_flags(message: str) -> str:
    """Return a message with the flags of the command line where the library names its arguments."""
    return re.sub(NAMED, lambda name: "--" + name[1].replace("_", "-").replace("tokens", "token"), message)


def write(path: Path, content: Any, kind: str = "") -> None:
    """Write text, or a figure in the format of the ending (PNG without one), to a file whose folder may be new.

    The file is whole or as it was before, and ``kind`` is the command that it says it is of, by default this one. The
    text of a page must say in its first line that it was written by the command, as
    :func:`lambda_star._core.files.made_here` reads it, lest the command refuse to write it again.
    """
    context = click.get_current_context()
    if path == Path("-") and STDOUT in context.meta:
        click.echo(content, nl=False, file=context.meta[STDOUT])
        return
    with writable(path):
        if isinstance(content, str):
            write_whole(path, content, force=forced(), kind=kind or context.command.name)
        else:
            form = path.suffix[1:].lower() or "png"
            says = {"Software" if form == "png" else "Creator": MARK}
            draw = partial(content.savefig, dpi=150, format=form, metadata=says)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box stands for what no font here has
                write_whole(path, draw, force=forced(), kind="picture")
    click.echo(shown(f"wrote {path}"))


def print_table(
    title: str,
    rows: Sequence[Any],
    columns: Mapping[str, Callable[[Any], Any]] | None = None,
    prose: str = "",
    wrap: bool = False,
) -> None:
    """Print a table below an empty line.

    ``columns`` holds each head with the function that computes a cell, a number or text, from a row. Without it a row
    is a sequence of its cells, and there are no heads. ``prose`` is the head of a column of sentences; with ``wrap``
    the last column is broken at the width of a screen.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = rows if columns is None else [[cell(row) for cell in columns.values()] for row in rows]
    table = Table(show_header=columns is not None, box=None, pad_edge=False)
    heads = list(columns or [""] * len(rows[0]))
    for index, head in enumerate(heads):
        justify: Any = "right" if index and columns and head != prose else "left"
        table.add_column(head, justify=justify, no_wrap=not wrap or index < len(heads) - 1)
    for row in cells:
        table.add_row(*(Text(number(cell)) for cell in row))
    click.echo(f"\n{shown(title)}" if title else "")
    # Wide, so that a table loses no figure to a narrow terminal or a pipe; it takes the width it needs.
    console = Console(highlight=False, width=SCREEN if wrap else 100_000)
    with console.capture() as text:  # as rich itself would end with status 1 where nobody reads on
        console.print(table)
    click.echo(harmless(text.get()), nl=False)


def say(text: str, indent: str = "") -> None:
    """Print a sentence on lines of the width of a screen; ``indent`` stands before all but the first."""
    click.echo(harmless(textwrap.fill(shown(text), SCREEN, subsequent_indent=indent, break_on_hyphens=False)))


def number(value: float | str) -> str:
    """Return a number with six significant digits, and text so that it can be shown."""
    return shown(value) if isinstance(value, str) else figure(value)
