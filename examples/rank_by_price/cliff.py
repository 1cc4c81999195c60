"""Distil the base on policy towards the teacher, one student for each λ of a grid, against a locked prediction.

Before the first step teacher and base are scored on held-out answers of the teacher. From that follow λ* and the
collapse point of every contract position, the validity of the answers, and the tail mass with which a student should
end; this prediction is locked in a file. Then each student starts at the base and takes real steps with the clip, over
the whole vocabulary, on its own sampled answers to new questions. Its answers are judged afterwards and added to the
file. A run that was cut off continues after its last finished student.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import model as lm
import numpy as np
import sample
import task
import torch
import train
from numpy.typing import NDArray

from lambda_star import bernoulli, categorical, sequence
from lambda_star.cliff import onset
from lambda_star.cliff.record import attempt, conclude, lock
from lambda_star.contract import json_structure
from lambda_star.torch.step import opd_loss

HERE = Path(__file__).resolve().parent
LEVELS = (0.01, 0.1, 0.5, 0.9, 0.99)
TOP = 16
"""Number of the most probable tokens of teacher, base and fixed point that get a column of their own."""

REFERENCE = 0.9
"""Validity counts as not fallen up to 1 + 0.9 (λ*−1), with the median λ* of the contract positions."""

GRID = (1.0, 1.1, 1.2, 1.3, 1.6, 2.5)
"""λ of the students."""

DRAWN = 16
"""Number of unlisted tokens that are drawn, to estimate which share of them keeps to the contract."""

FINE = 61
"""Points of the predicted curve."""

HELD_OUT = 48
"""Number of the teacher's last answers on which the prediction is measured; their questions are not judged."""

ROOM, JUDGED_ROOM = 48, 72
"""The most tokens of an answer in training, and in judging."""

SOURCES = sorted(HERE.glob("*.py"))
"""The code that a record's hash covers besides that of the package."""

Floats = NDArray[np.float64]
Pair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Scored:
    """One held-out answer under teacher and base.

    Attributes:
        pair: tokens of prompt and answer.
        log_t: the teacher's log-probabilities of the listed tokens, the modal one first, all unlisted ones last.
        log_b: the same of the base.
        goes: 1 for a token after which the answer can still become valid; for the unlisted tokens their share.
        ends: the same for tokens that end the answer validly.
        places: the contract positions.
        modal: the modal tokens there.
        odds: log-odds of the modal token there under teacher and base.
        teacher: the teacher's log-probabilities there, over the whole vocabulary.
    """

    pair: Pair
    log_t: Floats
    log_b: Floats
    goes: Floats
    ends: Floats
    places: list[int]
    modal: list[int]
    odds: Floats
    teacher: Floats


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records in a file that ``sample.py`` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


# Before the first step: the held-out answers and the prediction.


