"""The monitor in TRL's own trainers: its metrics are those of the batches, and it stops or adapts a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lambda_star import categorical, decide, updates

# importorskip also keeps the warning that the experimental trainers give on import from ending the collection.
pytest.importorskip("trl.experimental.gkd", reason="the monitor is made for TRL: pip install 'lambda-star[trl]'")

from datasets import Dataset
from scipy.stats import binom
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

from lambda_star.contract import json_structure
from lambda_star.rehearsal import Answer, Rehearsal
from lambda_star.torch.metrics import PREFIX
from lambda_star.torch.monitor import SafetyMonitor
from lambda_star.torch.teacher import ExtrapolatedTeacher
from tests.torch.by_hand import CLIP, VOCABULARY, close, json_share, row_by_row, short
from tests.verdict.cases import NEVER, report

# They are untyped, because their annotations only accept a PreTrainedModel as teacher.
trl: Any = import_module("trl")
gkd: Any = import_module("trl.experimental.gkd")

# TRL's settings always use a name that the newest transformers deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")

RUN_LAM = 1.1


def llama(scale: float = 0.3, seed: int = 0, width: int = 16) -> Any:
    """Make a model; the larger the scale of its head, the surer it is of its next token."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=VOCABULARY,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        attention_dropout=0.5,  # a monitor that left a model in training mode would see other logits
    )
    model = LlamaForCausalLM(config)
    torch.nn.init.normal_(model.lm_head.weight, std=scale)
    return model


def tokenizer() -> Any:
    """Make a tokenizer of words; half of them are numbers, which are JSON by themselves."""
    words = {"<pad>": 0, "</s>": 1} | {(f"w{i}" if i < VOCABULARY // 2 else f"{i}"): i for i in range(2, VOCABULARY)}
    fast = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", padding_side="left", model_max_length=64)


ARGUMENTS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "per_device_train_batch_size": 4,
    "max_steps": 3,
    "logging_steps": 1,
    "learning_rate": 0.01,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}


class Reporter(TrainerCallback):
    """A callback that keeps the logs that a reporter of ``report_to`` sees, and calls a function at each of them."""

    def __init__(self, look: Callable[[], Any] = lambda: None) -> None:
        self.logs: list[dict[str, float]] = []
        self.looks: list[Any] = []
        self.look = look

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.logs.append(dict(kwargs["logs"]))
        if "loss" in kwargs["logs"]:
            self.looks.append(self.look())

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics that the monitor logged at each step."""
        ours = [{name: value for name, value in logs.items() if name.startswith(PREFIX)} for logs in self.logs]
        return [short(metrics) for metrics in ours if metrics]


def distil(path: Path, teacher: Any, reporter: Reporter, student: Any = None, **options: Any) -> Any:
    arguments = {"max_completion_length": 6} | ARGUMENTS | options
    return trl.DistillationTrainer(
        model=llama(0.1, seed=2) if student is None else student,
        teacher_model=teacher,
        args=trl.DistillationConfig(str(path), **arguments),
        train_dataset=Dataset.from_dict({"prompt": ["w5 w3", "w4 w5 w6", "w7", "w8 w9 w10 w11"] * 4}),
        processing_class=tokenizer(),
        callbacks=[reporter],
    )


def completions_of(trainer: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ids, attention, and the positions that predict completion tokens, with their mask."""
    batch = trainer._buffered_inputs[(trainer._step - 1) % trainer.args.gradient_accumulation_steps]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    start, mask = batch["prompt_ids"].shape[1], batch["completion_mask"]
    return ids, torch.cat([batch["prompt_mask"], mask], 1), torch.arange(start - 1, ids.shape[1] - 1), mask.bool()


@torch.no_grad()
def expected_at_a_step(trainer: Any, teacher: Any, base: Any, lam: float) -> dict[str, float]:
    """Compute the metrics of all completion positions of the last batch from whole forward passes."""
    ids, attention, columns, mask = completions_of(trainer)
    rows = []
    for model in (teacher, base, trainer.model):
        mode = model.training
        rows.append(model.eval()(input_ids=ids, attention_mask=attention).logits[:, columns] / trainer.temperature)
        model.train(mode)
    texts = [trainer.processing_class.decode(i[columns + 1][m], skip_special_tokens=True) for i, m in zip(ids, mask)]  # noqa: B905
    expected = row_by_row((row[mask] for row in rows), lam, CLIP)
    return expected | {"json": json_share(texts)}


def finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"temperature": 0.7}, {"gradient_accumulation_steps": 2}, {"max_completion_length": 1}], ids=str
)
def test_reporters_of_a_run_see_the_metrics_of_its_batches(tmp_path: Path, options: dict[str, Any]) -> None:
    teacher, base = llama(1.5, seed=1, width=24), llama(0.1, seed=2)
    reporter = Reporter(lambda: finite(expected_at_a_step(trainer, teacher, base, RUN_LAM)))
    trainer = distil(tmp_path, teacher, reporter, **options)
    monitor = SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP, positions=1000).attach(trainer)
    trainer.train()
    assert isinstance(monitor, TrainerCallback)
    assert len(reporter.metrics) == 3
    for metrics, expected in zip(reporter.metrics, reporter.looks, strict=True):
        assert metrics == close(expected, 1e-4)
        assert metrics["positions"] >= 4
    assert any(0 < metrics["past"] < 1 for metrics in reporter.metrics), "the case tests nothing"
    assert any(0 < metrics["json"] < 1 for metrics in reporter.metrics) or "max_completion_length" not in options
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry[f"{PREFIX}past"] for entry in history] == [metrics["past"] for metrics in reporter.metrics]
    assert not any(name.startswith(PREFIX) for name in reporter.logs[-1]), "the logs of the whole run"
    assert all(module.training for module in trainer.model.modules())


