"""A file is written whole or not at all, where a link leads, with the permissions of any other, and nothing is left."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
import secrets
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star._core.files import go_on, made_here, refuse_clash, refuse_overwrite, refuse_unwritable, write_whole

ROOT = Path(__file__).parents[2]
OLD = '{"schema": "lambda-star/calibrate/2", "old": true}\n'
HEAD = "sequence,position,token,modal,log_p,log_b\n"
unix = pytest.mark.skipif(sys.platform == "win32", reason="links, devices and permissions are those of Unix")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(OLD, encoding="utf-8")
    return path


@pytest.mark.parametrize("content", ["λ\n", "λ\r\n".encode(), lambda part: part.write_bytes("λ\n".encode())])
def test_the_content_arrives_as_it_is_in_a_folder_that_is_new(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_whole(str(path), content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else "λ\n".encode())
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), ValueError("no"), SystemExit(3)])
@pytest.mark.parametrize("when", ["writing", "on its way to the disk", "replacing"])
def test_after_an_error_the_old_file_is_there_and_nothing_else(
    old: Path, error: BaseException, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    def half(part: Path) -> None:
        part.write_text("half", encoding="utf-8")
        if when == "writing":
            fails()

    if when == "on its way to the disk":
        monkeypatch.setattr(os, "fsync", fails)
    elif when == "replacing":
        monkeypatch.setattr(Path, "replace", fails)
        monkeypatch.setattr(os, "link", fails)
    with pytest.raises(type(error)):
        write_whole(old, half)
    assert old.read_text(encoding="utf-8") == OLD
    assert [*old.parent.iterdir()] == [old]
    with pytest.raises(type(error)):
        write_whole(old.with_name("new.json"), half)
    assert [*old.parent.iterdir()] == [old]


@unix
@pytest.mark.parametrize("content", ["b'x' * 100_000", "lambda part: part.write_bytes(b'x' * 100_000)"])
def test_a_limit_of_the_system_keeps_the_old_file(old: Path, content: str) -> None:
    code = (
        "import resource; from lambda_star._core.files import write_whole;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        f"write_whole({str(old)!r}, {content})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert old.read_text(encoding="utf-8") == OLD
    assert [*old.parent.iterdir()] == [old]


KILLED = """
import itertools, sys
from lambda_star._core.files import write_whole
print("begun", flush=True)
for number in itertools.count():
    write_whole(sys.argv[1], '{"schema": "lambda-star/calibrate/2"' + f', "n": {number % 10}' * 10_000 + "}")
