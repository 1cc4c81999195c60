"""Rehearse students, lock what the rehearsal says of each, train them on policy, and judge what came of it.

    python students.py lift --rehearse    # the predicted students' answers, in rehearsed/
    python students.py lift --lock        # one record for each student, in results/language_model; commit them now
    python students.py lift               # train and judge every student that has no outcome

Every student starts at the base and takes real steps of ``opd_loss`` over the whole vocabulary on its own sampled
answers to new questions. The rate falls to zero. A run that was cut off goes on where its state was last saved.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import letters
import split
import torch
from parts import PARTS, Part
from split import lm
from torch import Tensor

from lambda_star import updates
from lambda_star.cliff import record as records
from lambda_star.torch.predicted import predicted_student
from lambda_star.torch.prompts import Prompt
from lambda_star.torch.sampling import exponential
from lambda_star.torch.step import opd_loss

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "results" / "language_model"
SOURCES = [HERE / f"{name}.py" for name in ("letters", "split", "students")]
NEAR = 1.5
"""A student has arrived when its median tail is within this factor of the predicted one."""
HELD_OUT = 48
"""Number of the held-out questions on whose answers the tails are measured."""
LOOK = 10
"""Steps between two looks at the tail; a round is a multiple of them."""
VOCABULARY = 49_152
BETAS = (0.9, 0.99)
"""AdamW's decay rates."""
DRAW = 7
"""Seed of the random numbers with which every judged answer is drawn, rehearsed or trained."""


class Student(NamedTuple):
    """One student of a part."""

    part: str
    lam: float
    clip: float | None
    seed: int

    @property
    def rule(self) -> updates.Rule:
        """Its update rule."""
        return updates.none() if self.clip is None else updates.log_ratio_cap(self.clip)

    @property
    def name(self) -> str:
        """The name of its record."""
        cap = "" if PARTS[self.part].clips == (None,) else "-free" if self.clip is None else "-capped"
        return f"{self.part}{cap}-{self.lam:g}-{self.seed}"

    @property
    def path(self) -> Path:
        """Its record."""
        return RESULTS / f"{self.name}.json"

    @property
    def settings(self) -> dict[str, Any]:
        """What its run depends on besides the seed."""
        part = {
            name: value for name, value in asdict(PARTS[self.part]).items() if name not in ("lams", "clips", "seeds")
        }
        fixed = {"near": NEAR, "held_out": HELD_OUT, "draw": DRAW, "cut": split.CUT, "rank": split.RANK, "betas": BETAS}
        return {**part, **fixed, "part": self.part, "lam": self.lam, "clip": self.clip}


def students(name: str) -> Iterator[Student]:
    """Yield the students of a part, seed by seed."""
    part = PARTS[name]
    return (Student(name, lam, clip, seed) for seed in part.seeds for lam in part.lams for clip in part.clips)


