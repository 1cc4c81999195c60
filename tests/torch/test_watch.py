"""What a monitor must not miss in TRL's trainers: a capped λ, the student as its own base, resumes, NaN, evaluation."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

# importorskip also keeps the warning that the experimental trainers give on import from ending the collection.
pytest.importorskip("trl.experimental.gkd", reason="the monitor is made for TRL: pip install 'lambda-star[trl]'")

from datasets import Dataset

from lambda_star import categorical, updates
from lambda_star.contract import json_structure
from lambda_star.torch.adapters import without_adapters
from lambda_star.torch.metrics import PREFIX
from lambda_star.torch.monitor import SafetyMonitor
from lambda_star.torch.teacher import ExtrapolatedTeacher
from tests.torch.by_hand import CLIP, VOCABULARY, close, row_by_row
from tests.torch.test_monitor import (
    ARGUMENTS,
    RUN_LAM,
    Reporter,
    completions_of,
    distil,
    expected_at_a_step,
    finite,
    llama,
    tokenizer,
)

gkd: Any = import_module("trl.experimental.gkd")

# TRL's settings always use a name that the newest transformers deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")

ROOT = Path(__file__).parent.parent.parent

PROMPTS = ["w5 w3", "w4 w5 w6", "w7", "w8 w9 w10 w11"]


def student_with_adapter(**options: Any) -> Any:
    """Make the student of the other runs, with an adapter that has not been trained."""
    peft = pytest.importorskip("peft", reason="adapters need PEFT")
    return peft.get_peft_model(llama(0.1, seed=2), peft.LoraConfig(target_modules=["q_proj", "v_proj"], **options))


# A teacher that caps λ itself


def test_the_capped_lam_is_what_counts(tmp_path: Path) -> None:
    teacher = ExtrapolatedTeacher(llama(1.5, seed=1), llama(0.1, seed=2), 1.5, clip=1.5, margin=0.0)
    reporter = Reporter()
    trainer = distil(tmp_path, teacher, reporter, temperature=1.0)
    SafetyMonitor(clip=1.5, stop_above=0.0).attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 3
    assert all(metrics["past"] == 0 for metrics in reporter.metrics)
    assert all(1 < metrics["lam"] < 1.5 for metrics in reporter.metrics)
    assert all(metrics["threshold_least"] < 1.5 for metrics in reporter.metrics), "uncapped, it would have stopped"


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_a_looser_cap_than_that_of_the_monitor_is_seen(tmp_path: Path, temperature: float) -> None:
    inner, base = llama(1.5, seed=1), llama(0.1, seed=2)
    teacher = ExtrapolatedTeacher(inner, base, 1.6, clip=2.0)

    @torch.no_grad()
    def expected() -> float:
        ids, attention, columns, mask = completions_of(trainer)
        rows = [m(input_ids=ids, attention_mask=attention).logits[:, columns][mask].double() for m in (inner, base)]
        loose = categorical.threshold(rows[0], rows[1], 2.0, mode="bernoulli").value
        lams = (1 + 0.9 * (loose - 1)).clamp(max=1.6)
        warm = [row / temperature for row in rows]
        stars = categorical.threshold(warm[0], warm[1], 1.85, mode="bernoulli").value
        return float((stars < lams).double().mean())

    reporter = Reporter(expected)
    trainer = distil(tmp_path, teacher, reporter, max_steps=1, temperature=temperature)
    SafetyMonitor(clip=1.85, positions=1000).attach(trainer)
    trainer.train()
    assert [metrics["past"] for metrics in reporter.metrics] == pytest.approx(reporter.looks)
    assert (0 < reporter.looks[0] < 1) == (temperature == 1.0), "the case tests nothing"


@pytest.mark.parametrize(
    ("rule", "meaning"),
    [
        (None, "and whether it dies depends on the update rule (rule=)"),
        (updates.none(), "and under none() it never dies"),
        (updates.log_ratio_clamp(5.0, teacher="extrapolated"), "it never dies"),
        (updates.log_ratio_cap(5.0), "and under log_ratio_cap(c=5) it dies once λ is large enough"),
    ],
)
def test_a_stop_says_what_lam_star_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rule: Any, meaning: str
) -> None:
    blind_rows(monkeypatch, [0])
    assert watch(distil(tmp_path, llama(), Reporter()), 1, 3.0, stop_above=0.1, rule=rule)[0] == [True]
    (said,) = caplog.messages
    assert "past λ* a converged student's tail is more than 5 times thinner than the teacher's" in said
    assert said.endswith(meaning)


# The student as its own teacher or base


OWN = r"must be a model of its own, got weights of the student.* give base=without_adapters\(student\)$"


@pytest.mark.parametrize("name", ["teacher", "base"])
@pytest.mark.parametrize("extrapolated", [False, True])
def test_attach_refuses_the_student_as_teacher_or_base(tmp_path: Path, name: str, extrapolated: bool) -> None:
    student = llama(0.1, seed=2)
    models = {"teacher": llama(1.5, seed=1), "base": llama(0.1, seed=3)} | {name: student}
    if extrapolated:
        trainer = distil(tmp_path, ExtrapolatedTeacher(**models, lam=1.2), Reporter(), student)
        monitor = SafetyMonitor(clip=5.0)
    else:
        trainer = distil(tmp_path, llama(1.5, seed=1), Reporter(), student)
        monitor = SafetyMonitor(**models, lam=1.2, clip=5.0)
    with pytest.raises(ValueError, match=f"^{name} {OWN}"):
        monitor.attach(trainer)


def test_attach_refuses_a_base_that_shares_weights_with_the_student(tmp_path: Path) -> None:
    student, base = llama(0.1, seed=2), llama(0.1, seed=3)
    base.model.embed_tokens.weight = student.model.embed_tokens.weight
    trainer = distil(tmp_path, llama(1.5, seed=1), Reporter(), student)
    with pytest.raises(ValueError, match=f"^base {OWN}"):
        SafetyMonitor(base=base, lam=1.2, clip=5.0).attach(trainer)


def test_attach_refuses_a_base_into_which_the_trainer_puts_adapters(tmp_path: Path) -> None:
    student, peft = llama(0.1, seed=2), pytest.importorskip("peft", reason="adapters need PEFT")
    teacher = ExtrapolatedTeacher(llama(1.5, seed=1), student, 1.2)
    trainer = distil(
        tmp_path, teacher, Reporter(), peft.get_peft_model(student, peft.LoraConfig(target_modules=["q_proj"]))
    )
    with pytest.raises(ValueError, match=f"^base {OWN}"):
        SafetyMonitor(clip=5.0).attach(trainer)


def test_attach_refuses_a_teacher_that_is_the_base(tmp_path: Path) -> None:
    teacher = llama(1.5, seed=1)
    trainer = distil(tmp_path, teacher, Reporter())
    with pytest.raises(ValueError, match=r"^base must be another model than the teacher, got the same weights"):
        SafetyMonitor(base=teacher, lam=1.2, clip=5.0).attach(trainer)


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("name", ["teacher", "base"])
def test_the_first_step_refuses_the_student_without_any_monitor(tmp_path: Path, name: str, adapters: bool) -> None:
    student: Any = llama(0.1, seed=2)
    models = {"teacher": llama(1.5, seed=1), "base": llama(0.1, seed=3)} | {name: student}
    teacher = ExtrapolatedTeacher(**models, lam=1.2)
    if adapters:
        peft = pytest.importorskip("peft", reason="adapters need PEFT")
        student = peft.get_peft_model(student, peft.LoraConfig(target_modules=["q_proj"]))
    trainer = distil(tmp_path, teacher, Reporter(), student)
    with pytest.raises(ValueError, match=rf"^{name} must be a model that nothing trains, got one in training mode"):
        trainer.train()


# Models cut into shards


SHARDS = r"^{} must have whole parameters on every device, got shards of {}: "


def test_attach_refuses_a_trainer_that_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = distil(tmp_path, llama(1.5, seed=1), Reporter())
    trainer.is_fsdp_enabled = True
    with pytest.raises(ValueError, match=SHARDS.format("trainer", "FSDP")):
        SafetyMonitor(base=llama(), lam=1.2, clip=5.0).attach(trainer)
    trainer.is_fsdp_enabled, trainer.is_deepspeed_enabled = False, True
    plugin = SimpleNamespace(zero_stage=3)
    monkeypatch.setattr(type(trainer.accelerator.state), "deepspeed_plugin", plugin, raising=False)
    with pytest.raises(ValueError, match=SHARDS.format("trainer", "DeepSpeed ZeRO-3")):
        SafetyMonitor(base=llama(), lam=1.2, clip=5.0).attach(trainer)
    plugin.zero_stage = 2
    SafetyMonitor(base=llama(), lam=1.2, clip=5.0).attach(trainer)


@pytest.mark.parametrize("name", ["model", "teacher", "base"])
def test_a_run_of_sharded_models_does_not_begin(tmp_path: Path, name: str) -> None:
    models = {"model": llama(0.1, seed=2), "teacher": llama(1.5, seed=1), "base": llama(0.1, seed=3)}
    trainer = distil(tmp_path, models["teacher"], Reporter(), models["model"])
    SafetyMonitor(base=models["base"], lam=1.2, clip=5.0).attach(trainer)
    next(models[name].parameters()).ds_id = 0  # as DeepSpeed marks a parameter that it has partitioned
    with pytest.raises(ValueError, match=SHARDS.format(name, "DeepSpeed ZeRO-3")):
        trainer.train()


# A student with adapters, and its base


def weights_of(model: Any) -> dict[str, Any]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("extrapolated", [False, True])
def test_a_student_with_adapters_off_is_its_base(tmp_path: Path, extrapolated: bool) -> None:
    student, inner, copy = student_with_adapter(), llama(1.5, seed=1), llama(0.1, seed=2)
    before = weights_of(student)
    reporter = Reporter(lambda: finite(expected_at_a_step(trainer, inner, copy, RUN_LAM)))
    base = without_adapters(student)
    teacher = ExtrapolatedTeacher(inner, base, RUN_LAM) if extrapolated else inner
    given: dict[str, Any] = {} if extrapolated else {"base": base, "lam": RUN_LAM}
    trainer = distil(tmp_path, teacher, reporter, student, learning_rate=0.1)
    SafetyMonitor(clip=CLIP, positions=1000, **given).attach(trainer)
    trainer.train()
    assert reporter.metrics == [close(each, 1e-4) for each in reporter.looks]
    moved = {name for name, weight in weights_of(student).items() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora_" in name for name in moved)
    assert {name for name, weight in student.named_parameters() if weight.requires_grad} == {
        name for name in before if "lora_" in name
    }
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(base(ids).logits, copy.eval()(ids).logits)
    assert student.training


@pytest.mark.slow
def test_a_run_with_adapters_off_is_that_with_a_second_copy(tmp_path: Path) -> None:
    losses = []
    makers: list[Any] = [without_adapters, lambda _: llama(0.1, seed=2)]
    for k, make in enumerate(makers):
        student = student_with_adapter()
        teacher = ExtrapolatedTeacher(llama(1.5, seed=1), make(student), 1.5, clip=CLIP)
        trainer = distil(tmp_path / str(k), teacher, Reporter(), student, learning_rate=0.1)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][-1]


TWO = """
import json, os, sys
from pathlib import Path
import torch
from lambda_star.torch import ExtrapolatedTeacher, SafetyMonitor, without_adapters
from tests.torch.test_monitor import Reporter, distil, llama
from tests.torch.test_watch import student_with_adapter
torch.set_num_threads(1)
place = Path(sys.argv[1])
other = os.fork()  # so that what takes long to import is imported once
os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(int(other == 0))
student, reporter = student_with_adapter(), Reporter()
teacher = ExtrapolatedTeacher(llama(1.5, seed=1), without_adapters(student), 3.0)
trainer = distil(place / "run", teacher, reporter, student, per_device_train_batch_size=2)
SafetyMonitor(clip=2.0, adapt=True).attach(trainer)
trainer.train()
found = [type(trainer.model_wrapped).__name__, teacher.lam, reporter.metrics]
(place / f"{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
torch.distributed.destroy_process_group()
if other:
    sys.exit(os.waitpid(other, 0)[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_two_processes_see_and_act_alike(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="adapters need PEFT")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meet = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | meet, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    assert found[0] == found[1]
    kind, lam, metrics = found[0]
    assert kind == "DistributedDataParallel"
    assert len(metrics) == 3
    assert 1 < lam < metrics[1]["lam"] < metrics[0]["lam"] == 3.0
    assert metrics[0]["positions"] > 12, "two answers of at most six tokens are one process's share"


# Resuming


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_adapted_lam(tmp_path: Path) -> None:
    def run(
        steps: int, checkpoint: Any = None, lam: float = 3.0, **options: Any
    ) -> tuple[ExtrapolatedTeacher, list[float]]:
        teacher = ExtrapolatedTeacher(llama(1.5, seed=1), llama(0.1, seed=2), lam)
        reporter = Reporter()
        arguments = {"max_steps": steps, "save_strategy": "steps", "save_steps": 2} | options
        trainer = distil(tmp_path, teacher, reporter, **arguments)
        SafetyMonitor(clip=CLIP, adapt=True).attach(trainer)
        trainer.train(resume_from_checkpoint=checkpoint)
        return teacher, [metrics["lam"] for metrics in reporter.metrics]

    first, lams = run(2)
    assert lams[0] == 3.0
    assert 1 < first.lam < lams[1] < 3.0
    for restore in (False, True):  # with it, the trainer makes those callbacks anew whose state it has saved itself
        _, resumed = run(3, str(tmp_path / "checkpoint-2"), restore_callback_states_from_checkpoint=restore)
        assert resumed == [first.lam]
    lower, resumed = run(3, str(tmp_path / "checkpoint-2"), lam=1.01)
    assert resumed == [1.01], "λ is never raised"
    assert lower.lam <= 1.01
    _, anew = run(1)
    assert anew == [3.0]


# A watch that cannot see


def blind_rows(monkeypatch: pytest.MonkeyPatch, blind: Any, count: int = 20) -> None:
    """Let a monitor see ``count`` positions, far past λ* or not, of which the teacher's logits are NaN at some."""
    step = iter(range(1000))

    def look(self: Any, model: Any) -> torch.Tensor:
        rows = torch.zeros(count, VOCABULARY)
        rows[:, 3] = 5.0 if model == "teacher" else 1.0
        if model == "teacher":
            rows[: blind[min(next(step), len(blind) - 1)]] = math.nan
        return rows

    monkeypatch.setattr("lambda_star.torch._batches.Sample.logits", look)


def watch(trainer: Any, steps: int, lam: float, **options: Any) -> tuple[list[bool], list[dict[str, float]]]:
    """Log several steps of a monitor whose models are replaced; tell at which it ends the run, and what it logs."""
    monitor = SafetyMonitor(base=llama(), lam=lam, clip=5.0, **options).attach(trainer)
    monitor.teacher, monitor.base = "teacher", "base"
    trainer.model.train()
    trainer.compute_loss = lambda *_args, **_options: torch.tensor(0.0)
    ids = torch.full((2, 4), 3)
    monitor._inputs[True] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    stops, seen = [], []
    for _ in range(steps):
        logs = {"loss": 0.0}
        control = trainer.control.__class__()
        monitor.on_log(trainer.args, trainer.state, control, logs=logs, model="student")
        stops.append(control.should_training_stop)
        seen.append(logs)
    return stops, seen


def test_one_position_that_cannot_be_judged_blinds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blind_rows(monkeypatch, [1], 36)
    trainer = distil(tmp_path, llama(), Reporter())
    stops, seen = watch(trainer, 2, 3.0, stop_above=0.1)
    assert stops == [True, True]
    assert seen[0][f"{PREFIX}past"] == 1
    assert (seen[0][f"{PREFIX}positions"], seen[0][f"{PREFIX}not_judged"]) == (36, 1)
    warned = [line for line in caplog.messages if "cannot be judged" in line]
    assert warned == [
        "at step 0 1 of 36 positions cannot be judged, because logits are NaN or infinite (teacher); the metrics leave "
        "such positions out, and lambda_star/not_judged counts them in every log"
    ]


@pytest.mark.parametrize(
    ("blind", "stop_above", "expected"),
    [
        ([20], 0.1, [True, True, True, True]),  # nothing can be judged
        ([3], 0.1, [False, False, True, True]),  # 15 % could all be past
        ([2], 0.1, [False, False, False, False]),  # 10 % could not exceed the limit
        ([3, 3, 0, 3], 0.1, [False, False, False, False]),  # two in a row
        ([19], None, [False, False, False, False]),  # a monitor that only looks never stops
    ],
)
def test_a_monitor_that_cannot_see_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blind: list[int], stop_above: float | None, expected: list[bool]
) -> None:
    blind_rows(monkeypatch, blind)
    trainer = distil(tmp_path, llama(), Reporter())
    stops, seen = watch(trainer, 4, 1.05, stop_above=stop_above)
    assert stops == expected
    assert [logs[f"{PREFIX}not_judged"] for logs in seen] == [*blind, *blind[-1:] * 4][:4]


def test_batches_without_a_position_end_the_run_at_the_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blind_rows(monkeypatch, [0], 0)
    trainer = distil(tmp_path, llama(), Reporter())
    assert watch(trainer, 3, 1.05, stop_above=0.1)[0] == [False, False, True]
    assert "training ends at step 0: too few positions could be judged at 3 logs in a row, now 0 of 0" in caplog.text


def test_nan_logits_of_a_real_teacher_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    teacher = llama(1.5, seed=1)
    trainer = distil(tmp_path, teacher, Reporter())
    SafetyMonitor(base=llama(0.1, seed=2), lam=1.0, clip=5.0, stop_above=0.1).attach(trainer)
    with torch.no_grad():
        teacher.lm_head.weight[5] = math.nan
    trainer.train()
    assert trainer.state.global_step == 1
    assert "positions can be judged, because logits are NaN or infinite" in caplog.text


def test_adapt_sees_what_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lams = []
    for blind in (0, 9, 20):
        blind_rows(monkeypatch, [blind])
        teacher = ExtrapolatedTeacher(llama(1.5, seed=1), llama(0.1, seed=2), 3.0)
        trainer = distil(tmp_path, teacher, Reporter())
        monitor = SafetyMonitor(clip=5.0, adapt=True).attach(trainer)
        monitor.teacher, monitor.base = "teacher", "base"
        ids = torch.full((2, 4), 3)
        monitor._inputs[True] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
        control = trainer.control.__class__()
        monitor.on_log(trainer.args, trainer.state, control, logs={"loss": 0.0}, model="student")
        lams.append(teacher.lam)
        assert control.should_training_stop == (blind == 20)
    assert lams[0] == lams[1] < lams[2] == 3.0


# Validity, contract, evaluation


def test_validity_is_the_users(tmp_path: Path) -> None:
    asked: list[str] = []

    def valid(text: str) -> bool:
        asked.append(text)
        return "w" not in text

    reporter = Reporter()
    trainer = distil(tmp_path, llama(1.5, seed=1), reporter, max_steps=1)
    SafetyMonitor(base=llama(0.1, seed=2), lam=RUN_LAM, clip=CLIP, valid=valid).attach(trainer)
    trainer.train()
    assert len(asked) == 4
    assert reporter.metrics[0]["valid"] == np.mean(["w" not in text for text in asked])
    assert "json" not in reporter.metrics[0]


@pytest.mark.slow
@pytest.mark.parametrize("rules", [lambda text: "mark" if text in ("17", "w9") else None, [("mark", "17|w9")]])
def test_only_positions_of_the_contract_count(tmp_path: Path, rules: Any) -> None:
    teacher, base = llama(1.5, seed=1), llama(0.1, seed=2)

    @torch.no_grad()
    def expected() -> dict[str, float]:
        ids, attention, columns, mask = completions_of(trainer)
        of = [
            model.eval()(input_ids=ids, attention_mask=attention).logits[:, columns][mask]
            for model in (teacher, base, trainer.model)
        ]
        inside = torch.isin(of[0].argmax(-1), torch.tensor([17, 9]))
        return finite(row_by_row((row[inside] for row in of), RUN_LAM, CLIP))

    reporter = Reporter(expected)
    trainer = distil(tmp_path, teacher, reporter, max_steps=1, max_completion_length=20, temperature=1.0)
    SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP, positions=1000, contract=rules).attach(trainer)
    trainer.train()
    (metrics,) = reporter.metrics
    assert 0 < metrics["positions"] < 60
    del metrics["json"]
    assert metrics == close(reporter.looks[0], 1e-4)


@pytest.mark.parametrize("option", [{"contract": json_structure}, {"valid": bool}])
def test_text_needs_a_tokenizer(tmp_path: Path, option: dict[str, Any]) -> None:
    trainer = distil(tmp_path, llama(1.5, seed=1), Reporter())
    trainer.processing_class = None
    with pytest.raises(ValueError, match=r"^contract and valid read text, so the trainer must have a tokenizer, got"):
        SafetyMonitor(base=llama(), lam=1.2, clip=5.0, **option).attach(trainer)


@pytest.mark.slow
def test_evaluations_are_logged_under_their_prefix(tmp_path: Path) -> None:
    teacher = ExtrapolatedTeacher(llama(1.5, seed=1), llama(0.1, seed=2), 1.5)
    reporter = Reporter()
    trainer = distil(tmp_path, teacher, reporter)
    data = {name: Dataset.from_dict({"prompt": PROMPTS * 4}) for name in ("easy", "hard")}
    SafetyMonitor(clip=1.5, stop_above=0.0).attach(trainer)
    for name, part in data.items():
        found = trainer.evaluate(part, metric_key_prefix=f"eval_{name}")
        assert found[f"eval_{name}_{PREFIX}past"] > 0
        assert found[f"eval_{name}_{PREFIX}positions"] >= 4
    assert [name for logs in reporter.logs for name in logs if name.endswith(f"{PREFIX}lam")] == [
        f"eval_easy_{PREFIX}lam",
        f"eval_hard_{PREFIX}lam",
    ]
    assert not trainer.control.should_training_stop
    trainer.train()
    assert trainer.state.global_step == 1
    assert not any("eval" in name or "train_" + PREFIX in name for logs in reporter.logs[2:] for name in logs)


@pytest.mark.slow
def test_an_evaluation_is_that_of_its_first_batch(tmp_path: Path) -> None:
    teacher, base, words = llama(1.5, seed=1), llama(0.1, seed=2), tokenizer()
    words.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    rows = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in zip(PROMPTS * 2, ["w12 w13 w14", "16", "17 18", "19", *["w20"] * 4], strict=True)
    ]
    data = Dataset.from_dict({"messages": rows})
    trainer = gkd.GKDTrainer(
        model=llama(0.1, seed=2),
        teacher_model=teacher,
        args=gkd.GKDConfig(
            str(tmp_path),
            max_new_tokens=5,
            eval_strategy="steps",
            eval_steps=1,
            per_device_eval_batch_size=4,
            lmbda=0.0,
            **ARGUMENTS | {"max_steps": 2, "max_length": 32},
        ),
        train_dataset=data,
        eval_dataset=data,
        processing_class=words,
    )
    SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP).attach(trainer)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(logged) == 2
    assert [entry[f"eval_{PREFIX}json"] for entry in logged] == [0.5, 0.5], "the second batch has no JSON"
    trainer.predict(data.select(range(4)))
    assert trainer.evaluate(data.select(range(4, 8)))[f"eval_{PREFIX}json"] == 0, "the batch is that of the prediction"
    training = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all(f"{PREFIX}past" in entry and f"eval_{PREFIX}past" not in entry for entry in training)
