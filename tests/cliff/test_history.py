"""What a repository's history says of the age of locked predictions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lambda_star.cli import main
from lambda_star.cliff import history
from lambda_star.cliff.history import ages
from lambda_star.cliff.record import _digest, attempt, conclude, finished, lock

ROOT = Path(__file__).parents[2]
EARLIER, LATER = "2001-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


class Repository:
    """A git repository of the test's own."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            monkeypatch.delenv(name)
        for name, value in {"CONFIG_GLOBAL": os.devnull, "CONFIG_SYSTEM": os.devnull}.items():
            monkeypatch.setenv(f"GIT_{name}", value)
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{who}_NAME", "somebody")
            monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.org")
        self.monkeypatch, self.root, self.path = monkeypatch, root, root / "results" / "a run.json"
        root.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip()

    def commit(self, *options: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=changes", *options)
        return self.git("rev-parse", "HEAD")

    def lock(self, onset: float = 1.7) -> dict[str, Any]:
        return lock(self.path, lambda: {"onset": onset}, settings={}, seed=0)

    def conclude(self, onset: float = 1.6) -> None:
        conclude(self.path, attempt(self.path, self.lock()), {"onset": onset})

    def verdict(self, root: Path | None = None) -> str:
        (age,) = ages([(root or self.root) / "results"])
        return age.verdict


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(tmp_path / "there", monkeypatch)


def test_a_prediction_that_was_committed_first_is_before_its_outcome(repository: Repository) -> None:
    repository.lock()
    assert repository.verdict() == "untracked"
    first = repository.commit()
    assert repository.verdict() == "waiting"
    repository.conclude()
    assert repository.verdict() == "before"  # the outcome is in no commit yet
    second = repository.commit()
    (age,) = ages([repository.path])
    assert age.locked is not None
    assert age.finished is not None
    assert (age.path, age.format, age.verdict, age.attempts) == (repository.path, 2, "before", 1)
    assert (age.locked.name, age.finished.name) == (first, second)
    assert age.locked.time == repository.git("show", "--no-patch", "--format=%cI", first)


def together(repository: Repository) -> None:
    repository.lock()
    repository.conclude()
    repository.commit()


def squashed(repository: Repository) -> None:
    start = repository.commit()
    repository.lock()
    repository.commit()
    repository.conclude()
    repository.commit()
    repository.git("reset", "--soft", start)
    repository.commit()


def amended(repository: Repository) -> None:
    repository.lock()
    repository.commit()
    repository.conclude()
    repository.commit("--amend")


def written_again(repository: Repository) -> None:
    """As a rebase does, the lock is committed again, after there was an outcome."""
    start = repository.commit()
    repository.lock()
    first = repository.commit()
    repository.conclude()
    second = repository.commit()
    repository.git("reset", "--hard", "--quiet", start)
    repository.monkeypatch.setenv("GIT_COMMITTER_DATE", LATER)
    repository.git("cherry-pick", first, second)


def two_lines(repository: Repository) -> None:
    """On one line of the history the outcome came with the prediction, on another one the prediction is alone."""
    start = repository.commit()
    repository.lock()
    alone = repository.path.read_bytes()
    repository.conclude()
    with_outcome = repository.commit()
    repository.git("checkout", "--quiet", start)
    repository.path.parent.mkdir()
    repository.path.write_bytes(alone)
    repository.monkeypatch.setenv("GIT_COMMITTER_DATE", EARLIER)
    repository.commit()
    repository.git("merge", "--quiet", "--strategy-option=theirs", with_outcome)


@pytest.mark.parametrize("make", [together, squashed, amended, written_again, two_lines])
def test_a_prediction_that_no_older_commit_has_is_together_with_its_outcome(
    repository: Repository, make: Callable[[Repository], None]
) -> None:
    make(repository)
    assert repository.verdict() == "together"


def test_a_merge_keeps_the_order(repository: Repository) -> None:
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "work")
    repository.lock()
    repository.commit()
    repository.conclude()
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--message=merge", "work")
    assert repository.verdict() == "before"


def another_prediction(repository: Repository) -> None:
    repository.path.unlink()
    repository.lock(1.8)


def another_outcome(repository: Repository) -> None:
    repository.conclude()
    repository.commit()
    repository.git("checkout", "--quiet", "HEAD~", "--", ".")
    repository.conclude(1.65)


def no_outcome_any_more(repository: Repository) -> None:
    another_outcome(repository)
    repository.git("checkout", "--quiet", "HEAD~", "--", ".")