class Models:
    """Teacher and base of a task, the plain model, and the tokenizer."""

    def __init__(self, task: str) -> None:
        self.task, self.tokenizer, self.plain = task, lm.load_tokenizer(), lm.load_plain_model()
        self.plain.to(torch.get_default_device())
        self.teacher, self.base = (split.merged(HERE / f"{task}_{name}", self.plain) for name in ("teacher", "base"))
        self.end = int(self.tokenizer.eos_token_id)

    def student(self) -> Any:
        """Return a new student, which is the base."""
        return split.trained(HERE / f"{self.task}_base", self.plain)

    def prompts(self, name: str, numbers: range) -> list[str]:
        """Return questions of a split."""
        return [letters.make_prompt(self.task, name, number) for number in numbers]

    def ids(self, texts: list[str]) -> Tensor:
        """Return the tokens of prompts, which all have one length."""
        return torch.tensor([self.tokenizer(text)["input_ids"] for text in texts])

    def guess(self, asked: list[str]) -> Tensor:
        """Return the tokens of likely answers of the full room: the letters asked for, or those from the start on."""
        rows = []
        for text in asked:
            start = letters.asked(text)
            later = letters.LETTERS[letters.LETTERS.index(start[0]) :]
            tokens = self.tokenizer(letters.target(start if self.task == "copy" else list(later)))["input_ids"]
            rows.append((tokens + [self.end] * letters.ROOM[self.task])[: letters.ROOM[self.task]])
        return torch.tensor(rows)

    @cached_property
    def held_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """The trunk's output on held-out answers, a mask of the places that decide, and the teacher's logits there.

        For "copy" these are the places of the five letters of the right answer; for "open" those after each letter of a
        list, where it goes on or ends.
        """
        asked = self.prompts("held-out", range(HELD_OUT))
        rng = random.Random("held-out")
        lists = [
            letters.asked(one) if self.task == "copy" else letters.open_letters(one, rng, 0.15, 1.0)[:6]
            for one in asked
        ]
        rows = [self.tokenizer(letters.target(one))["input_ids"] for one in lists]
        width, prompts = max(map(len, rows)), self.ids(asked)
        padded = torch.tensor([row + [self.end] * (width - len(row)) for row in rows])
        hidden = split.trunk(self.plain, torch.cat([prompts, padded[:, :-1]], dim=1))
        first = 1 if self.task == "copy" else 2  # letters stand at 1, 3, 5, ...; what follows them at 2, 4, 6, ...
        mask = torch.zeros(hidden.shape[:2], dtype=torch.bool)
        for row, tokens in enumerate(rows):
            mask[row, prompts.shape[1] - 1 + first : prompts.shape[1] - 1 + len(tokens) : 2] = True
        with torch.no_grad():
            return hidden, mask, split.logits(self.teacher, hidden, mask)


@torch.no_grad()
def tails(models: Models, rule: updates.Rule | None, lam: float, model: Any = None) -> list[float]:
    """Return 1−q of the teacher's modal token at the held-out places, of a model or of the predicted student."""
    hidden, mask, row_t = models.held_out
    modal = row_t.argmax(dim=1, keepdim=True)
    if model is not None:
        rows = split.logits(model, hidden, mask)
    elif rule is None:
        raise ValueError("rule must be given where no model is")
    else:
        row_b = split.logits(models.base, hidden, mask)
        rows = predicted_student(rule)(row_t, row_b, torch.full((len(row_t),), lam, dtype=torch.float64))
    others = torch.log_softmax(rows.double(), dim=1).exp().scatter(1, modal, 0.0).sum(dim=1)
    return [float(f"{tail:.6g}") for tail in others]


def rehearsed(student: Student) -> Path:
    """Return the file of the rehearsal of a student's rule."""
    return HERE / "rehearsed" / f"{student.part}-{'free' if student.clip is None else 'capped'}.jsonl"


def measures(task: str) -> dict[str, Any]:
    """Return the metrics of a task's answers, as functions of text and prompt."""
    if task == "copy":
        return {"right": letters.right}
    return {"tau": lambda text, prompt: letters.tau(text)}


def rehearse_all(name: str, models: Models) -> None:
    """Sample the predicted students of a part at every λ and under every rule."""
    from lambda_star.torch.rehearsing import rehearse

    part = PARTS[name]
    texts = models.prompts(part.split, range(part.judged))
    for student in {one.rule: one for one in students(name)}.values():
        path = rehearsed(student)
        path.parent.mkdir(exist_ok=True)
        rehearse(
            models.teacher,
            models.base,
            [Prompt(text, plain=True) for text in texts],
            part.lams,
            rule=student.rule,
            contract="json",
            metrics=measures(part.task),
            seed=DRAW,
            batch=100,
            max_tokens=letters.ROOM[part.task],
            path=path,
            tokenizer=models.tokenizer,
        )


