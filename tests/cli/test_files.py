"""No command destroys a file: not one that it reads, not one that it did not write, and not its own when it fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import matplotlib.figure
import pytest

from lambda_star import updates
from lambda_star._core.files import made_here
from lambda_star.calibration.table import Table
from lambda_star.cli import main
from lambda_star.cli._files import Output
from lambda_star.torch import ProbeReport, probe
from lambda_star.torch.rules import rule_loss
from tests import tables
from tests.cli.test_cli import RESULTS, SCRIPT, invoke
from tests.cli.test_rehearsal import rehearsal
from tests.night import thinned

POSITION = ["--p", "0.9", "--b", "0.5"]
COMMANDS: dict[str, list[str]] = {
    "demo": [],
    "threshold": [*POSITION, "--clip", "5"],
    "updates": [*POSITION, "--rule", "trl"],
    "probe": ["log_ratio_cap:5", *POSITION],
    "calibrate": ["rows.csv"],
    "compare": ["rows.csv", "other.csv"],
    "convert": ["rows.csv"],
    "decide": ["report.json", "--lam", "1.25"],
    "lint-config": ["run.sh", *POSITION],
    "check-step": ["--positions", "3"],
    "cliff": ["--report", "--folder", str(RESULTS)],
    "cliff-rules": ["--report", "--folder", str(RESULTS.parent / "rules")],
    "locks": [str(RESULTS)],
    "ledger": ["paper-formula"],
    "verify": ["threshold-p"],
    "rehearse": ["--out", "rehearsal.jsonl"],
    "plot": ["regimes", *POSITION, "--clip", "2"],
    "score": ["--teacher", "t", "--base", "b", "--prompts", "prompts.jsonl", "--contract", "json"],
    "derive": [],
}
"""What a command of each sort is called with besides its outputs; a new command that writes needs a line here."""

READ = {
    ("calibrate", "files"),
    ("calibrate", "teacher"),
    ("calibrate", "base"),
    ("compare", "first"),
    ("compare", "second"),
    ("convert", "files"),
    ("convert", "teacher"),
    ("convert", "base"),
    ("decide", "report"),
    ("decide", "rehearsal"),
    ("lint-config", "files"),
    ("lint-config", "report"),
    ("lint-config", "rehearsal"),
    ("check-step", "teacher"),
    ("check-step", "base"),
    ("check-step", "text"),
    ("rehearse", "prompts"),
    ("rehearse", "report"),
    ("score", "prompts"),
    ("derive", "compare_with"),
    ("locks", "paths"),
    ("cliff-rules", "folder"),
    ("cliff", "folder"),  # its records are written by lambda_star.cliff.record, which never replaces a prediction
}
"""Paths that a command reads; every other one must be an output, which is then tested below."""


def outputs(name: str) -> dict[str, Output]:
    """The flags by which a command takes the path of a file to write."""
    return {each.opts[0]: each.type for each in main.commands[name].params if isinstance(each.type, Output)}


WRITES = [
    (name, flag) for name in main.commands for flag, kind in outputs(name).items() if not (kind.grows or kind.folder)
]


def ending(name: str, flag: str) -> str:
    return {"picture": ".png", "table": ".csv"}.get(outputs(name)[flag].kind, ".json")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the commands above read."""
    monkeypatch.chdir(tmp_path)
    for name in ("rows.csv", "other.csv"):
        tables.write_csv(tmp_path / name, tables.rows())
    (tmp_path / "run.sh").write_text("python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.25\n")
    (tmp_path / "prompts.jsonl").write_text('"Name a colour."\n')
    rehearsal(tmp_path / "rehearsal.jsonl", 0.9, answers=20)
    return tmp_path