def answer_logits(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Return the logits that predict each token of the answer: one forward pass, float32 turned to float64."""
    ids = torch.tensor([prompt + answer])
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, logits_to_keep=len(answer) + 1).logits
    return logits[0, :-1].to(torch.float64)


def contract_class(tokenizer: Any, before: list[int], modal: str) -> str:
    """Return the contract class of a position, or empty text outside the contract.

    A position belongs to the contract if the answer so far can still become valid and the teacher's modal token there
    is JSON punctuation, or if the answer is valid as it stands and the modal token ends it.
    """
    text = tokenizer.decode(before, clean_up_tokenization_spaces=False)
    if modal == tokenizer.eos_token:
        return modal if task.is_valid(text) else ""
    return json_structure(modal) or "" if task.is_start(text) else ""


def log_odds(logits: torch.Tensor, tokens: torch.Tensor) -> Floats:
    """Return the log-odds of one token in each row, accurate even where its tail is tiny."""
    others = logits.scatter(1, tokens[:, None], -math.inf)
    odds: Floats = (logits.gather(1, tokens[:, None])[:, 0] - torch.logsumexp(others, dim=1)).numpy()
    return odds


def kept_columns(
    log_t: torch.Tensor, log_b: torch.Tensor, lam: float, generator: torch.Generator
) -> tuple[list[int], list[int], Floats]:
    """Return the listed tokens of one position, some unlisted ones, and the columns of both models.

    Listed are the most probable tokens of teacher, base and the fixed point at λ, the modal token first. All unlisted
    tokens share the last column, and some of them are drawn as the teacher would draw them.
    """
    looks = (log_t, log_b, lam * log_t - (lam - 1) * log_b)
    tokens = list(dict.fromkeys(token for look in looks for token in look.topk(TOP).indices.tolist()))
    unlisted = torch.ones_like(log_t, dtype=torch.bool).scatter(0, torch.tensor(tokens), False)
    some = torch.multinomial(torch.where(unlisted, log_t.exp(), 0.0), DRAWN, replacement=True, generator=generator)
    rows = [torch.cat([log[tokens], log[unlisted].logsumexp(0)[None]]).numpy() for log in (log_t, log_b)]
    return tokens, some.tolist(), np.array(rows)


def fate(tokenizer: Any, before: list[int], token: int) -> tuple[float, float]:
    """Return whether the answer can go on after a token, and whether the token ends it validly."""
    if token == int(tokenizer.eos_token_id):
        return 0.0, float(task.is_valid(tokenizer.decode(before, clean_up_tokenization_spaces=False)))
    return float(task.is_start(tokenizer.decode([*before, token], clean_up_tokenization_spaces=False))), 0.0


def fates(tokenizer: Any, before: list[int], tokens: list[int]) -> Floats:
    """Return two rows for tokens after a text: whether the answer can go on, and whether it ends validly."""
    return np.array([fate(tokenizer, before, token) for token in tokens]).T


def score_held_out(
    models: tuple[Any, Any], tokenizer: Any, record: dict[str, Any], lam: float, generator: torch.Generator
) -> Scored:
    """Score one answer under teacher and base; the unlisted tokens count as the drawn ones among them do."""
    prompt = lm.prompt_tokens(tokenizer, task.make_items(record["split"], record["index"]))
    answer: list[int] = record["tokens"]
    logits = [answer_logits(model, prompt, answer) for model in models]
    log_t, log_b = (torch.log_softmax(each, dim=1) for each in logits)
    modal = log_t.argmax(dim=1)
    classes = [
        contract_class(tokenizer, answer[:place], tokenizer.decode([int(token)])) for place, token in enumerate(modal)
    ]
    places = [place for place, label in enumerate(classes) if label]
    columns = np.full((2, len(answer), 3 * TOP + 1), -math.inf)
    known_fates = np.zeros_like(columns)
    for place in range(len(answer)):
        tokens, some, rows = kept_columns(log_t[place], log_b[place], lam, generator)
        last = len(tokens)
        columns[:, place, : last + 1] = rows
        known_fates[:, place, :last] = fates(tokenizer, answer[:place], tokens)
        known_fates[:, place, last] = fates(tokenizer, answer[:place], some).mean(axis=1)
    odds = np.array([log_odds(each, modal)[places] for each in logits])
    (row_t, row_b), (goes, ends) = columns, known_fates
    modals = modal[places].tolist()
    return Scored((prompt, answer), row_t, row_b, goes, ends, places, modals, odds, log_t[places].numpy())


def held_out(models: tuple[Any, Any], tokenizer: Any, settings: dict[str, Any]) -> list[Scored]:
    """Score the last answers of the teacher."""
    records = read_records(HERE / "teacher_answers.jsonl")[-settings["held_out"] :]
    if settings["judged"] > records[0]["index"]:
        raise SystemExit(f"--judged must be at most {records[0]['index']}, because the later questions are held out")
    generator = torch.Generator().manual_seed(settings["seed"])
    return [score_held_out(models, tokenizer, record, max(settings["lam"]), generator) for record in records]


def collapse_from_logits(x: Floats, y: Floats, clip: float) -> Floats:
    """Return the collapse points 1 + log(c/p)/(x − y) from log-odds x, y of teacher and base; +inf where x ≤ y."""
    ahead = x > y
    points: Floats = np.where(
        ahead, 1 + (math.log(clip) + np.log1p(np.exp(-x))) / np.where(ahead, x - y, 1.0), math.inf
    )
    return points


def known(value: Any) -> float | None:
    """Round a number to ten digits, or return None for +inf, which JSON cannot hold."""
    return float(f"{value:.10g}") if math.isfinite(value) else None


def quantiles(values: Floats) -> list[float | None]:
    """Return the quantiles at ``LEVELS``; each of them is one of the values."""
    return [known(value) for value in np.quantile(values, LEVELS, method="inverted_cdf")]


def tails(log_t: Floats, log_s: Floats, modal: NDArray[np.int64], clip: float) -> Floats:
    """Return three numbers per row: the tail mass of teacher and of student, and the clipped share of the teacher's.

    A token is clipped where the teacher's probability is more than c times the student's.
    """
    others = np.arange(log_t.shape[1]) != modal[:, None]
    teacher, student = (np.where(others, np.exp(logs), 0.0) for logs in (log_t, log_s))
    clipped = np.where(teacher > clip * student, teacher, 0.0).sum(axis=1) / teacher.sum(axis=1)
    return np.array([teacher.sum(axis=1), student.sum(axis=1), clipped])


def tail_summary(numbers: Floats, clip: float) -> dict[str, Any]:
    """Return the median tail mass, the share of contract positions that is clipped, and that of their tails."""
    teacher, student, clipped = numbers
    return {
        "tail": known(float(np.median(student))),
        "positions_clipped": known(float(np.mean(teacher > clip * student))),
        "tail_clipped": known(float(np.mean(clipped))),
    }


def predict(scored: list[Scored], settings: dict[str, Any]) -> dict[str, Any]:
    """Predict the students before their first step."""
    clip = settings["clip"]
    log_t, log_b, goes, ends = (
        np.concatenate([getattr(one, name) for one in scored]) for name in ("log_t", "log_b", "goes", "ends")
    )
    answer = np.repeat(np.arange(len(scored)), [len(one.log_t) for one in scored])
    contract = np.concatenate([np.isin(np.arange(len(one.log_t)), one.places) for one in scored])
    positions = sequence.Positions(log_t, log_b, goes, ends, answer, modal=0)
    x, y = (
        np.array([float(f"{odds:.10g}") for odds in row]) for row in np.concatenate([one.odds for one in scored], 1)
    )
    stars, collapse = np.asarray(bernoulli.threshold_from_logits(x, y, clip)), collapse_from_logits(x, y, clip)
    unlisted = {"teacher": last_columns(log_t), "base": last_columns(log_b)}
    students = [
        predict_student(positions, contract, clip, lam)
        | {
            "past_threshold": known(float(np.mean(stars < lam))),
            "past_collapse": known(float(np.mean(collapse <= lam))),
        }
        for lam in settings["lam"]
    ]
    return {
        "made_with": made_with(),
        "held_out": {"answers": len(scored), "positions": len(log_t), "contract": int(contract.sum())},
        "rest": {name: known(float(np.exp(logs).mean())) for name, logs in unlisted.items()},
        "log_odds": {"teacher": x.tolist(), "base": y.tolist()},
        "levels": list(LEVELS),
        "threshold": quantiles(stars),
        "collapse": quantiles(collapse),
        "tail": {name: known(float(np.median(1 / (1 + np.exp(odds))))) for name, odds in (("teacher", x), ("base", y))},
        **predict_curves(positions, stars, settings),
        "students": students,
    }


def predict_student(
    positions: sequence.Positions, contract: NDArray[np.bool_], clip: float, lam: float
) -> dict[str, Any]:
    """Predict the validity and the tails of one student."""
    log_t, log_b = np.asarray(positions.log_t), np.asarray(positions.log_b)
    student = categorical.stationary_student(log_t, log_b, clip, lam)
    tail = tails(log_t[contract], student[contract], np.zeros(contract.sum(), dtype=np.int64), clip)
    return {
        "lam": lam,
        "validity": known(float(sequence.validity(positions, clip, lam))),
        "validity_without_clip": known(float(sequence.validity(positions, math.inf, lam))),
    } | tail_summary(tail, clip)


def predict_curves(positions: sequence.Positions, stars: Floats, settings: dict[str, Any]) -> dict[str, Any]:
    """Predict validity at a fine grid of λ, for teacher and base, and the λ at which half of it is lost."""
    fine = np.linspace(1.0, max(settings["lam"]), FINE)
    curve, free = (np.asarray(sequence.validity(positions, limit, fine)) for limit in (settings["clip"], math.inf))
    reference = 1 + REFERENCE * (sequence.lower_quantile(stars, 0.5) - 1)
    return {
        "curve": {
            "lam": [known(lam) for lam in fine],
            "validity": [known(value) for value in curve],
            "validity_without_clip": [known(value) for value in free],
        },
        "validity": {
            name: known(float(sequence.validity(positions, math.inf, lam)))
            for name, lam in (("teacher", 1.0), ("base", 0.0))
        },
        "reference": known(reference),
        "onset": onset(fine, curve, reference) if reference < fine[-1] else None,
    }


def last_columns(logs: Floats) -> Floats:
    """Return the last column in use of every row, which stands for the unlisted tokens."""
    last: Floats = np.take_along_axis(logs, np.isfinite(logs).sum(axis=1, keepdims=True) - 1, axis=1)
    return last


def made_with() -> dict[str, Any]:
    """Return the model and the adapters from which the numbers come."""
    digests = {
        name: hashlib.sha256((HERE / name / "adapter_model.safetensors").read_bytes()).hexdigest()
        for name in ("base", "teacher")
    }
    return {"model": lm.MODEL_NAME, "adapters": digests}


# The students.


def answer_rows(model: Any, pairs: list[Pair], pad: int) -> torch.Tensor:
    """Return the logits that predict the tokens of the answers, one row per token, answer after answer."""
    ids, mask = sample.left_padded([prompt + answer for prompt, answer in pairs], pad)
    width = max(len(answer) for _, answer in pairs)
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=width + 1)
    inside = torch.tensor([[False] * (width - len(answer)) + [True] * len(answer) for _, answer in pairs])
    rows: torch.Tensor = out.logits[:, :-1][inside]
    return rows


def distil(models: tuple[Any, Any, Any], tokenizer: Any, lam: float, settings: dict[str, Any]) -> dict[str, list[int]]:
    """Train the last of the models, and return the number of answers that parsed, and of tokens, at each step."""
    teacher, base, student = models
    torch.manual_seed(settings["seed"])
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings["rate"], weight_decay=0.0)
    seen: dict[str, list[int]] = {"parses": [], "tokens": []}
    begin = time.perf_counter()
    for step in range(settings["steps"]):
        numbers = train.batch_numbers(step, settings["batch"], settings["seed"])
        prompts = [lm.prompt_tokens(tokenizer, task.make_items("distil", number)) for number in numbers]
        answers = sample.generate(student, tokenizer, prompts, ROOM)
        pairs, pad = list(zip(prompts, answers, strict=True)), int(tokenizer.eos_token_id)
        with torch.no_grad():
            rows_t, rows_b = (answer_rows(model, pairs, pad) for model in (teacher, base))
        loss = opd_loss(answer_rows(student, pairs, pad), rows_t, rows_b, lam, clip=settings["clip"])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        records = [sample.describe(tokenizer, n, "distil", tokens) for n, tokens in zip(numbers, answers, strict=True)]
        seen["parses"].append(sum(record["parses"] for record in records))
        seen["tokens"].append(sum(len(tokens) for tokens in answers))
        if (step + 1) % 5 == 0 or step + 1 == settings["steps"]:
            say(
                f"λ = {lam:g}, step {step + 1} of {settings['steps']}: {seen['parses'][-1]} of {len(numbers)} parse, "
                f"loss {loss.item():.4f}, {time.perf_counter() - begin:.0f} s"
            )
    return seen


def kendall(parsed: list[str], items: list[task.Item]) -> float:
    """Return Kendall's τ between a permutation of the ids and the order of the prices, which are all different."""
    price = {item.ident: item.price for item in items}
    signs = [1 if price[first] < price[second] else -1 for first, second in combinations(parsed, 2)]
    return sum(signs) / len(signs)


def ndcg_at_1(parsed: list[str], items: list[task.Item]) -> float:
    """Return the gain of the item named first over the best gain.

    Of k items the cheapest has the gain k−1, the next k−2, and the dearest 0, as has an id that is not listed.
    """
    if not parsed:
        return 0.0
    price = {item.ident: item.price for item in items}
    dearer = sum(price[parsed[0]] < other for other in price.values()) if parsed[0] in price else 0
    return dearer / (len(items) - 1)


def mean_and_error(values: list[float]) -> dict[str, float | int | None]:
    """Return the mean, the standard error and the number of values."""
    error = known(float(np.std(values, ddof=1) / math.sqrt(len(values)))) if len(values) > 1 else None
    return {"mean": known(float(np.mean(values))) if values else None, "error": error, "of": len(values)}


def judge(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the answers that parse and that name every item once, and measure how well these rank."""
    parses, permutations = (sum(bool(record[key]) for record in records) for key in ("parses", "permutation"))
    asked = [(task.make_items(record["split"], record["index"]), record) for record in records]
    parsed = [(task.parse_answer(record["text"]) or [], items, record) for items, record in asked if record["parses"]]
    return {
        "answers": len(records),
        "parses": parses,
        "interval": list(sample.wilson(parses, len(records))),
        "permutations": permutations,
        "permutation_interval": list(sample.wilson(permutations, len(records))),
        "right": sum(record["text"] == task.make_target(items) for items, record in asked),
        "ended": sum(bool(record["ended"]) for record in records),
        "tau": mean_and_error([kendall(value, items) for value, items, record in parsed if record["permutation"]]),
        "ndcg": mean_and_error([ndcg_at_1(value, items) for value, items, _ in parsed]),
        "tokens": known(float(np.mean([len(record["tokens"]) for record in records]))),
    }


def student_tails(student: Any, scored: list[Scored], clip: float) -> dict[str, Any]:
    """Summarise the student's tails at the contract positions of the held-out answers, over the whole vocabulary."""
    numbers = []
    for one in scored:
        rows = torch.log_softmax(answer_logits(student, *one.pair)[one.places], dim=1).numpy()
        numbers.append(tails(one.teacher, rows, np.array(one.modal, dtype=np.int64), clip))
    return tail_summary(np.concatenate(numbers, axis=1), clip)


def one_student(
    models: tuple[Any, Any, Any], tokenizer: Any, scored: list[Scored], lam: float, settings: dict[str, Any]
) -> dict[str, Any]:
    """Train and judge one student."""
    begin = time.perf_counter()
    training = distil(models, tokenizer, lam, settings)
    trained = time.perf_counter()
    records = sample.sample(models[2], tokenizer, "test", settings["judged"], JUDGED_ROOM, settings["seed"] + 1)
    seen = judge(records) | student_tails(models[2], scored, settings["clip"])
    seconds = {"training": round(trained - begin, 1), "judging": round(time.perf_counter() - trained, 1)}
    say(f"λ = {lam:g}: {seen['parses']} of {seen['answers']} parse, after {sum(seconds.values()):.0f} s")
    return {"lam": lam, "training": training, "seconds": seconds} | seen


def load_models() -> tuple[Any, Any, Any]:
    """Load teacher, base and student; the student is a copy of the base, of which only the adapter is trained."""
    teacher, base = (lm.load_with_adapter(HERE / name).merge_and_unload() for name in ("teacher", "base"))
    student = lm.load_with_adapter(HERE / "base")
    for name, weight in student.named_parameters():
        weight.requires_grad_("lora" in name)
    return teacher, base, student


def all_students(
    models: tuple[Any, Any, Any], tokenizer: Any, scored: list[Scored], record: dict[str, Any], kept: Path
) -> list[dict[str, Any]]:
    """Train and judge every student that is not yet in the kept file, and return all of them."""
    settings = recorded_settings(record)
    start = {name: weight.detach().clone() for name, weight in models[2].named_parameters() if weight.requires_grad}
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    done: list[dict[str, Any]] = found["students"] if found.get("sha256") == record["sha256"] else []
    for lam in settings["lam"]:
        if lam in [student["lam"] for student in done]:
            continue
        models[2].load_state_dict(start, strict=False)
        done.append(one_student(models, tokenizer, scored, lam, settings))
        half = kept.with_suffix(".half")  # a run that is cut off while writing leaves the old file whole
        half.write_text(json.dumps({"sha256": record["sha256"], "students": done}), encoding="utf-8")
        half.replace(kept)
    return sorted(done, key=lambda student: settings["lam"].index(student["lam"]))


def run(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Lock the prediction, train and judge all students, and return the record."""
    tokenizer, models = lm.load_tokenizer(), load_models()
    scored = held_out(models[:2], tokenizer, settings)
    asked = {name: value for name, value in settings.items() if name != "seed"}
    record = lock(path, lambda: predict(scored, settings), settings=asked, seed=settings["seed"], sources=SOURCES)
    if recorded_settings(record) != settings:
        raise SystemExit(f"{path} holds a prediction for other settings; give those, or another --out")
    if "outcome" in record:
        return record
    say(f"locked: λ* {record['prediction']['threshold']}, collapse {record['prediction']['collapse']}")
    record = attempt(path, record, sources=SOURCES)
    kept = path.parent / "out" / f"{path.stem}.part.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    students = all_students(models, tokenizer, scored, record, kept)
    known_answers = {
        name: judge(read_records(HERE / f"{name}_answers.jsonl")[: settings["judged"]]) for name in ("base", "teacher")
    }
    record = conclude(path, record, known_answers | {"students": students, "onset": seen_onset(students, record)})
    kept.unlink()
    return record


def recorded_settings(record: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a record with its seed; in a record of the first format the prediction holds them."""
    if "settings" not in record:
        return dict(record["prediction"]["settings"])
    return {**record["settings"], "seed": record["seed"]}


def seen_onset(students: list[dict[str, Any]], record: dict[str, Any]) -> float | None:
    """Return the λ at which the students have lost half of their answers that parse, or None if they have not."""
    lams, reference = [student["lam"] for student in students], record["prediction"]["reference"]
    if len(lams) < 2 or reference is None or not lams[0] <= reference <= lams[-1]:
        return None
    return onset(lams, [student["parses"] / student["answers"] for student in students], reference)


def report(record: dict[str, Any]) -> str:
    """Format the table of prediction and outcome."""
    head = "parse (95 %)              predicted   permutation   τ       NDCG@1   tail mass, predicted   tokens"
    lines = [f"{'λ':>10}   {head}"]
    expected = {student["lam"]: student for student in record["prediction"]["students"]}
    outcome = record["outcome"]
    rows: list[tuple[str, Any, Any]] = [(name, outcome[name], {}) for name in ("base", "teacher")]
    rows += [(f"{student['lam']:g}", student, expected[student["lam"]]) for student in outcome["students"]]
    for name, seen, said in rows:
        low, high = (100 * end for end in seen["interval"])
        tail = seen.get("tail", record["prediction"]["tail"].get(name))
        lines.append(
            f"{name:>10}   {100 * seen['parses'] / seen['answers']:5.1f} % [{low:5.1f}, {high:5.1f}]   "
            f"{shown(said.get('validity'), '.3f'):>9}   {100 * seen['permutations'] / seen['answers']:9.1f} %   "
            f"{shown(seen['tau']['mean'], '.3f'):6}   {shown(seen['ndcg']['mean'], '.3f'):6}   "
            f"{shown(tail, '9.2g')} {shown(said.get('tail'), '9.2g'):>11}   {seen['tokens']:6.1f}"
        )
    if outcome["onset"] != seen_onset(outcome["students"], record):
        raise SystemExit("the onset of the record is not that of its students; do not use it")
    said, seen = (shown(record[part]["onset"], ".3f") for part in ("prediction", "outcome"))
    return "\n".join([*lines, f"λ at which half of the validity is lost: predicted {said}, seen {seen}"])


def shown(value: float | None, form: str) -> str:
    """Format a number, with a dash for None."""
    return "—" if value is None else format(value, form)


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lam", type=float, action="append", help="λ of a student; repeat for more")
    parser.add_argument("--steps", type=int, default=28, help="number of optimizer steps of a student")
    parser.add_argument("--batch", type=int, default=8, help="number of questions in one step")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of AdamW")
    parser.add_argument("--clip", type=float, default=5.0, help="cap on the ratio of teacher to student probability")
    parser.add_argument("--seed", type=int, default=3, help="seed of the questions' order and of the sampling")
    parser.add_argument("--judged", type=int, default=120, help="number of judged answers of each student")
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    parser.add_argument("--out", type=Path, default=HERE / "cliff.json", help="file for prediction and outcome")
    return parser.parse_args()


def main() -> None:
    """Lock, train, judge and print the table."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    settings |= {"lam": sorted(args.lam or GRID), "held_out": HELD_OUT, "room": ROOM, "judged_room": JUDGED_ROOM}
    print(report(run(args.out, settings)))


if __name__ == "__main__":
    main()