def losses_and_weights(path: Path, watched: bool) -> tuple[list[float], Tensor]:
    reporter, student, base = Reporter(), llama(0.1, seed=2), llama(0.1, seed=2)
    trainer = distil(path, llama(1.5, seed=1), reporter, student)
    if watched:
        SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP, positions=7).attach(trainer)
    trainer.train()
    assert len(reporter.metrics) == (3 if watched else 0)
    assert all(metrics["positions"] == 7 for metrics in reporter.metrics)
    return [logs["loss"] for logs in reporter.logs if "loss" in logs], student.lm_head.weight.detach()


@pytest.mark.slow
def test_a_run_is_the_same_with_and_without_a_monitor(tmp_path: Path) -> None:
    with_one, without = losses_and_weights(tmp_path / "a", True), losses_and_weights(tmp_path / "b", False)
    assert with_one[0] == without[0]
    assert torch.equal(with_one[1], without[1])


@pytest.mark.slow
@pytest.mark.parametrize("own_answers", [False, True])
def test_batches_with_labels_are_read(tmp_path: Path, own_answers: bool) -> None:
    teacher, base = llama(1.5, seed=1), llama(0.1, seed=2)
    words = tokenizer()
    words.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    pairs = [("w5 w3", "w12 w13 w14"), ("w4 w5 w6", "16"), ("w7", "17 18"), ("w8 w9", "19")]
    roles = ("user", "assistant")
    rows = [[{"role": role, "content": text} for role, text in zip(roles, pair, strict=True)] for pair in pairs]
    batches: list[Any] = []

    @torch.no_grad()
    def expected() -> dict[str, float]:
        inputs = batches[-1]
        counts = inputs["labels"][:, 1:] != -100
        passes = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
        of = [model.eval()(**passes).logits[:, :-1][counts] for model in (teacher, base, trainer.model)]
        trainer.model.train()
        texts = words.batch_decode(
            [ids[label != -100] for ids, label in zip(inputs["input_ids"], inputs["labels"], strict=True)],
            skip_special_tokens=True,
        )
        return finite(row_by_row(of, RUN_LAM, CLIP) | {"json": json_share(texts)})

    reporter = Reporter(expected)
    trainer = gkd.GKDTrainer(
        model=llama(0.1, seed=2),
        teacher_model=teacher,
        args=gkd.GKDConfig(
            str(tmp_path), lmbda=float(own_answers), max_new_tokens=5, **ARGUMENTS | {"max_steps": 1, "max_length": 32}
        ),
        train_dataset=Dataset.from_dict({"messages": rows * 2}),
        processing_class=words,
        callbacks=[reporter],
    )
    compute_loss = trainer.compute_loss

    def seeing(model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        batches.append(inputs)
        return compute_loss(model, inputs, *args, **options)

    trainer.compute_loss = seeing
    SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP).attach(trainer)
    trainer.train()
    assert reporter.metrics == [close(each, 1e-4) for each in reporter.looks]
    assert len(reporter.metrics) == 1
    if not own_answers:
        assert reporter.metrics[0]["json"] == 0.5