def without_its_first_attempt(repository: Repository) -> None:
    attempt(repository.path, repository.lock())
    repository.commit()
    repository.conclude()
    record = json.loads(repository.path.read_text(encoding="utf-8"))
    record["attempts"][0]["started"] = record["attempts"][1]["started"] + " or so"
    covered = {name: record[name] for name in ("sha256", "attempts", "outcome", "finished")}
    repository.path.write_text(json.dumps(record | {"outcome_sha256": _digest(covered)}), encoding="utf-8")


def broken(repository: Repository) -> None:
    repository.path.write_text(repository.path.read_text(encoding="utf-8")[:-5], encoding="utf-8")


@pytest.mark.parametrize(
    "change", [another_prediction, another_outcome, no_outcome_any_more, without_its_first_attempt, broken]
)
def test_a_record_that_does_not_go_on_from_what_was_committed_is_changed(
    repository: Repository, change: Callable[[Repository], None]
) -> None:
    repository.lock()
    repository.commit()
    change(repository)
    assert repository.verdict() == "changed"
    repository.commit()
    assert repository.verdict() == "changed"


def test_a_removed_lock_is_told(repository: Repository) -> None:
    repository.lock()
    first = repository.commit()
    repository.path.unlink()
    (age,) = ages([repository.path])
    assert (age.path, age.verdict, age.format) == (repository.path, "removed", 2)
    repository.path.parent.rmdir()
    repository.commit()
    (age,) = ages([repository.path.parent])
    assert age.locked is not None
    assert (age.path, age.verdict, age.locked.name) == (repository.path, "removed", first)


def test_without_the_whole_history_the_age_is_unknown(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.lock()
    repository.commit()
    repository.conclude()
    repository.commit()
    repository.git("clone", "--quiet", "--depth=1", repository.root.as_uri(), str(tmp_path / "shallow"))
    repository.git("clone", "--quiet", repository.root.as_uri(), str(tmp_path / "whole"))
    shutil.copytree(repository.path.parent, tmp_path / "no git" / "results")
    assert [repository.verdict(tmp_path / name) for name in ("shallow", "whole", "no git")] == [
        "unknown",
        "before",
        "unknown",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository.verdict() == "unknown"


def test_what_is_no_record_is_left_out_and_what_is_not_there_is_refused(repository: Repository) -> None:
    repository.path.parent.mkdir()
    for name, text in {"a.json": '{"sha256": "1"}', "b.json": "[1]", "c.txt": "{"}.items():
        repository.path.with_name(name).write_text(text, encoding="utf-8")
    assert ages([repository.root]) == []
    repository.path.write_text("{", encoding="utf-8")
    assert [(age.verdict, age.format) for age in ages([repository.root])] == [("changed", 0)]
    with pytest.raises(ValueError, match=r"paths must be files or folders that there are, or once were, got .*gone"):
        ages([repository.root / "gone.json"])


def run(repository: Repository, *arguments: str) -> Result:
    os.chdir(repository.root)
    return CliRunner().invoke(main, ["locks", *arguments])


def test_the_command_prints_every_lock_and_tells_by_its_status(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.root)
    nothing = run(repository)
    assert nothing.exit_code == 2
    repository.lock()
    assert run(repository).exit_code == 1
    first = repository.commit()
    repository.conclude()
    (repository.path.parent / "old.json").write_text(
        json.dumps({"prediction": {}, "sha256": _digest({}), "locked": ""}), encoding="utf-8"
    )
    second = repository.commit()
    done = run(repository)
    assert done.exit_code == 0
    line = next(line for line in done.output.splitlines() if line.startswith("results/a run.json"))
    assert line.split()[2:4] == ["before", first[:10]]
    assert second[:10] in line
    assert "first format, not judged: 1 record: 1 waiting" in done.output
    found = json.loads(run(repository, "--json", "-").stdout)["records"]
    assert [(one["path"], one["verdict"]) for one in found] == [
        ("results/a run.json", "before"),
        ("results/old.json", "waiting"),
    ]
    repository.path.unlink()
    gone = run(repository)
    assert gone.exit_code == 0
    assert "Removed since they were locked" in gone.output
    monkeypatch.setattr(history, "_git", lambda *_, **__: None)
    assert run(repository, "results").exit_code == 3


def test_the_predictions_of_this_project_were_committed_before_their_outcomes() -> None:
    found = ages([ROOT / "results", ROOT / "examples"])
    if any(age.verdict == "unknown" for age in found):
        pytest.skip("this checkout has no history, or only the end of it")
    done = {age.path for age in found if age.format == 2 and age.path.exists() and finished([age.path])}
    assert {age.path: age.verdict for age in found if age.path in done} == dict.fromkeys(done, "before")
