"""The lock file holds what the constraints say, with hashes, and two builds of one commit are equal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import supply

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKED = supply.LOCK.read_text(encoding="utf-8")
PINS = supply.pins(LOCKED)


def test_the_lock_and_the_constraints_name_the_same_versions() -> None:
    constraints = supply.pins(supply.CONSTRAINTS.read_text(encoding="utf-8"))
    common = constraints.keys() & PINS.keys()
    assert {name: PINS[name].split("+")[0] for name in common} == {name: constraints[name] for name in common}
    assert len(common) > 100


def test_everything_locked_has_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCKED.split("\n", 1)[1].strip())
    assert len(entries) == len(PINS)
    assert [entry for entry in entries if not re.search(r" --hash=sha256:[0-9a-f]{64}(?: |$)", entry)] == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    project = tomllib.loads((supply.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *supply.BACKEND]
    wanted += [
        name
        for extra in ("torch", "contract", "models", "jax", "ray", "test", "dev")
        for name in project["optional-dependencies"][extra]
    ]
    found = [asked for asked in map(Requirement, wanted) if asked.name != "lambda-star"]
    missing = []
    for asked in found:
        version = PINS.get(re.sub(r"[-_.]+", "-", asked.name).lower(), "")
        if (asked.marker is None or asked.marker.evaluate({"python_version": "3.11"})) and not (
            version and asked.specifier.contains(version)
        ):
            missing.append(str(asked))
    assert missing == []


@pytest.mark.slow
def test_two_builds_of_a_commit_are_equal(tmp_path: Path) -> None:
    first, second = supply.build(tmp_path / "one"), supply.build(tmp_path / "in" / "another" / "place")
    assert [name.split("-")[-1] for name in first] == ["any.whl", "0.1.0.tar.gz"]
    assert first == second
