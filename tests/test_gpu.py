"""``benchmarks/gpu.py`` rehearsed on the processor: every step in turn, what fails, what hangs, and what travels."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from lambda_star.cliff import run


def called(out: Path, **options: Any) -> argparse.Namespace:
    usual = {"device": "cpu", "quick": True, "out": out, "only": None, "model": None, "store": out / "store"}
    return argparse.Namespace(**{**usual, **options})


def in_this_process(name: str, arguments: argparse.Namespace, *_: Any) -> dict[str, Any]:
    gpu.one(name, arguments)
    part = arguments.out / f"{name}.part"
    found: dict[str, Any] = json.loads(part.read_text(encoding="utf-8"))
    part.unlink()
    return found


@pytest.mark.slow
def test_the_run_is_rehearsed_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUNING_STEPS", "HELD_OUT", "JUDGED", "RESAMPLES"):
        monkeypatch.setattr(run, name, getattr(run, name))  # a rehearsal makes them small
    apart = gpu.separately
    monkeypatch.setattr(
        gpu, "separately", lambda name, *more: (apart if name == "check" else in_this_process)(name, *more)
    )
    steps = ("check", "rows", "small")  # not the one that runs pytest
    words = f"--device cpu --quick --out {tmp_path} --only {' --only '.join(steps)}"
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *words.split()])
    with pytest.raises(SystemExit) as done:
        gpu.main()
    assert done.value.code == 0, (tmp_path / "gpu.log").read_text(encoding="utf-8")
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["torch"] == torch.__version__
    assert "processor" in found["card"]
    assert [(name, step["passed"]) for name, step in found["steps"].items()] == [(name, True) for name in steps]
    assert [*found["steps"]["check"]["dtypes"]] == ["bfloat16"]
    for ratios in found["steps"]["rows"]["times of one logsumexp"].values():
        assert ratios.pop("logsumexp") == 1
        assert min(ratios.values()) > 0
    (record,) = (tmp_path / "records").iterdir()
    settings = json.loads(record.read_text(encoding="utf-8"))["settings"]
    assert (settings["width"], settings["layers"]) == (48, 3)
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.json", "gpu.log", "records"}


def test_the_steps_take_less_than_eight_minutes_together() -> None:
    assert sum(limit for _, limit in gpu.STEPS.values()) < 480


def test_without_a_cuda_device_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.everything(called(tmp_path, device="cuda")) == 3
    assert capsys.readouterr().out.startswith("no CUDA device here; --device cpu --quick rehearses")


def test_a_step_that_fails_or_hangs_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> dict[str, Any]:
        raise RuntimeError("of no use")

    monkeypatch.setattr(gpu, "STEPS", {"first": (fails, 1), "second": (lambda *_: {"held": 1}, 1)})
    with monkeypatch.context() as patch:
        patch.setattr(gpu, "separately", in_this_process)
        assert gpu.everything(called(tmp_path)) == 1
    steps = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["steps"]
    assert (steps["first"]["passed"], steps["first"]["error"]) == (False, "RuntimeError: of no use")
    assert (steps["second"]["passed"], steps["second"]["held"]) == (True, 1)
    monkeypatch.setattr(gpu, "STEPS", {"check": (fails, 0.01)})
    with (tmp_path / "log").open("w") as log:
        late = gpu.separately("check", called(tmp_path / "nowhere"), log, dict(os.environ))
    assert late == {"passed": False, "error": "not done after 0.05 s"}


def test_the_model_travels_in_parts_that_come_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder, store = tmp_path / "model.gguf", tmp_path / "parts", tmp_path / "store"
    model.write_bytes(bytes(range(256)) * 11)
    monkeypatch.setattr(gpu, "PART", 1000)
    monkeypatch.setattr(gpu, "CARRIED", ("array_api_compat", "not-a-package"))
    gpu.pack(folder, model)
    assert "not-a-package is not here and does not travel" in capsys.readouterr().out
    parts = sorted(folder.glob("*-of-3"))
    assert len(parts) == 3
    assert (folder / "site" / "array_api_compat" / "__init__.py").exists()
    for part in parts:
        assert gpu.unpack(folder / "gone", store) is None
        (tmp_path / "one").mkdir(exist_ok=True)
        part.rename(tmp_path / "one" / part.name)
        found = gpu.unpack(tmp_path / "one", store)
        (tmp_path / "one" / part.name).unlink()
    assert found is not None
    assert found.read_bytes() == model.read_bytes()
    (store / parts[1].name).write_bytes(b"broken")
    assert gpu.unpack(folder / "gone", store) is None