@cache
def probed() -> ProbeReport:
    return probe(rule_loss(updates.log_ratio_cap(5.0)), p=0.9, b=0.5)


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No models are loaded, no step is derived, and one loss is probed, once."""
    row = {"sequence": 0, "position": 0, "token": "[", "modal": "[", "log_p": -0.001, "log_b": -0.7, "contract": "["}
    monkeypatch.setattr(sys.modules["lambda_star.cli.score"], "need_models", lambda: None)
    monkeypatch.setattr("lambda_star.torch.load_pair", lambda *_, **__: None)
    monkeypatch.setattr("lambda_star.torch.probe", lambda *_, **__: probed())
    monkeypatch.setattr("lambda_star.torch.scoring.score", lambda *_, **__: Table.from_rows([row]))
    written = "<!-- Written by `lambda-star derive --write derivations` -->\n"
    monkeypatch.setattr("lambda_star.symbolic.pages.pages", lambda: {"README.md": written, "dynamics.md": written})


def run(name: str, *more: object) -> tuple[int, str, str]:
    """The exit status of a command, and what it prints to each stream."""
    needed = ["--out", "table.csv"] if name in {"score", "convert"} and "--out" not in more else []
    needed += ["--out", "needed.png"] if name == "plot" and "--out" not in more else []
    if name == "decide" and not Path("report.json").exists():
        invoke("calibrate", "rows.csv", "--json", "report.json")
    result = invoke(name, *COMMANDS[name], *needed, *more)
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def refused(name: str, *more: object) -> str:
    """The message of a command that refuses to begin."""
    status, printed, said = run(name, *more)
    assert (status, printed) == (2, ""), printed
    return said


def test_every_path_of_every_command_is_known_and_every_command_that_writes_is_tested() -> None:
    for name, command in main.commands.items():
        paths = {each.name for each in command.params if isinstance(each.type, click.Path)}
        written = {each.name for each in command.params if isinstance(each.type, Output)}
        assert {(name, path) for path in paths - written} <= READ, f"{name}: say which of its paths are read"
        if written:
            assert name in COMMANDS, f"{name} writes files; give it a line in COMMANDS"
            assert "--force" in {flag for each in command.params for flag in each.opts}
    assert len(WRITES) >= 16


def failing(error: BaseException) -> Callable[..., None]:
    def fails(*_: object, **__: object) -> None:
        raise error

    return fails


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flag"), thinned(WRITES, 3))
def test_a_file_is_written_again_or_stays_as_it_was_and_another_goes_only_with_force(
    name: str, flag: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "new" / f"file{ending(name, flag)}"

    def writes(*more: str) -> int:
        status, printed, _ = run(name, flag, path, *more)
        assert status in {0, 1, 3}
        assert f"wrote {path}" in printed
        assert made_here(path) == (outputs(name)[flag].kind or name)
        return len(path.read_bytes())

    def fails_with(error: BaseException, *more: str) -> None:
        content, before = path.read_bytes(), {*folder.rglob("*")}
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(error))
            status, printed, said = run(name, flag, path, *more)
        assert status == (130 if isinstance(error, KeyboardInterrupt) else 2)
        assert "stopped" in said or "No space left on device; give a path that can be written" in said
        assert f"wrote {path}" not in printed
        assert (path.read_bytes(), {*folder.rglob("*")}) == (content, before)

    whole = writes()
    fails_with(KeyboardInterrupt())
    assert writes() == whole
    before = {*folder.rglob("*")}
    path.write_bytes(b"mine")
    said = refused(name, flag, path)
    assert said == (
        f"Error: {path}: the file that is there is not one that lambda_star wrote, so it stays; give another path, or "
        "replace it with --force\n"
    )
    assert path.read_bytes() == b"mine"
    fails_with(OSError(errno.ENOSPC, "No space left on device"), "--force")
    assert writes("--force") == pytest.approx(whole, abs=20)  # the command line in JSON is longer by --force
    assert {*folder.rglob("*")} == before


@pytest.mark.parametrize(("name", "flag"), WRITES)
def test_an_expensive_file_of_another_sort_is_kept(name: str, flag: str, folder: Path) -> None:
    other = folder / "answers.jsonl"
    other.write_bytes((folder / "rehearsal.jsonl").read_bytes())
    path = other.rename(folder / f"answers{ending(name, flag)}")
    kind = outputs(name)[flag].kind or name
    said = f"not a {kind} of lambda_star but a rehearsal, so it stays"
    assert said in refused(name, flag, path) or kind == "rehearsal"
    assert made_here(path) == "rehearsal"


READERS = {
    "calibrate": "rows.csv",
    "compare": "other.csv",
    "convert": "rows.csv",
    "decide": "report.json",
    "lint-config": "run.sh",
    "rehearse": "rehearsal.jsonl",
    "score": "prompts.jsonl",
}
"""A file that a command reads when it is called as above."""


@pytest.mark.parametrize(("name", "flag"), [(name, flag) for name, flag in WRITES if name in READERS])
def test_what_is_read_is_never_written_over(name: str, flag: str, folder: Path) -> None:
    if name == "decide":
        invoke("calibrate", "rows.csv", "--json", "report.json")
    read = Path(READERS[name])
    content, names = read.read_bytes(), [folder / read.name, folder / "." / read]
    if hasattr(os, "symlink"):
        for link, made in ((folder / "hard", Path.hardlink_to), (folder / "soft", Path.symlink_to)):
            made(link, folder / read)
            names.append(link)
    for path in names:
        said = refused(name, flag, path, "--force")
        assert f"{flag} must not be a file that is read" in said or "must be two files" in said
        assert read.read_bytes() == content


@pytest.mark.parametrize("name", sorted({name for name, _ in WRITES if len(outputs(name)) > 1}))
def test_two_outputs_to_one_path_are_refused(name: str, folder: Path) -> None:
    first, second, *_ = (flag for flag, kind in outputs(name).items())
    said = refused(name, first, folder / "file.png", second, folder / "new" / ".." / "FILE.png")
    assert f"{first} and {second} must be two files" in said or f"{second} and {first} must be two files" in said
    assert not (folder / "file.png").exists()


def test_two_outputs_to_standard_output_are_refused() -> None:
    said = refused("calibrate", "--json", "-", "--markdown", "-")
    assert said == "Error: --json and --markdown must not both go to standard output\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_a_picture_that_fails_half_way_keeps_the_old_one(
    error: BaseException, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "file.png"
    assert run("plot", "--out", path)[0] == 0
    content, before = path.read_bytes(), {*folder.iterdir()}

    def half(_: Any, part: Path, **options: Any) -> None:
        assert options["format"] == "png"
        part.write_bytes(content[: len(content) // 2])
        raise error

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", half)
    assert run("plot", "--out", path)[0] == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert (path.read_bytes(), {*folder.iterdir()}) == (content, before)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".pdf", ".svg", ""])
def test_a_picture_of_every_sort_is_known_again(suffix: str, folder: Path) -> None:
    path = folder / f"picture{suffix}"
    for _ in range(2):
        assert run("plot", "--out", path)[0] == 0
    assert made_here(path) == "picture"


def test_the_pages_of_derive_replace_only_such_pages(folder: Path) -> None:
    for _ in range(2):
        assert run("derive", "--write", folder / "derivations")[0] == 0
    (folder / "README.md").write_text("mine\n")
    assert "README.md: the file that is there is not one" in refused("derive", "--write", ".")
    assert not (folder / "dynamics.md").exists()
    assert (folder / "README.md").read_text() == "mine\n"
    (folder / "derivations" / "dynamics.md").write_text("mine\n")
    before = (folder / "derivations" / "README.md").stat().st_mtime_ns
    assert "dynamics.md: the file that is there" in refused("derive", "--write", "derivations")
    assert (folder / "derivations" / "README.md").stat().st_mtime_ns == before  # all are checked before one is written
    assert run("derive", "--write", "derivations", "--force")[0] == 0
    assert made_here(folder / "derivations" / "dynamics.md") == "derive"


def test_answers_that_grow_are_never_replaced(folder: Path) -> None:
    (folder / "mine.jsonl").write_text("mine", encoding="utf-8")
    (folder / "rows2.csv.answers.jsonl").write_text("mine", encoding="utf-8")
    for more in ([], ["--force"]):
        status, _, said = run("rehearse", "--out", "mine.jsonl", *more)
        assert (status, "the header of a rehearsal" in said) == (2, True)
    said = refused("score", "--out", "rows2.csv")
    assert said.startswith("Error: rows2.csv.answers.jsonl: the file that is there is not one that lambda_star wrote")
    assert "must be two files" in refused("score", "--out", "x.csv", "--json", "x.csv.answers.jsonl")
    assert (folder / "mine.jsonl").read_text(encoding="utf-8") == "mine"
    assert (folder / "rows2.csv.answers.jsonl").read_text(encoding="utf-8") == "mine"
    assert invoke("rehearse", "--out", "rehearsal.jsonl").exit_code in {0, 1, 3}  # a finished file is read
    assert "must be two files" in refused("rehearse", "--json", "rehearsal.jsonl", "--force")


def test_files_in_texts_patterns_and_folders_are_read_too(folder: Path) -> None:
    schema, losses, answers = (folder / name for name in ("schema.json", "losses.py", "given.jsonl"))
    schema.write_text('{"type": "array"}')
    losses.write_text("def loss(student, teacher, base, lam): ...\n")
    answers.write_text('{"prompt": "a", "text": "b"}\n')
    for name, given, path in (
        ("calibrate", ("rows.csv", "--contract", f"json-schema:{schema}"), schema),
        ("probe", (f"{losses}:loss", *POSITION), losses),
        (
            "score",
            ("--teacher", "t", "--base", "b", "--contract", "json", "--out", "a.csv", "--from", answers),
            answers,
        ),
        ("lint-config", ("*.sh",), folder / "run.sh"),
        ("calibrate", (folder,), folder / "rows.csv"),
    ):
        before = path.read_bytes()
        result = invoke(name, *given, "--json", path, "--force")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "--json must not be a file that is read" in result.stderr
        assert path.read_bytes() == before


def test_a_path_that_cannot_be_written_is_refused_before_the_work(folder: Path) -> None:
    for path, said in (("rows.csv/below.json", "Not a directory"), ("x" * 300, "File name too long")):
        assert refused("calibrate", "--json", path) == f"Error: {path}: {said}; give a path that can be written\n"
    assert "must end in .png, .pdf or .svg" in refused("calibrate", "--plot", folder / "picture.jpeg")


# Streams

pytest_unix = pytest.mark.skipif(sys.platform == "win32", reason="the shell is that of Unix")


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    """The status, the output and the errors of a line for the shell, in which $L is the command."""
    variables = os.environ | {"L": str(SCRIPT), "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(["bash", "-c", line], env=variables, capture_output=True, encoding="utf-8", check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


POINT = "$L threshold --p .9 --b .5 --clip 2"


@pytest_unix
@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "line",
    [
        f"{POINT} > /dev/full",
        "$L calibrate rows.csv > /dev/full",
        "$L --help > /dev/full",
        f"{POINT} --json - >/dev/full",
    ],
)
def test_a_full_standard_output_is_an_error(line: str, unbuffered: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    status, _, said = shell(line, PYTHONUNBUFFERED=unbuffered)
    assert status == 2
    assert said.splitlines()[-1].startswith("Error: standard output")
    assert "No space left on device" in said


@pytest_unix
@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("line", thinned([POINT, "$L updates", "$L calibrate rows.csv --lam 1.01", "$L --help"], 2))
def test_a_reader_who_leaves_ends_a_command_in_silence_and_with_no_verdict(line: str, unbuffered: str) -> None:
    assert shell(f"set -o pipefail; {line} | true", PYTHONUNBUFFERED=unbuffered) == (2, "", "")


@pytest_unix
@pytest.mark.slow
def test_a_closed_standard_output_is_an_error_and_no_file_takes_its_place(folder: Path) -> None:
    status, _, said = shell(f"{POINT} --json found.json >&-")
    assert (status, said) == (
        2,
        "Error: standard output cannot be written: it is closed; send it to /dev/null to drop it\n",
    )
    assert not (folder / "found.json").exists()
    assert shell(f"{POINT} --json found.json 2>&-")[0] == 0
    assert made_here(folder / "found.json") == "threshold"
    assert shell("$L nothing 2> /dev/full")[0] == 2
    assert shell(f"{POINT} --json found.json > found.json")[0] == 2


@pytest_unix
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_no_half_file_and_no_verdict(number: signal.Signals, folder: Path) -> None:
    slow = (
        "import sys, time, pathlib; from lambda_star._core import files; from lambda_star.cli import main\n"
        "def wait(*_):\n    print('here', file=sys.stderr, flush=True)\n    time.sleep(60)\n"
        "files._to_disk = wait\nmain()"
    )
    words = [sys.executable, "-c", slow, "threshold", *POSITION, "--clip", "5", "--json", "found.json"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as work:
        assert work.stderr is not None
        assert work.stderr.readline() == "here\n"
        assert len([*folder.glob(".*.part")]) == 1
        work.send_signal(number)
        assert work.stderr.read().strip() == "Error: stopped"
    assert work.returncode == 128 + number
    assert not [*folder.glob(".*.part")]
    assert not (folder / "found.json").exists()


@pytest_unix
@pytest.mark.slow
def test_a_kill_leaves_whole_files(folder: Path) -> None:
    tables.write_csv(folder / "rows.csv", tables.rows(100))
    for delay in (0.6, 0.9, 1.2, 1.5, 1.8):
        with subprocess.Popen(
            [SCRIPT, "calibrate", "rows.csv", "--json", "f.json", "--plot", "f.png"], stdout=subprocess.DEVNULL
        ) as work:
            try:
                work.wait(delay)
            except subprocess.TimeoutExpired:
                work.send_signal(signal.SIGKILL)
        for name, end in (("f.json", b"}\n"), ("f.png", b"IEND\xaeB`\x82")):
            assert not (folder / name).exists() or (folder / name).read_bytes().endswith(end)
