"""The lock file holds what the project asks for, in the constraints' versions and with hashes; data have licences."""

from __future__ import annotations

import json
import re
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks import supply

LOCKED = supply.LOCK.read_text(encoding="utf-8")
PINS = supply.pins(LOCKED)
ADAPTERS = sorted(path.parent for path in supply.ROOT.glob("examples/*/*/adapter_config.json"))


def test_the_lock_and_the_constraints_name_the_same_versions() -> None:
    constraints = supply.pins(supply.CONSTRAINTS.read_text(encoding="utf-8"))
    common = constraints.keys() & PINS.keys()
    assert {name: PINS[name].split("+")[0] for name in common} == {name: constraints[name] for name in common}
    assert len(common) > 100


def test_everything_locked_has_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCKED.split("\n", 1)[1].strip())
    assert len(entries) == len(PINS)
    assert [entry for entry in entries if not re.search(r" --hash=sha256:[0-9a-f]{64}(?:\s|$)", entry)] == []


def test_the_lock_holds_what_the_project_asks_for() -> None:
    extras = supply.project()["project"]["optional-dependencies"]
    wanted, todo = [*supply.project()["project"]["dependencies"], *supply.backend()], ["dev", "docs"]
    while todo:
        for line in extras[todo.pop()]:
            asked = Requirement(line)
            if asked.name == "lambda-star":
                todo += asked.extras
            else:
                wanted.append(line)
    missing = []
    for asked in map(Requirement, wanted):
        needed = asked.marker is None or asked.marker.evaluate({"python_version": "3.11"})
        if needed and not asked.specifier.contains(PINS.get(supply.normal(asked.name), "0"), prereleases=True):
            missing.append(str(asked))
    assert missing == []
    assert len(wanted) > 30


def test_every_adapter_has_a_card_that_names_its_model_and_its_licence() -> None:
    assert len(ADAPTERS) == 6
    for folder in ADAPTERS:
        card = (folder / "README.md").read_text(encoding="utf-8")
        model = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        assert re.search(rf"^base_model: {re.escape(model)}$", card, flags=re.MULTILINE)
        assert re.search(r"^license: apache-2.0$", card, flags=re.MULTILINE)
        assert f"examples/{folder.parent.name}/{folder.name}" in card


def test_every_data_file_is_named_where_the_licences_are() -> None:
    page = (supply.ROOT / "examples" / "LICENSES.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([^`]+)`", page, flags=re.MULTILINE)
    suffixes = {
        ".jsonl",
        ".gz",
        ".zst",
        ".csv",
        ".tsv",
        ".parquet",
        ".arrow",
        ".arrows",
        ".feather",
        ".ndjson",
        ".safetensors",
        ".json",
    }
    places = [supply.ROOT / folder for folder in ("examples", "lambda_star", "results", "tests")]
    files = [path.relative_to(supply.ROOT) for place in places for path in place.rglob("*") if path.suffix in suffixes]
    unnamed = [
        path for path in files if "__pycache__" not in path.parts and not any(_below(path, one) for one in named)
    ]
    assert unnamed == []
    assert [one for one in named if not (supply.ROOT / one).exists()] == []


def _below(path: Path, place: str) -> bool:
    return path.as_posix() == place or path.as_posix().startswith(place.rstrip("/") + "/")
