"""The extrapolated teacher: its logits against a mixture by hand, and its loss and gradients in TRL's trainers."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import lambda_star as ls

# importorskip also keeps the warning that the experimental trainers give on import from ending the collection.
pytest.importorskip("trl.experimental.gkd", reason="the teacher is made for TRL: pip install 'lambda-star[trl]'")

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MptConfig,
    MptForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
)
from trl.experimental.utils import DataCollatorForChatML

from lambda_star.torch.adapters import without_adapters
from lambda_star.torch.teacher import ExtrapolatedTeacher
from tests.night import thinned
from tests.verdict.cases import CAP, report

# They are untyped, because their annotations demand a PreTrainedModel as teacher and a scheduler of the optimizer.
trl: Any = import_module("trl")
gkd: Any = import_module("trl.experimental.gkd")

# TRL's settings always use a name that the newest transformers deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")

VOCABULARY = 64
CLOSE = 1e-6
CLIP = 1.05
LAMS = (0.5, 1.0, 1.25, 2.0)
BETAS = (0.0, 0.5, 1.0)


# Models


def sizes(width: int = 16, **more: Any) -> dict[str, Any]:
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": VOCABULARY}
    special = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1, "initializer_range": 0.2}
    return {"hidden_size": width, "intermediate_size": 2 * width} | shape | special | more


def spread(model: Any, scale: float = 0.2) -> Any:
    """Draw the head so that logits spread by about 1, which is uneven but lets float32 resolve 1e-6."""
    head = model.get_output_embeddings()
    nn.init.normal_(head.weight, std=scale)
    if head.bias is not None:
        nn.init.normal_(head.bias, std=scale)
    return model.eval()


def llama(width: int = 16, **more: Any) -> Any:
    return spread(LlamaForCausalLM(LlamaConfig(**sizes(width, **more))))


def phi(width: int = 32) -> Any:
    return spread(PhiForCausalLM(PhiConfig(**sizes(width))))


def cohere() -> Any:
    return spread(CohereForCausalLM(CohereConfig(**sizes(logit_scale=0.25))), 1.2)


def granite() -> Any:
    return spread(GraniteForCausalLM(GraniteConfig(**sizes(logits_scaling=4.0))), 1.2)


PAIRS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "same width": lambda: (llama(), llama()),
    "two widths": lambda: (llama(32), llama(16)),
    "tied": lambda: (llama(tie_word_embeddings=True), llama(24, tie_word_embeddings=True)),
    "bias in the teacher": lambda: (phi(), llama()),
    "bias in both": lambda: (phi(16), phi(32)),
    "logit_scale": lambda: (cohere(), llama()),
    "logits_scaling": lambda: (llama(), granite()),
}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return PAIRS[request.param]()


def tokens(count: int = 7) -> dict[str, Tensor]:
    """Draw two rows of tokens; the first is padded on the left."""
    mask = torch.ones(2, count, dtype=torch.long)
    mask[0, :2] = 0
    return {"input_ids": torch.randint(2, VOCABULARY, (2, count)) * mask, "attention_mask": mask}


# The mixture, by hand


def operating_lam(z_t: Tensor, z_b: Tensor, lam: float, clip: float | None, margin: float = 0.1) -> float:
    """Compute λ of one position from the modal probabilities in float64."""
    if clip is None or lam <= 1:
        return lam
    modal = int(z_t.argmax())
    p, b = (float(z.double().softmax(-1)[modal]) for z in (z_t, z_b))
    return min(lam, float(ls.operating_point(p, b, clip, margin)))


def by_hand(
    teacher: Any, base: Any, inputs: dict[str, Tensor], lam: float, clip: float | None = None
) -> tuple[Tensor, Tensor]:
    """Compute λ z_T + (1−λ) z_B in float64, and λ position by position."""
    with torch.no_grad():
        z_t, z_b = (model(**inputs).logits.double() for model in (teacher, base))
    rows = zip(z_t.flatten(0, 1), z_b.flatten(0, 1), strict=True)
    found = torch.tensor([operating_lam(*row, lam, clip) for row in rows], dtype=torch.float64)
    lams = found.reshape(*z_t.shape[:-1], 1)
    return lams * z_t + (1 - lams) * z_b, lams


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("clip", [None, CLIP])
def test_logits_are_the_mixture(pair: tuple[Any, Any], lam: float, clip: float | None) -> None:
    inputs = tokens()
    expected, lams = by_hand(*pair, inputs, lam, clip)
    mixture = ExtrapolatedTeacher(*pair, lam, clip=clip)
    assert (mixture(**inputs).logits - expected).abs().max() < CLOSE * expected.abs().max()
    assert (lams <= lam).all()
    assert (lams == lam).all() or (clip is not None and lam > 1)


def test_hidden_states_times_head_are_the_logits(pair: tuple[Any, Any]) -> None:
    inputs = tokens()
    mixture = ExtrapolatedTeacher(*pair, 2.0, clip=CLIP)
    head = mixture.get_output_embeddings()
    hidden = mixture.base_model(**inputs, use_cache=False).last_hidden_state
    expected, _ = by_hand(*pair, inputs, 2.0, CLIP)
    assert head.bias is None
    assert hidden.shape[-1] == head.weight.shape[1] == mixture.config.hidden_size
    assert (hidden @ head.weight.T - expected).abs().max() < CLOSE * expected.abs().max()


def test_the_cap_is_the_operating_point_of_each_position(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, base = PAIRS["two widths"]()
    inputs = tokens(50)
    mixture = ExtrapolatedTeacher(teacher, base, 1.4, clip=CLIP, margin=0.1)
    features = [part(**inputs) for part in (mixture.mixture.teacher, mixture.mixture.base)]
    found = torch.as_tensor(mixture.mixture._coefficients(*features))
    expected = by_hand(teacher, base, inputs, 1.4, CLIP)[1]
    print(f"\nλ_t over {found.numel()} positions: {found.min():.3f} to {found.max():.3f}, error", end=" ")
    print(f"{float((found - expected).abs().max()):.1e}")
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE, check_dtype=False)
    assert 0 < (expected == 1.4).sum() < expected.numel()  # the cap binds at some positions only
    monkeypatch.setattr("lambda_star.torch.teacher.BLOCK", 3 * VOCABULARY)  # blocks of three positions
    torch.testing.assert_close(mixture.mixture._coefficients(*features), found, rtol=1e-6, atol=0)


@pytest.mark.parametrize("options", [{"clip": math.inf}, {"clip": None}])
def test_lam_is_used_everywhere_without_a_cap(options: dict[str, Any]) -> None:
    teacher, base = PAIRS["same width"]()
    inputs = tokens()
    expected, _ = by_hand(teacher, base, inputs, 2.0)
    found = ExtrapolatedTeacher(teacher, base, 2.0, **options)(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, check_dtype=False)


@pytest.mark.parametrize("clip", [None, CLIP])
def test_logits_to_keep_cuts_the_front(clip: float | None) -> None:
    teacher, base = PAIRS["two widths"]()
    mixture, inputs = ExtrapolatedTeacher(teacher, base, 1.4, clip=clip), tokens()
    whole = mixture(**inputs).logits
    torch.testing.assert_close(mixture(**inputs, logits_to_keep=3).logits, whole[:, -3:])
    torch.testing.assert_close(mixture(**inputs, logits_to_keep=torch.tensor([1, 4])).logits, whole[:, [1, 4]])


def test_nothing_has_a_gradient_and_evaluation_mode_stays() -> None:
    teacher, base = (llama(attention_dropout=0.5).train() for _ in range(2))
    mixture, inputs = ExtrapolatedTeacher(teacher, base, 1.25), tokens()
    assert not any(module.training for module in mixture.train().modules())
    assert not any(parameter.requires_grad for parameter in mixture.parameters())
    assert torch.equal(mixture(**inputs).logits, mixture(**inputs).logits)
    assert not mixture(**inputs).logits.requires_grad


def test_half_precision_stays_half_precision() -> None:
    teacher, base = (model.to(torch.bfloat16) for model in PAIRS["two widths"]())
    mixture, inputs = ExtrapolatedTeacher(teacher, base, 1.4, clip=CLIP), tokens()
    hidden = mixture.base_model(**inputs).last_hidden_state
    assert hidden.dtype == mixture.get_output_embeddings().weight.dtype == torch.bfloat16
    expected, _ = by_hand(teacher, base, inputs, 1.4, CLIP)
    assert (mixture(**inputs).logits - expected).abs().max() < 0.02 * expected.abs().max()


def test_heads_are_not_copied() -> None:
    teacher, base = PAIRS["tied"]()
    held = {parameter.data_ptr() for model in (teacher, base) for parameter in model.parameters()}
    mixture = ExtrapolatedTeacher(teacher, base, 1.25, clip=CLIP)
    mixture(**tokens())
    assert {parameter.data_ptr() for parameter in mixture.parameters()} == held
    assert {buffer.data_ptr() for buffer in mixture.buffers()} <= {
        buffer.data_ptr() for model in (teacher, base) for buffer in model.buffers()
    }
    assert [*mixture.children()] == [mixture.mixture]
    assert not any(isinstance(value, Tensor) for module in mixture.modules() for value in vars(module).values())


def test_the_configuration_has_nothing_for_trl_to_apply() -> None:
    config = ExtrapolatedTeacher(cohere(), granite(), 1.25).config.get_text_config()
    assert config.vocab_size == VOCABULARY
    names = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling", "final_logit_softcapping")
    assert all(getattr(config, name, None) is None for name in names)


def test_a_teacher_with_adapters() -> None:
    peft = pytest.importorskip("peft", reason="adapters need PEFT")
    adapters = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    teacher, base, inputs = peft.get_peft_model(llama(), adapters), llama(), tokens()
    expected, _ = by_hand(teacher, base, inputs, 1.25)
    found = ExtrapolatedTeacher(teacher, base, 1.25)(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5, check_dtype=False)


# What is refused


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lam", -0.1, r"lam must lie in \[0, inf\), got -0.1"),
        ("lam", math.inf, r"lam must lie in \[0, inf\), got inf"),
        ("lam", math.nan, r"lam must lie in \[0, inf\), got nan"),
        ("clip", 0.99, r"clip must lie in \[1, inf\], got 0.99"),
        ("clip", math.nan, r"clip must lie in \[1, inf\], got nan"),
        ("margin", 1.0, r"margin must lie in \[0, 1\), got 1.0"),
        ("margin", -0.5, r"margin must lie in \[0, 1\), got -0.5"),
        ("base", None, "base must be a causal language model, got None"),
        ("teacher", None, "teacher must be a causal language model, got None"),
        ("base", lambda: llama(vocab_size=65), "base must have the teacher's vocabulary size, 64, got 65"),
        ("base", lambda: llama().double(), "base must have the teacher's dtype, torch.float32, got torch.float64"),
        ("base", lambda: LlamaModel(LlamaConfig(**sizes())), "base must have output embeddings, got LlamaModel"),
        ("teacher", "a/name", "teacher must have output embeddings, got str"),
        (
            "teacher",
            lambda: Gemma2ForCausalLM(Gemma2Config(**sizes(head_dim=8))),
            r"teacher must have no soft cap on its logits, got final_logit_softcapping=30.0: .* is not linear",
        ),
        (
            "base",
            lambda: MptForCausalLM(MptConfig(vocab_size=64, d_model=16, n_heads=2, n_layers=1, logit_scale=0.5)),
            "base must have logits that are its output embedding times its last hidden state, .* got 0.5",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(name: str, value: Any, message: str) -> None:
    arguments = {"teacher": llama(), "base": llama(), "lam": 1.25}
    value = value() if callable(value) else value
    with pytest.raises(ValueError, match=message):
        ExtrapolatedTeacher(**(arguments | {name: value}))


@pytest.mark.parametrize("name", ["teacher", "base"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["lm_head.weight", "model.layers.0.mlp.up_proj.weight"])
def test_weights_that_are_not_finite_are_refused(name: str, value: float, where: str) -> None:
    arguments = {"teacher": llama(), "base": llama(), "lam": 1.25}
    with torch.no_grad():
        arguments[name].get_parameter(where)[0, 3] = value
    with pytest.raises(ValueError, match=f"^{name} must have finite weights, got NaN or an infinity in {where}; its "):
        ExtrapolatedTeacher(**arguments)


def test_logits_that_are_nan_are_refused() -> None:
    class Broken(LlamaForCausalLM):
        def forward(self, *inputs: Any, **options: Any) -> Any:
            found = super().forward(*inputs, **options)
            found.logits = found.logits * math.nan
            return found

    with pytest.raises(
        ValueError, match=r"^base must have logits that are its output embedding .* got nan \(Broken\)$"
    ):
        ExtrapolatedTeacher(llama(), spread(Broken(LlamaConfig(**sizes()))), 1.25)


SAME = r"^base must be another model than the teacher, got the same weights: then .* no λ changes anything$"


def test_one_model_as_teacher_and_base_is_refused() -> None:
    model, shared = llama(), llama()
    for name, weight in model.named_parameters():
        shared.get_submodule(name.rpartition(".")[0]).register_parameter(name.rpartition(".")[2], weight)
    for base in (model, shared):
        with pytest.raises(ValueError, match=SAME):
            ExtrapolatedTeacher(model, base, 1.25)


def test_an_adapter_and_the_model_inside_it_are_one_model() -> None:
    peft = pytest.importorskip("peft", reason="adapters need PEFT")
    model = llama()
    teacher = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    with pytest.raises(ValueError, match=SAME):
        ExtrapolatedTeacher(teacher, model, 1.25)
    same: Any = without_adapters(teacher)
    with pytest.raises(ValueError, match=SAME):
        ExtrapolatedTeacher(same, without_adapters(teacher), 1.25)


def test_a_model_put_in_training_mode_is_the_student() -> None:
    teacher, base = llama(), llama()
    mixture = ExtrapolatedTeacher(teacher, base, 1.25)
    base.train()
    message = r"^base must be a model that nothing trains, got one in training mode, so it is the student"
    for use in (mixture.eval, lambda: mixture(**tokens())):
        with pytest.raises(ValueError, match=message):
            use()
    base.eval()
    assert mixture(**tokens()).logits.isfinite().all()


# Parameters cut into shards


SHARDS = r"^{} must have whole parameters on every device, got shards of {}: .* Use DDP, or ZeRO stage 1 or 2$"


@pytest.mark.parametrize("name", ["teacher", "base"])
def test_zero_3_is_refused(name: str) -> None:
    arguments = {"teacher": llama(), "base": llama(), "lam": 1.25}
    for weight in arguments[name].parameters():
        weight.ds_id = 0  # as DeepSpeed marks a parameter that it has partitioned
    with pytest.raises(ValueError, match=SHARDS.format(name, "DeepSpeed ZeRO-3")):
        ExtrapolatedTeacher(**arguments)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """Start a group of one process, in which FSDP runs on a CPU."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("version", "original"), [(1, True), (1, False), (2, True)])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_fsdp_is_refused_before_and_after_the_teacher_is_made(version: int, original: bool) -> None:
    fsdp: Any = import_module("torch.distributed.fsdp")

    def shard(model: Any) -> Any:
        if version == 2:
            mesh: Any = import_module("torch.distributed.device_mesh")
            return fsdp.fully_shard(model, mesh=mesh.init_device_mesh("cpu", (1,)))
        return fsdp.FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=original)

    base = llama()
    shard(base)
    with pytest.raises(ValueError, match=SHARDS.format("base", "FSDP")):
        ExtrapolatedTeacher(llama(), base, 1.25)
    mixture = ExtrapolatedTeacher(llama(), llama(), 1.25)
    shard(mixture)  # as accelerate does to the teacher of a trainer
    with pytest.raises(ValueError, match=SHARDS.format("teacher", "FSDP")):
        mixture(**tokens())