def predict(student: Student, models: Models) -> dict[str, Any]:
    """Say what the student will be: the rehearsed measures with their intervals, and the median tail."""
    from lambda_star.rehearsal import read_rehearsal  # training must run where the statistics are not installed

    found = read_rehearsal(rehearsed(student))
    point = next(one for one in found.curve if one.lam == student.lam)
    if point.answers != PARTS[student.part].judged:
        raise SystemExit(f"{rehearsed(student)} must hold all answers at λ = {student.lam:g}; run --rehearse first")
    adapters = {
        name: hashlib.sha256((HERE / f"{models.task}_{name}" / "adapter_model.safetensors").read_bytes()).hexdigest()
        for name in ("base", "teacher")
    }
    ends = {name: statistics.median(tails(models, None, 1.0, getattr(models, name))) for name in ("base", "teacher")}
    return {
        "adapters": adapters,
        "rehearsal": hashlib.sha256(rehearsed(student).read_bytes()).hexdigest(),
        "valid": [point.valid, point.low, point.high],
        "change_valid": [point.change, point.change_low, point.change_high],
        "metrics": {name: list(metric) for name, metric in point.metrics.items()},
        "tail": statistics.median(tails(models, student.rule, student.lam)),
        "tail_of": ends,
    }


def lock(name: str, models: Models) -> None:
    """Lock the prediction of every student."""
    for one in students(name):
        said = records.lock(
            one.path, partial(predict, one, models), settings=one.settings, seed=one.seed, sources=SOURCES
        )
        print(one.name, json.dumps(said["prediction"]), flush=True)