@pytest.mark.slow
def test_a_sample_is_of_positions_that_count_and_of_all_alike(tmp_path: Path) -> None:
    teacher, base = llama(1.5, seed=1), llama(0.1, seed=2)
    reporter = Reporter(lambda: expected_at_a_step(trainer, teacher, base, RUN_LAM))
    trainer = distil(tmp_path, teacher, reporter, max_steps=1)
    shares: list[float] = []
    monitor = SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP, positions=3).attach(trainer)
    trainer.train()
    whole = reporter.looks[0]["past"]
    control, state = trainer.control, trainer.state
    for _ in range(150):
        logs = {"loss": 0.0}
        monitor.on_log(trainer.args, state, control, logs=logs, model=trainer.model)
        assert logs[f"{PREFIX}positions"] == 3
        shares.append(logs[f"{PREFIX}past"])
    assert 0.05 < whole < 0.95
    assert len(set(shares)) > 1
    assert np.mean(shares) == pytest.approx(whole, abs=0.1)


# Stopping and adapting


def test_a_run_ends_when_too_many_positions_are_past(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    teacher = ExtrapolatedTeacher(llama(1.5, seed=1), llama(0.1, seed=2), 1.5)
    reporter = Reporter()
    trainer = distil(tmp_path, teacher, reporter)
    SafetyMonitor(clip=1.5, stop_above=0.0).attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 1
    assert reporter.metrics[0]["past"] > 0
    assert reporter.metrics[0]["lam"] == 1.5
    assert "training ends at step 1: " in caplog.text
    assert "stop_above is 0.0%" in caplog.text


def test_a_run_goes_on_while_few_positions_are_past(tmp_path: Path) -> None:
    trainer = distil(tmp_path, llama(1.5, seed=1), Reporter())
    SafetyMonitor(base=llama(0.1, seed=2), lam=1.0, clip=1.5, stop_above=0.0).attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 3


@pytest.mark.parametrize(("quantile", "margin"), [(0.0, 0.1), (0.5, 0.25)])
def test_adapt_lowers_lam_to_the_operating_point(tmp_path: Path, quantile: float, margin: float) -> None:
    inner, base = llama(1.5, seed=1), llama(0.1, seed=2)
    teacher = ExtrapolatedTeacher(inner, base, 3.0)
    reporter = Reporter(lambda: (teacher.lam, stars(trainer, inner, base)))
    trainer = distil(tmp_path, teacher, reporter)
    SafetyMonitor(clip=CLIP, adapt=True, quantile=quantile, margin=margin, positions=1000).attach(trainer)
    trainer.train()
    lam = 3.0
    for metrics, (after, thresholds) in zip(reporter.metrics, reporter.looks, strict=True):
        assert metrics["lam"] == lam
        star = float(np.quantile(thresholds, quantile, method="inverted_cdf"))
        lam = min(lam, 1 + (1 - margin) * (star - 1))
        assert after == pytest.approx(lam, rel=1e-5)
        assert 1 < after < 3
        lam = after
    # Training goes on with the teacher of the lowered λ.
    ids = torch.tensor([[3, 4, 5]])
    blend = lam * inner(ids).logits + (1 - lam) * base(ids).logits
    assert torch.allclose(teacher(ids).logits, blend, atol=1e-4)


@torch.no_grad()
def stars(trainer: Any, teacher: Any, base: Any) -> Any:
    """Return λ* of every completion position."""
    ids, attention, columns, mask = completions_of(trainer)
    rows = [m(input_ids=ids, attention_mask=attention).logits[:, columns][mask] for m in (teacher, base)]
    return categorical.threshold(rows[0], rows[1], CLIP, mode="bernoulli").value.numpy()


def test_adapt_never_raises_lam(tmp_path: Path) -> None:
    teacher = ExtrapolatedTeacher(llama(0.2, seed=1), llama(0.1, seed=2), 1.01)
    reporter = Reporter(lambda: teacher.lam)
    trainer = distil(tmp_path, teacher, reporter)
    SafetyMonitor(clip=100.0, adapt=True).attach(trainer)
    trainer.train()
    assert reporter.looks == [1.01] * 3
    assert all(metrics["threshold_least"] > 1.5 for metrics in reporter.metrics)


# Options, and trainers and batches that are refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": 0.9}, r"^clip must lie in \[1, inf\], got 0\.9$"),
        ({"lam": math.inf}, r"^lam must lie in \(-inf, inf\), got inf$"),
        ({"stop_above": 1.0}, r"^stop_above must lie in \[0, 1\), got 1\.0$"),
        ({"stop_above": math.nan}, r"^stop_above must lie in \[0, 1\), got nan$"),
        ({"quantile": 1.5}, r"^quantile must lie in \[0, 1\], got 1\.5$"),
        ({"margin": 1}, r"^margin must lie in \[0, 1\), got 1$"),
        ({"positions": 0}, r"^positions must lie in \[1, inf\), got 0$"),
        ({"rule": "none"}, r"^rule must be a rule of lambda_star\.updates, such as updates\.none\(\), got 'none'$"),
        ({"adapt": True, "stop_above": 0.1}, r"^stop_above must be None where adapt is True, got 0\.1; give one"),
    ],
)
def test_options_outside_their_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SafetyMonitor(**{"clip": 5.0} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lam": 1.2}, r"^base must be given unless the teacher is an ExtrapolatedTeacher, got None$"),
        ({"base": llama()}, r"^lam must be given unless the teacher is an ExtrapolatedTeacher, got None$"),
        (
            {"base": llama(), "lam": 1.2, "adapt": True},
            r"^adapt must be False unless the teacher is an ExtrapolatedTeacher, got True$",
        ),
        (
            {"teacher": ExtrapolatedTeacher(llama(), llama(), 1.2), "lam": 1.2},
            r"^lam must be given unless the teacher is an ExtrapolatedTeacher, got a float$",
        ),
    ],
)
def test_teacher_base_and_lam_are_given_once(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    trainer = distil(tmp_path, llama(), Reporter())
    monitor = SafetyMonitor(clip=5.0, **options)
    with pytest.raises(ValueError, match=message):
        monitor.attach(trainer)
    assert monitor not in trainer.callback_handler.callbacks


def test_a_trainer_without_teacher_needs_one(tmp_path: Path) -> None:
    trainer = distil(tmp_path, llama(), Reporter())
    trainer.teacher_model = None
    with pytest.raises(ValueError, match=r"^teacher must be given where the trainer has none, got None$"):
        SafetyMonitor(base=llama(), lam=1.2, clip=5.0).attach(trainer)


def test_a_monitor_watches_one_trainer_and_must_be_attached(tmp_path: Path) -> None:
    monitor = SafetyMonitor(base=llama(), lam=1.2, clip=5.0)
    trainer = distil(tmp_path, llama(), Reporter())
    trainer.add_callback(monitor)
    with pytest.raises(RuntimeError, match=r"call monitor\.attach\(trainer\) instead$"):
        trainer.train()
    monitor.attach(trainer)
    assert [callback is monitor for callback in trainer.callback_handler.callbacks].count(True) == 1
    assert trainer.callback_handler.callbacks[0] is monitor
    with pytest.raises(ValueError, match=r"^trainer must be the first one of this monitor, got <"):
        monitor.attach(trainer)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"pixel_values": 0, "completion_ids": 0}, r"^inputs must be text alone, got pixel_values$"),
        ({"input_ids": 0, "attention_mask": 0}, r"^inputs must hold completion_ids or labels, got input_ids, att"),
    ],
)
def test_batches_of_another_kind_are_refused(tmp_path: Path, inputs: dict[str, Any], message: str) -> None:
    trainer = distil(tmp_path, llama(), Reporter())
    trainer.compute_loss = lambda *_args, **_options: torch.tensor(0.0)
    monitor = SafetyMonitor(base=llama(), lam=1.2, clip=5.0).attach(trainer)
    trainer.model.train()
    trainer.compute_loss(trainer.model, inputs)
    with pytest.raises(ValueError, match=message):
        monitor.on_log(trainer.args, trainer.state, trainer.control, logs={"loss": 0.0}, model=trainer.model)