def test_two_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no second device, and a model on "meta" cannot run, so the check that would run it is left out.
    monkeypatch.setattr("lambda_star.torch.teacher._Part._refuse_other_logits", lambda *_: None)
    with pytest.raises(ValueError, match="base must have the teacher's device, cpu, got meta"):
        ExtrapolatedTeacher(llama(), llama().to("meta"), 1.25)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "lambda_star.torch.teacher")
    with pytest.raises(ImportError, match=r"^ExtrapolatedTeacher needs .* pip install 'lambda-star\[trl\]'$"):
        import_module("lambda_star.torch.teacher")


# TRL's unmodified trainers


class Step(NamedTuple):
    """The gradients that a trainer's optimizer received, those expected, and the loss."""

    gradients: list[Tensor]
    expected: list[Tensor]
    loss: float


class Recorder(torch.optim.SGD):
    """An optimizer that before each step computes loss and gradients by hand from the batch just used."""

    def __init__(self, student: Any, reference: Callable[[], Tensor]) -> None:
        super().__init__(student.parameters(), lr=0.1)
        self.student, self.reference = student, reference
        self.steps: list[Step] = []

    def step(self, closure: Any = None) -> Any:
        parameters = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        loss = self.reference()
        expected = torch.autograd.grad(loss, parameters)
        gradients = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        self.steps.append(Step(gradients, list(expected), loss.item()))
        return super().step(closure)


