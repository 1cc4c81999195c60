"""The files that commands write: one sort of option, and one check of all of them before a command begins.

An option whose type is :class:`Output` needs nothing else. :class:`lambda_star.cli._output.Group` hands each command
to :func:`guarded`, which adds ``--force`` and runs :func:`check_outputs` first; then the command writes with
:func:`lambda_star.cli._output.write`, or with a function of the library that takes ``force=forced()``. Everything else
that a command was given, path or text, counts as read if it names a file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import click

from lambda_star._core.files import refuse_clash, refuse_overwrite, refuse_unwritable
from lambda_star._core.text import shown

__all__ = ["Output", "Refused", "check_outputs", "forced", "guarded", "reads", "writable"]

FORCED, READ = "lambda_star.force", "lambda_star.read"
"""Where the context of a command keeps whether files may be replaced, and what it reads besides its parameters."""

PICTURES = (".png", ".pdf", ".svg", "")
STREAMS = {"standard output": Path("/dev/stdout"), "standard error": Path("/dev/stderr")}

FORCE_HELP = """\
Replace files that this command did not write. Without it only such files are replaced as it writes itself; files that
it reads are never replaced."""


class Refused(click.ClickException):
    """An output that may not or cannot be written: one message on one line, exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))


class Output(click.Path):
    """The type of an option that names a file to write, or the folder of several.

    Args:
        kind: what :func:`lambda_star._core.files.made_here` must say of a file that is there, such as "picture" or
            "table"; by default the name of the command, as pages and JSON have it.
        dash: whether - is standard output.
        grows: whether the file is gone on with; what adds to it must refuse another one by itself.
        folder: whether it is a folder; the command then calls :func:`check_outputs` with the files in it.
    """

    def __init__(self, kind: str = "", *, dash: bool = False, grows: bool = False, folder: bool = False) -> None:
        super().__init__(path_type=Path, dir_okay=folder, file_okay=not folder, allow_dash=dash)
        self.kind, self.grows, self.folder = kind, grows, folder


def guarded(command: click.Command) -> click.Command:
    """Return a command that checks its outputs before it begins, and has ``--force``, if it writes any."""
    run = command.callback
    if run is None or FORCE in command.params or not any(isinstance(each.type, Output) for each in command.params):
        return command

    @functools.wraps(run)
    def checked(*arguments: Any, **options: Any) -> Any:
        check_outputs()
        return run(*arguments, **options)

    command.params.append(FORCE)
    command.callback = checked
    return command


def _remember(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[FORCED] = value


FORCE = click.Option(["--force"], is_flag=True, expose_value=False, callback=_remember, help=FORCE_HELP)


def forced() -> bool:
    """Return whether the running command was given ``--force``."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(FORCED))


def reads(context: click.Context | None, text: str) -> None:
    """Note a text that names a file which a command reads, where the value of the parameter does not show it."""
    if context is not None:
        context.meta.setdefault(READ, []).append(text)


def check_outputs(more: Mapping[str, Path] | None = None, kind: str = "") -> None:
    """Fail if an output of the running command would destroy a file, or if it cannot be written.

    Args:
        more: outputs that no option names, by what a message calls them.
        kind: the kind of these.
    """
    context = click.get_current_context()
    own = context.command.name or ""
    outputs = {name: (path, kind or own) for name, path in (more or {}).items()}
    for each, path in _given(context):
        if isinstance(each.type, Output) and not each.type.folder:
            outputs[max(each.opts, key=len)] = path, "" if each.type.grows else each.type.kind or own
    dashes = [name for name, (path, _) in outputs.items() if path == Path("-")]
    if len(dashes) > 1:
        raise Refused(f"{' and '.join(dashes)} must not both go to standard output")
    paths = {name: path for name, (path, _) in outputs.items() if name not in dashes}
    for path in paths.values():
        with writable(path):
            refuse_unwritable(path)
    try:
        refuse_clash(paths, [*_read(context), Path("/dev/stdin")])
        for name, stream in STREAMS.items():
            refuse_clash({**paths, name: stream})
    except ValueError as error:
        raise Refused(f"{error}; give another path") from error
    for name, path in paths.items():
        with writable(path):
            _refuse_other(path, outputs[name][1])


def _refuse_other(path: Path, kind: str) -> None:
    if kind == "picture" and path.suffix.lower() not in PICTURES:
        raise OSError(f"Format {path.suffix[1:]!r} is not supported, a picture must end in .png, .pdf or .svg")
    if kind:
        refuse_overwrite(path, force=forced(), kind=kind)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn errors of writing a file into one message with a remedy."""
    try:
        yield
    except FileExistsError as error:
        raise Refused(str(error).replace("`force=True`", "--force")) from error
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise Refused(f"{path}: {said}; give a path that can be written") from error


def _given(context: click.Context) -> Iterator[tuple[click.Parameter, Any]]:
    """Every value that a command was given, with its parameter."""
    for each in context.command.params:
        value = context.params.get(each.name or "")
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, str | Path):
                yield each, one


def _read(context: click.Context) -> Iterator[Path]:
    """The files that a command reads: a path, a pattern, a folder of data, and FILE in FILE:NAME or NAME:FILE."""
    for each, value in _given(context):
        if isinstance(each.type, Output):
            continue
        yield from _named(str(value))
        if isinstance(each.type, click.Path) and each.type.file_okay and Path(value).is_dir():
            yield from Path(value).rglob("*")
    for text in context.meta.get(READ, ()):
        yield from _named(text)


def _named(text: str) -> Iterator[Path]:
    yield from map(Path, (text, text.rpartition(":")[0], text.partition(":")[2]))
    if has_magic(text):
        yield from map(Path, glob(text, recursive=True))