def test_a_batch_in_which_nothing_counts_adds_no_shares(tmp_path: Path) -> None:
    trainer = distil(tmp_path, llama(), Reporter())
    trainer.compute_loss = lambda *_args, **_options: torch.tensor(0.0)
    monitor = SafetyMonitor(base=llama(), lam=1.2, clip=5.0, stop_above=0.1).attach(trainer)
    trainer.model.train()
    ids = torch.full((2, 4), 3)
    trainer.compute_loss(
        trainer.model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.full((2, 4), -100)}
    )
    logs = {"loss": 0.0}
    control = monitor.on_log(trainer.args, trainer.state, trainer.control, logs=logs, model=trainer.model)
    assert logs == {"loss": 0.0, f"{PREFIX}lam": 1.2, f"{PREFIX}positions": 0.0, f"{PREFIX}not_judged": 0.0}
    assert not control.should_training_stop


# A monitor from a report


def rehearsed(lam: float, valid: bool = True) -> Rehearsal:
    answers = [Answer(at, index, 0, "[]", 2, True, valid or at == 1) for at in (1.0, lam) for index in range(100)]
    return Rehearsal({"rule": None}, tuple(answers))


def test_a_monitor_takes_its_settings_from_a_report() -> None:
    made = report(rule="none()", contract="regex:[0-9]+", quantile=0.05, margin=0.2)  # a quantile of answers
    monitor = SafetyMonitor.from_report(made, teacher=llama(1.5, seed=1), base=llama(seed=2))
    assert (monitor.clip, monitor.rule, monitor.quantile, monitor.margin) == (5.0, updates.none(), 0.01, 0.2)
    assert monitor.lam == decide(made).set_lam == 1.12
    assert monitor.valid is not None
    assert [monitor.valid(text) for text in ("12", "w2")] == [True, False]
    assert SafetyMonitor.from_report(made, lam=1.5, clip=3.0, quantile=0.5).clip == 3.0
    assert SafetyMonitor.from_report(report()).contract is json_structure
    assert SafetyMonitor.from_report(report(contract="python:os.system")).contract is None
    by_rehearsal = SafetyMonitor.from_report(report(rule=None, dies=None), rehearsed(1.5), base=llama())
    assert (by_rehearsal.lam, by_rehearsal.rule) == (1.5, updates.none())
    with pytest.raises(ValueError, match="lam must be given where the report sets none"):
        SafetyMonitor.from_report(report(operating=NEVER), base=llama())