def number(*parts: Any) -> int:
    """Return a seed that depends on all of the parts."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:12], 16)


class Run:
    """The training of one student, with a state that is saved every few steps."""

    def __init__(self, student: Student, models: Models) -> None:
        self.student, self.models, self.part = student, models, PARTS[student.part]
        self.model = models.student()
        self.weights = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=self.part.rate, betas=BETAS, weight_decay=0.0)
        self.kept = HERE / "out" / f"{student.name}.pt"
        self.log: list[list[float]] = []  # step, loss, mean tokens of an answer, share of answers that parse
        self.tails: list[list[float]] = []  # step, median tail
        self.seconds = 0.0
        self.said = statistics.median(tails(models, student.rule, student.lam))
        if self.kept.exists():
            state = torch.load(self.kept, weights_only=True)
            self.model.load_state_dict(state["weights"], strict=False)
            self.optimizer.load_state_dict(state["optimizer"])
            self.log, self.tails, self.seconds = state["log"], state["tails"], state["seconds"]

    def save(self) -> None:
        """Keep the state."""
        self.kept.parent.mkdir(exist_ok=True)
        state = {"weights": self.weights, "optimizer": self.optimizer.state_dict()}
        half = self.kept.with_suffix(".half")
        torch.save(state | {"log": self.log, "tails": self.tails, "seconds": self.seconds}, half)
        half.replace(self.kept)

    def step(self) -> None:
        """Take one step on fresh answers to fresh questions."""
        begin, done, models = time.perf_counter(), len(self.log), self.models
        for group in self.optimizer.param_groups:
            group["lr"] = self.part.rate * (1 - done % self.part.steps / self.part.steps) * min(1.0, (done + 1) / 5)
        first = done * self.part.batch
        texts = models.prompts(f"distil {self.student.seed}", range(first, first + self.part.batch))
        prompts = models.ids(texts)
        guess = models.guess(texts)
        noise = torch.empty(*guess.shape, VOCABULARY)
        noise.exponential_(
            generator=torch.Generator(noise.device).manual_seed(number("noise", self.student.seed, done))
        )
        answers, hidden = split.sample(self.model, prompts, guess, models.end, noise)
        keep = split.answer_mask(answers, prompts.shape[1], models.end)
        with torch.no_grad():
            row_t, row_b = (split.logits(model, hidden, keep) for model in (models.teacher, models.base))
        loss = opd_loss(split.logits(self.model, hidden, keep), row_t, row_b, self.student.lam, clip=self.student.clip)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        texts, cut = read(models, answers)
        good = sum(letters.parse_answer(text) is not None for text in texts) - len(cut)
        self.seconds += time.perf_counter() - begin
        self.log.append([done + 1, round(loss.item(), 5), keep.sum().item() / len(texts), good / len(texts)])

    def look(self) -> None:
        """Measure the median tail."""
        seen = statistics.median(tails(self.models, None, self.student.lam, self.model))
        self.tails.append([len(self.log), seen])
        print(self.student.name, *self.log[-1], f"tail {seen:.4g} of {self.said:.4g}, {self.seconds:.0f} s", flush=True)

    def is_over(self) -> bool:
        """Tell whether a round is complete that is the last one, or after which the tail is near the predicted one."""
        if not self.log or len(self.log) % self.part.steps:
            return False
        near = self.said / NEAR <= self.tails[-1][1] <= self.said * NEAR
        return near or len(self.log) >= self.part.rounds * self.part.steps

    def train(self) -> None:
        """Take all steps."""
        while not self.is_over():
            self.step()
            if len(self.log) % LOOK == 0:
                self.look()
                self.save()


def read(models: Models, answers: Tensor) -> tuple[list[str], list[int]]:
    """Return the texts of answers, and the numbers of those that did not end."""
    rows = answers.tolist()
    cut = [number for number, row in enumerate(rows) if models.end not in row]
    bodies = [row[: row.index(models.end)] if models.end in row else row for row in rows]
    return [models.tokenizer.decode(body, clean_up_tokenization_spaces=False) for body in bodies], cut


def judge(models: Models, model: Any, part: Part, chunk: int = 40) -> dict[str, Any]:
    """Return the answers to the judged questions, drawn with the random numbers of the rehearsal."""
    texts: list[str] = []
    cut: list[int] = []
    for first in range(0, part.judged, chunk):
        asked = models.prompts(part.split, range(first, min(first + chunk, part.judged)))
        guess = models.guess(asked)
        noise = torch.empty(*guess.shape, VOCABULARY)
        for row, places in enumerate(noise):
            for place, line in enumerate(places):
                exponential(line, DRAW, first + row, place)
        answers, _ = split.sample(model, models.ids(asked), guess, models.end, noise)
        found, unended = read(models, answers)
        texts += found
        cut += [first + number for number in unended]
    return {"answers": texts, "cut": cut}


def run(name: str, models: Models, only: str) -> None:
    """Train and judge every student of a part that is locked and has no outcome."""
    for student in students(name):
        if only not in student.name or "outcome" in records.read(student.path):
            continue
        record = records.lock(student.path, dict, settings=student.settings, seed=student.seed, sources=SOURCES)
        record = records.attempt(student.path, record, sources=SOURCES)
        training = Run(student, models)
        training.train()
        seen = judge(models, training.model, PARTS[name])
        steps = {"log": training.log, "tails": training.tails, "seconds": round(training.seconds)}
        last = tails(models, None, student.lam, training.model)
        records.conclude(student.path, record, {**steps, **seen, "tail": statistics.median(last)})
        print(student.name, "done", flush=True)


def pilot(name: str, models: Models, lam: float) -> None:
    """Train a student under the first rule of a part with a seed of its own, and print how its tail moves."""
    Run(Student(name, lam, PARTS[name].clips[0], 90), models).train()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--rehearse", action="store_true", help="sample the predicted students")
    parser.add_argument("--lock", action="store_true", help="lock the predictions")
    parser.add_argument("--pilot", type=float, metavar="λ", help="train a student with seed 90, and keep no record")
    parser.add_argument("--only", default="", help="train only the students with this in their names")
    parser.add_argument("--device", default="cpu", help="where to train; other devices draw other random numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.device != "cpu":  # a default device makes every call a little slower
        torch.set_default_device(args.device)
    models = Models(PARTS[args.part].task)
    if args.rehearse:
        rehearse_all(args.part, models)
    if args.lock:
        lock(args.part, models)
    if args.pilot is not None:
        pilot(args.part, models, args.pilot)
    if not (args.rehearse or args.lock or args.pilot is not None):
        run(args.part, models, args.only)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