def tokenizer() -> Any:
    words = {"<pad>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, VOCABULARY)}
    fast = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    made: Any = PreTrainedTokenizerFast
    return made(tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", padding_side="left", model_max_length=64)


def divergence(z_s: Tensor, z_t: Tensor, beta: float) -> Tensor:
    """Compute the generalised Jensen–Shannon divergence, β KL(t‖m) + (1−β) KL(s‖m) with m = (1−β)s + βt."""
    log_s, log_t = z_s.log_softmax(-1), z_t.log_softmax(-1)
    s, t = log_s.exp(), log_t.exp()
    if beta == 0:
        return (t * (log_t - log_s)).sum(-1)
    if beta == 1:
        return (s * (log_s - log_t)).sum(-1)
    log_m = ((1 - beta) * s + beta * t).log()
    return (beta * t * (log_t - log_m) + (1 - beta) * s * (log_s - log_m)).sum(-1)


class Case(NamedTuple):
    """The settings of a target and of a divergence."""

    lam: float
    beta: float
    clip: float | None = None

    def __str__(self) -> str:
        return f"λ={self.lam:g} β={self.beta:g}" + (f" clip={self.clip:g}" if self.clip else "")


QUICK = [Case(0.5, 0.0), Case(1.0, 0.5), Case(1.25, 1.0), Case(2.0, 0.5), Case(1.25, 0.0, CLIP), Case(2.0, 1.0, CLIP)]
"""Every λ and every β, each λ above 1 with and without a cap: the other pairs are for the night."""

CASES = [
    pytest.param(case, id=str(case), marks=() if case in QUICK else pytest.mark.nightly)
    for case in (Case(lam, beta, clip) for clip in (None, CLIP) for lam in LAMS for beta in BETAS)
    if case.clip is None or case.lam > 1
]


def norm(vectors: list[Tensor], others: list[Tensor] | None = None) -> float:
    """Return the norm of a gradient of many parameters, or of the difference of two."""
    pairs = zip(vectors, others or map(torch.zeros_like, vectors), strict=True)
    return math.sqrt(sum(float(((v - w).double() ** 2).sum()) for v, w in pairs))


def compare(trainer_name: str, case: Case, steps: list[Step], losses: list[float]) -> None:
    """Compare every loss and every gradient of a run with those computed by hand."""
    assert len(steps) == len(losses) == 2
    residual = max(abs(loss - step.loss) for loss, step in zip(losses, steps, strict=True))
    errors = [norm(step.gradients, step.expected) / norm(step.expected) for step in steps]
    figures = (
        f"loss {losses[-1]:.7f}, by hand {steps[-1].loss:.7f}, error {residual:.1e}; gradient off by {max(errors):.1e}"
    )
    print(f"\n{trainer_name} {case}: {figures} of its norm {norm(steps[-1].expected):.3f}", end="")
    assert residual < CLOSE
    assert max(errors) < CLOSE
    assert min(norm(step.expected) for step in steps) > 0.1


ARGUMENTS: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "per_device_train_batch_size": 4,
    "max_steps": 2,
    "logging_steps": 1,
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", thinned(CASES, 2))
def test_distillation_trainer_trains_towards_the_mixture(case: Case, tmp_path: Path) -> None:
    (teacher, base), student = PAIRS["bias in the teacher"](), llama(24)

    def reference() -> Tensor:
        batch = trainer._buffered_inputs[0]
        names = ("prompt", "completion")
        inputs = {
            "input_ids": torch.cat([batch[f"{name}_ids"] for name in names], 1),
            "attention_mask": torch.cat([batch[f"{name}_mask"] for name in names], 1),
        }
        target, lams = by_hand(teacher, base, inputs, case.lam, case.clip)
        capped.append(bool((lams < case.lam).any()))
        here = slice(batch["prompt_ids"].shape[1] - 1, -1)
        each = divergence(student(**inputs).logits.double()[:, here], target[:, here], case.beta)
        mask: Tensor = batch["completion_mask"]
        return (each * mask).sum() / mask.sum()

    capped: list[bool] = []
    optimizer = Recorder(student, reference)
    trainer = trl.DistillationTrainer(
        model=student,
        teacher_model=ExtrapolatedTeacher(teacher, base, case.lam, clip=case.clip),
        args=trl.DistillationConfig(str(tmp_path), beta=case.beta, max_completion_length=6, **ARGUMENTS),
        train_dataset=Dataset.from_dict({"prompt": ["w2 w3", "w4 w5 w6", "w7", "w8 w9 w10 w11"] * 2}),
        processing_class=tokenizer(),
        optimizers=(optimizer, None),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    compare("DistillationTrainer", case, optimizer.steps, losses)
    assert any(capped) == (case.clip is not None)


@pytest.mark.slow
@pytest.mark.parametrize("own_answers", [False, True], ids=["given answers", "own answers"])
@pytest.mark.parametrize("case", thinned(CASES, 3))
def test_gkd_trainer_trains_towards_the_mixture(case: Case, own_answers: bool, tmp_path: Path) -> None:
    (teacher, base), student = PAIRS["bias in the teacher"](), llama(24)

    def reference() -> Tensor:
        inputs, batch = dict(seen), batches[len(optimizer.steps)]
        labels = batch["labels"]
        if own_answers:
            start = batch["prompts"].shape[1]
            counts = inputs["attention_mask"].bool() & (torch.arange(inputs["input_ids"].shape[1]) >= start)
        else:
            counts = labels != -100
        target, lams = by_hand(teacher, base, inputs, case.lam, case.clip)
        capped.append(bool((lams < case.lam).any()))
        each = divergence(student(**inputs).logits.double()[:, :-1], target[:, :-1], case.beta)
        # TRL divides by the number of given tokens even where the student's own answers replace them.
        return (each * counts[:, 1:]).sum() / (labels[:, 1:] != -100).sum()

    def see(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        seen.update({name: inputs[name] for name in ("input_ids", "attention_mask")})

    def collate(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        batches.append(collator(examples))
        return dict(batches[-1])

    words = tokenizer()
    words.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    collator = DataCollatorForChatML(tokenizer=words, max_length=32)
    batches: list[dict[str, Tensor]] = []
    capped: list[bool] = []
    seen: dict[str, Tensor] = {}
    student.register_forward_pre_hook(see, with_kwargs=True)
    optimizer = Recorder(student, reference)
    questions, answers = ["w2 w3", "w4 w5 w6", "w7", "w8 w9 w10 w11"], ["w12 w13 w14", "w15", "w16 w17", "w18 w19 w20"]
    roles = ("user", "assistant")
    messages = [
        [{"role": role, "content": text} for role, text in zip(roles, pair, strict=True)]
        for pair in zip(questions, answers, strict=True)
    ]
    trainer = gkd.GKDTrainer(
        model=student,
        teacher_model=ExtrapolatedTeacher(teacher, base, case.lam, clip=case.clip),
        args=gkd.GKDConfig(str(tmp_path), beta=case.beta, lmbda=float(own_answers), max_new_tokens=5, **ARGUMENTS),
        data_collator=collate,
        train_dataset=Dataset.from_dict({"messages": messages * 2}),
        processing_class=words,
        optimizers=(optimizer, None),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    compare(f"GKDTrainer, {'own' if own_answers else 'given'} answers,", case, optimizer.steps, losses)
    assert any(capped) == (case.clip is not None)


def test_a_teacher_takes_the_lambda_that_is_known_to_be_safe_and_refuses_all_others() -> None:
    teacher, base = llama(), llama()
    assert ExtrapolatedTeacher.from_report(teacher, base, report()).lam == 1.12
    made = ExtrapolatedTeacher.from_report(teacher, base, report(), lam=1.05, clip=CLIP, margin=0.2)
    assert (made.lam, made.mixture.clip, made.mixture.margin) == (1.05, CLIP, 0.2)
    for lam, said in ((1.3, "UNKNOWN λ = 1.3: "), (3.0, "UNKNOWN λ = 3: ")):
        with pytest.raises(ValueError, match=f"lam must be known to be safe, got {lam}; {said}"):
            ExtrapolatedTeacher.from_report(teacher, base, report(), lam=lam)
    with pytest.raises(ValueError, match=r"got 1\.3; UNSAFE λ = 1\.3: "):
        ExtrapolatedTeacher.from_report(teacher, base, report(dies=(1.25, 1.2, 1.28), rule=CAP), lam=1.3)
    with pytest.raises(ValueError, match="got None; UNKNOWN: 12 answers are too few"):
        ExtrapolatedTeacher.from_report(teacher, base, report(answers=12))