"""


@unix
@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_file(old: Path) -> None:
    for delay in range(10):
        run = subprocess.Popen([sys.executable, "-c", KILLED, str(old)], cwd=ROOT, stdout=subprocess.PIPE)
        with run:
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(0.01 + 0.0037 * delay)
            run.send_signal(signal.SIGKILL)
        text = old.read_text(encoding="utf-8")
        assert text == OLD or (text.endswith("}") and len(text) > 80_000)


@unix
def test_permissions_are_those_of_any_new_file_or_of_the_old_one(old: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "")
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    finally:
        os.umask(before)
    old.chmod(0o604)
    write_whole(old, OLD)
    assert stat.S_IMODE(old.stat().st_mode) == 0o604


@unix
def test_a_link_stays_and_what_it_leads_to_is_written(old: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name, target in (("link", old), ("dangling", tmp_path / "deep" / "new.json")):
        link = folder / name
        link.symlink_to(os.path.relpath(target, folder))
        write_whole(link, f"{OLD}{name}")
        assert link.is_symlink()
        assert target.read_text(encoding="utf-8") == f"{OLD}{name}"
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine", encoding="utf-8")
    (folder / "trap").symlink_to(foreign)
    with pytest.raises(FileExistsError, match="so it stays"):
        write_whole(folder / "trap", OLD)
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(folder / "loop", OLD)
    assert foreign.read_text(encoding="utf-8") == "mine"
    assert {path.name for path in folder.iterdir()} == {"link", "dangling", "trap", "loop"}


@unix
@pytest.mark.parametrize("content", [OLD, lambda part: part.write_text(OLD, encoding="utf-8")])
def test_pipes_and_devices_get_the_content_and_stay(tmp_path: Path, content: Any) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    write_whole(pipe, content)
    reader.join(10)
    assert got == [OLD]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_whole(os.devnull, content)
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left"):
            write_whole("/dev/full", content)


@unix
def test_what_cannot_be_written_is_refused_beforehand(old: Path, tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "new" / "file")
    refuse_unwritable(old)
    cases = ((tmp_path, "Is a directory"), (old / "below", "Not a directory"), (tmp_path / ("x" * 300), "too long"))
    for path, said in cases:
        with pytest.raises(OSError, match=said):
            refuse_unwritable(path)


@unix
def test_a_file_or_a_folder_without_permission_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for locked in (old, old.parent):
        monkeypatch.setattr(os, "access", lambda path, _, locked=locked: Path(path) != locked)
        with pytest.raises(PermissionError):
            write_whole(old, "new")
        assert old.read_text(encoding="utf-8") == OLD


PARQUET = b"PAR1" + 3_000_000 * b"x"
KINDS: dict[str, list[bytes]] = {
    "calibrate": [
        OLD.encode(),
        b'{"schema":"lambda-star/calibrate/17"}',
        b"<!-- Written by `lambda-star calibrate` -->\n# Report",
        b"<!DOCTYPE html>\n<!-- Written by `lambda-star calibrate` --><html>",
    ],
    "rehearsal": [b'{"schema":"lambda-star/rehearsal/1","seed":0}\n{"lam":1'],
    "derive": [b"<!-- Written by `lambda-star derive --write derivations` from `x.py`; do not edit. -->"],
    "picture": [
        b"\x89PNG\r\n\x1a\nIHDR....tEXtSoftware\0Written by lambda-star",
        b"%PDF-1.4 ... " + 3_000_000 * b" " + b"/Creator (Written by lambda-star)",
        b"<?xml version='1.0'?><svg><dc:title>Written by lambda-star</dc:title>",
    ],
    "table": [
        HEAD.encode(),
        "\ufeff".encode() + HEAD.replace(",", "\t").encode(),
        b'"token","log_b","log_p","modal","position","sequence","more"\r\n1,2',
        b'{"sequence":0,"position":0,"token":"[","modal":"[","log_p":-1,"log_b":-1}\n',
        gzip.compress(HEAD.encode() + b"0,0,[,[,-1,-1\n"),
        gzip.compress(HEAD.encode() + os.urandom(3_000_000)),
        pyarrow.compress(HEAD.encode(), codec="zstd", asbytes=True),
        PARQUET + b"creator\0Written by lambda-star....PAR1",
    ],
    "state": [b"PK\x03\x04....Written by lambda-star.npy"],
    "": [
        b"mine",
        b"PK\x03\x04....",
        gzip.compress(b"mine"),
        gzip.compress(b"mine")[:9],
        b"\x28\xb5\x2f\xfdmine",
        b'{"schema": "another/calibrate/2"}',
        b'{"name": 1, "schema": "lambda-star/calibrate/2"}',
        b"# README\n<!-- Written by `lambda-star derive` -->",
        b"\x89PNG\r\n\x1a\nIHDR....tEXtSoftware\0Matplotlib",
        b"%PDF-1.4 lambda-star",
        b"sequence,position,token,modal,log_p\n0,0,[,[,-1\n",
        b'{"sequence":0,"position":0}\n',
        b"{" * 100_000,
        PARQUET + b"PAR1",
        b"\xff\xfe\x00",
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_known_by_its_content_and_only_one_of_the_same_kind_is_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in KINDS[kind]:
        path.write_bytes(content)
        assert made_here(path) == kind, content[:99]
        for wanted in (None, *KINDS):
            if kind and wanted in {None, kind}:
                refuse_overwrite(path, kind=wanted)
            else:
                with pytest.raises(FileExistsError, match="so it stays; give another path, or replace it with `force"):
                    refuse_overwrite(path, kind=wanted)
            refuse_overwrite(path, kind=wanted, force=True)
    path.write_bytes(b"")
    refuse_overwrite(path, kind="calibrate")


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_file_it_is_judged(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        assert made_here(path) in KINDS


@unix
def test_one_file_under_two_names_is_a_clash(old: Path, tmp_path: Path) -> None:
    hard, soft, folder = (tmp_path / name for name in ("hard", "soft", "folder"))
    hard.hardlink_to(old)
    soft.symlink_to(old)
    folder.symlink_to(tmp_path)
    names = [hard, soft, folder / old.name, Path(os.path.relpath(old)), tmp_path / "." / old.name]
    for name in names:
        with pytest.raises(ValueError, match="--json must not be a file that is read"):
            refuse_clash({"--json": name}, [old])
        with pytest.raises(ValueError, match="--json and --plot must be two files"):
            refuse_clash({"--json": old, "--plot": name})
    for one, two in (("a.json", "A.JSON"), ("new/../a", "a"), ("é", "e\u0301")):
        with pytest.raises(ValueError, match="--json and --plot must be two files"):
            refuse_clash({"--json": tmp_path / one, "--plot": tmp_path / two})
    with pytest.raises(ValueError, match="--plot must not lie below --json"):
        refuse_clash({"--json": tmp_path / "a", "--plot": tmp_path / "a" / "b.png"})
    refuse_clash({"--json": tmp_path / "a", "--plot": None}, [old, tmp_path / "nowhere", tmp_path])
    refuse_clash({"--json": Path(os.devnull), "--plot": Path(os.devnull)}, [Path(os.devnull)])


@unix
@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_comes_meanwhile_is_kept_unless_it_is_one_of_ours(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuses)
        write_whole(tmp_path / "new", OLD)
        assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == [OLD]
        return
    path = tmp_path / "found.json"
    for came, stays in (("mine", True), (OLD, False)):
        path.unlink(missing_ok=True)

        def write(part: Path, came: str = came) -> None:
            part.write_text("{}", encoding="utf-8")
            path.write_text(came, encoding="utf-8")

        if stays:
            with pytest.raises(FileExistsError, match="so it stays"):
                write_whole(path, write)
        else:
            write_whole(path, write)
        assert path.read_text(encoding="utf-8") == (came if stays else "{}")
        assert [*tmp_path.iterdir()] == [path]


def test_a_file_that_grows_keeps_its_whole_lines_and_no_other_file_is_cut(tmp_path: Path) -> None:
    path, header = tmp_path / "new" / "answers.jsonl", b'{"schema":"lambda-star/answers/1"}\n'
    for _ in range(2):
        with go_on(path, 0, header, "answers") as file:
            file.write(b"one\ntw")
    with go_on(path, len(header) + 4, header, "answers") as file:
        file.write(b"two\n")
    assert path.read_bytes() == header + b"one\ntwo\n"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="is not one that lambda_star wrote"):
        go_on(path, 0, header, "answers")
    assert path.read_bytes() == b"mine"


@unix
def test_a_file_grows_by_one_process_at_a_time(tmp_path: Path) -> None:
    path, header = tmp_path / "answers.jsonl", b'{"schema":"lambda-star/answers/1"}\n'
    with go_on(path, 0, header, "answers") as file:
        for whole in (0, len(header)):
            with pytest.raises(BlockingIOError, match="another process adds to this file"):
                go_on(path, whole, header, "answers")
        file.write(b"one\n")
    with pytest.raises(BlockingIOError, match="another process"):  # it came after the file was read
        go_on(path, len(header), header, "answers")
    assert path.read_bytes() == header + b"one\n"
    go_on(path, len(header) + 4, header, "answers").close()


@unix
def test_a_file_that_was_replaced_before_it_was_held_does_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path, header = tmp_path / "answers.jsonl", b'{"schema":"lambda-star/answers/1"}\n'
    go_on(path, 0, header, "answers").close()
    monkeypatch.setattr(fcntl, "flock", lambda *_: write_whole(path, header + b"one\n"))
    with pytest.raises(BlockingIOError, match="another process"):
        go_on(path, len(header), header, "answers")
    assert path.read_bytes() == header + b"one\n"


def test_errors_can_be_sent_between_processes(old: Path) -> None:
    calls: list[Callable[[], None]] = [
        lambda: refuse_overwrite(old, kind="table"),
        lambda: refuse_unwritable(old / "below"),
    ]
    for call in calls:
        with pytest.raises(OSError, match="report") as caught:
            call()
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_new_file_has_a_name_that_nobody_guesses(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    for _ in range(2):
        write_whole(old, seen.append, force=True)
    assert len({*seen}) == 2
    assert all(part.parent == old.parent and len(part.stem) > 16 and part.suffix == ".part" for part in seen)
    monkeypatch.setattr(secrets, "token_hex", lambda _: "taken")
    trap = old.with_name(".taken.part")
    trap.write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError):
        write_whole(old, "new")
    assert (old.read_bytes(), trap.read_text(encoding="utf-8")) == (b"", "mine")