@pytest.mark.parametrize(("lam", "safety"), [(1.1, "safe"), (1.5, "unknown")])
def test_the_verdict_on_the_lambda_in_use_is_told(
    lam: float, safety: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = distil(tmp_path, llama(1.5, seed=1), Reporter())
    levels: dict[str, Any] = {"quantiles": {"0.0": 1.1, "0.01": 1.155, "0.9": 1.7}, "used": 3000}
    monitor = SafetyMonitor.from_report(report(**levels), base=llama(seed=2), lam=lam, contract=None).attach(trainer)
    assert monitor.verdict == decide(report(), lam=lam)
    assert monitor.verdict.safety == safety
    assert [record.getMessage() for record in caplog.records] == ([] if safety == "safe" else [str(monitor.verdict)])
    # 256 positions are those of about 26 answers, of which 1 % (or 90 %) may be past λ*.
    answers, share = 26, 0.01 if safety == "safe" else 0.9
    if share == 0.9:
        assert monitor.stop_above is None
        return
    assert monitor.stop_above is not None
    count = round(monitor.stop_above * answers)
    assert binom.sf(count, answers, share) <= 1e-6 < binom.sf(count - 1, answers, share)


def test_a_monitor_keeps_its_own_stop_limit_and_its_extrapolated_teacher(tmp_path: Path) -> None:
    teacher = ExtrapolatedTeacher.from_report(llama(1.5, seed=1), llama(seed=2), report(), rehearsed(1.5))
    monitor = SafetyMonitor.from_report(report(), rehearsed(1.5), contract=None, stop_above=0.25)
    monitor.attach(distil(tmp_path, teacher, Reporter()))
    assert monitor.verdict is not None
    assert (monitor.verdict.safety, monitor.lam, monitor.stop_above) == ("safe", 1.5, 0.25)


@pytest.mark.slow
def test_a_run_logs_how_far_it_is_from_its_rehearsal(tmp_path: Path) -> None:
    base = llama(0.1, seed=2)
    reporter = Reporter()
    trainer = distil(tmp_path, llama(1.5, seed=1), reporter, max_steps=12, learning_rate=0.05)
    SafetyMonitor(base=base, lam=RUN_LAM, clip=CLIP).attach(trainer)
    trainer.train()
    seen = [metrics["tail_over_predicted"] for metrics in reporter.metrics]
    assert seen[0] > seen[-1] > 0
