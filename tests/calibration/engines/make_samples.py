r"""Score answers of the example with its own two models, and write them as the engines do: the files in ``samples``.

It needs the example's requirements, ``openai`` and a copy of vLLM's ``vllm/logprobs.py``, which imports nothing else:

    python -m tests.calibration.engines.make_samples --vllm path/to/vllm/logprobs.py
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[2] / "examples" / "rank_by_price"

ANSWERS = (121, 22, 275)
"""Short answers of the example; at the last one's fifth token the base does not list the teacher's modal token."""

BYTES = (241,)
"""An answer where the teacher lists a token that is a part of a character."""

LISTED = 5
BEFORE = 6
"""How many tokens of the prompt the samples keep."""


class Token(NamedTuple):
    """A token of the vocabulary: id, text and bytes."""

    id: int
    text: str
    raw: bytes


class Scored(NamedTuple):
    """One answer under one model: the end of its prompt, its tokens, and each one's log-probabilities, best first."""

    model: str
    name: int
    prompt: list[Token]
    answer: list[Token]
    logs: list[dict[int, float] | None]
    vocabulary: dict[int, Token]

    def own(self, place: int) -> Token:
        """Return the token at a place, counted from the start of the prompt."""
        return [*self.prompt, *self.answer][place]

    def log(self, place: int) -> float | None:
        """Return its log-probability."""
        row = self.logs[place]
        return None if row is None else row[self.own(place).id]

    def top(self, place: int) -> list[tuple[Token, float]]:
        """Return the most probable tokens."""
        row = self.logs[place] or {}
        best = sorted(row.items(), key=lambda item: -item[1])[:LISTED]
        return [(self.vocabulary[name], log) for name, log in best]

    @property
    def places(self) -> range:
        """The places of the answer's tokens."""
        return range(len(self.prompt), len(self.prompt) + len(self.answer))


def score(folder: str, names: Iterable[int]) -> list[Scored]:
    """Return answers of the example under its teacher or base."""
    sys.path.insert(0, str(EXAMPLE))
    import model as lm
    import task
    import torch

    records = [json.loads(line) for line in (EXAMPLE / "base_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    tokenizer, model = lm.load_tokenizer(), lm.load_with_adapter(EXAMPLE / folder)
    found = []
    for name in names:
        record = records[name]
        prompt = lm.prompt_tokens(tokenizer, task.make_items(record["split"], record["index"]))
        ids = [*prompt, *record["tokens"]]
        with torch.no_grad():
            logs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        rows: list[dict[int, float] | None] = [None]
        for place in range(len(prompt) - BEFORE + 1, len(ids)):
            best = logs[place - 1].topk(LISTED + 1)
            listed = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            rows.append({ids[place]: float(logs[place - 1, ids[place]])} | listed)
        needed = {*ids, *(name for row in rows if row for name in row)}
        vocabulary = {one: _token(tokenizer, one) for one in needed}
        own = [vocabulary[one] for one in ids[len(prompt) - BEFORE :]]
        found.append(Scored(folder, name, own[:BEFORE], own[BEFORE:], rows, vocabulary))
    return found


def _token(tokenizer: Any, name: int) -> Token:
    text = tokenizer.decode([name], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    piece = tokenizer.convert_ids_to_tokens(name)
    back = {chr(256 + at): byte for at, byte in enumerate(_moved())}
    return Token(name, text, bytes(back.get(one, ord(one)) for one in piece) if "\ufffd" in text else text.encode())


def _moved() -> list[int]:
    """The bytes that byte-level tokenizers write as other characters, in the order of those."""
    kept = {*range(33, 127), *range(161, 173), *range(174, 256)}
    return [byte for byte in range(256) if byte not in kept]


def nine(number: float | None) -> float | None:
    """Return a number with nine significant digits, as many as a float32 has."""
    return None if number is None else float(f"{number:.9g}")


def single(number: float | None) -> float | None:
    """Return a number as float32 gives it."""
    return None if number is None else float(np.float32(number))


def rounded(number: float | None) -> float | None:
    """Return a number with four decimals."""
    return None if number is None else round(number, 4)


def chat(one: Scored, shown: Callable[[float | None], float | None] = nine) -> dict[str, Any]:
    """Return a chat completion, checked and written by openai's own types."""
    from openai.types.chat import ChatCompletion

    def entry(token: Token, log: float | None) -> dict[str, Any]:
        return {"token": token.text, "bytes": [*token.raw], "logprob": shown(log)}

    content = [
        entry(one.own(at), one.log(at)) | {"top_logprobs": [entry(*item) for item in one.top(at)]} for at in one.places
    ]
    text = "".join(token.text for token in one.answer[:-1])
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": {"content": content, "refusal": None},
        "message": message,
    }
    head = {"id": f"chatcmpl-{one.model}-{one.name}", "object": "chat.completion", "created": 1, "model": "smollm2"}
    return dict(ChatCompletion.model_validate(head | {"choices": [choice]}).model_dump(mode="json", exclude_none=True))


def completion(one: Scored, *, echo: bool = False, ids: bool = False) -> dict[str, Any]:
    """Return a completion, checked and written by openai's own types, with or without its prompt."""
    from openai.types import Completion

    def text_of(token: Token) -> str:
        return f"token_id:{token.id}" if ids else token.text

    places = [*range(len(one.prompt)), *one.places] if echo else [*one.places]
    tokens = [text_of(one.own(at)) for at in places]
    tops = [{text_of(token): nine(log) for token, log in one.top(at)} | _own(one, at, text_of) for at in places]
    logprobs = {
        "tokens": tokens,
        "token_logprobs": [nine(one.log(at)) for at in places],
        "top_logprobs": [top or None for top in tops],
        "text_offset": np.cumsum([0, *map(len, tokens)])[:-1].tolist(),
    }
    choice = {"index": 0, "finish_reason": "stop", "text": "".join(tokens), "logprobs": logprobs}
    counts = [len(places), 0] if echo else [len(one.prompt), len(one.answer)]
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}
    head = {
        "id": f"cmpl-{one.model}-{one.name}",
        "object": "text_completion",
        "created": 1,
        "model": "smollm2",
        "usage": usage,
    }
    if echo:  # openai's types know no null for the first token of a prompt, and the API writes one
        return head | {"choices": [choice]}
    return dict(Completion.model_validate(head | {"choices": [choice]}).model_dump(mode="json", exclude_none=True))


def _own(one: Scored, at: int, text_of: Callable[[Token], str]) -> dict[str, Any]:
    row = one.logs[at]
    return {} if row is None else {text_of(one.own(at)): nine(one.log(at))}


def batch(one: Scored, body: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the batch API's output."""
    response = {"status_code": 200, "request_id": f"req_{one.name}", "body": body}
    return {"id": f"batch_req_{one.name}", "custom_id": f"answer-{one.name}", "response": response, "error": None}


class Vllm:
    """What vLLM returns, made of its own ``Logprob`` and ``FlatLogprobs``."""

    def __init__(self, path: Path) -> None:
        spec = importlib.util.spec_from_file_location("vllm_logprobs", path)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(path)
        self.own = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = self.own
        spec.loader.exec_module(self.own)

    def rows(self, one: Scored, places: Iterable[int], *, flat: bool = False) -> Any:
        """Return the log-probabilities of some places."""
        found: Any = self.own.FlatLogprobs() if flat else []
        for at in places:
            row = one.logs[at]
            if row is None:
                found.append(None)
                continue
            best = one.top(at)
            listed = [one.own(at), *(token for token, _ in best)]
            rank = 1 + sum(log > row[one.own(at).id] for log in row.values())
            numbers = [single(row[token.id]) for token in listed]
            texts = [token.text for token in listed]
            self.own.append_logprobs_for_next_position(found, [t.id for t in listed], numbers, texts, rank, len(best))
        if flat:
            return dataclasses.asdict(found)
        return [None if row is None else {name: dataclasses.asdict(of) for name, of in row.items()} for row in found]

    def generated(self, one: Scored, *, flat: bool = False) -> dict[str, Any]:
        """Return the attributes of a ``RequestOutput`` of the model that sampled."""
        output = {
            "index": 0,
            "text": "".join(token.text for token in one.answer[:-1]),
            "token_ids": [token.id for token in one.answer],
            "logprobs": self.rows(one, one.places, flat=flat),
            "finish_reason": "stop",
        }
        prompt = [token.id for token in one.prompt]
        return {"request_id": str(one.name), "prompt_token_ids": prompt, "prompt_logprobs": None, "outputs": [output]}

    def prompted(self, one: Scored, *, flat: bool = False) -> dict[str, Any]:
        """Return the attributes of a ``RequestOutput`` of the model that scored prompt and answer as one prompt."""
        ids = [token.id for token in (*one.prompt, *one.answer)]
        output = {"index": 0, "text": "\n", "token_ids": [198], "logprobs": None, "finish_reason": "length"}
        found = self.rows(one, range(len(ids)), flat=flat)
        return {"request_id": str(one.name), "prompt_token_ids": ids, "prompt_logprobs": found, "outputs": [output]}

    def served(self, one: Scored) -> dict[str, Any]:
        """Return the completion of a server that was asked for ``prompt_logprobs`` of prompt and answer."""
        rows = self.rows(one, range(len(one.logs)))
        head = {"id": f"cmpl-{one.model}-{one.name}", "object": "text_completion", "created": 1, "model": "smollm2"}
        choice = {"index": 0, "text": "\n", "logprobs": None, "finish_reason": "length", "prompt_logprobs": rows}
        return head | {"choices": [choice]}


def sglang(one: Scored, *, prompted: bool, start: int = 0, some: Iterable[int] | None = None) -> dict[str, Any]:
    """Return what ``/generate`` returns, from a prompt that was scored from ``start`` on or from an answer."""

    def triple(token: Token, log: float | None) -> list[Any]:
        return [single(log), token.id, token.text]

    places = [*range(start, len(one.logs))] if prompted else [*one.places]
    own = [triple(one.own(at), None if prompted and at == start else one.log(at)) for at in places]
    top = [None if prompted and at == start else [triple(*item) for item in one.top(at)] for at in places]
    side, other = ("input", "output") if prompted else ("output", "input")
    meta: dict[str, Any] = {
        "id": f"{one.name}-{one.model}",
        "finish_reason": {"type": "length" if prompted else "stop"},
        "prompt_tokens": len(one.prompt) + (len(one.answer) if prompted else 0),
        f"{side}_token_logprobs": own,
        f"{side}_top_logprobs": top,
        f"{other}_token_logprobs": [],
        f"{other}_top_logprobs": [],
    }
    if some is not None:
        meta[f"{side}_token_ids_logprobs"] = [
            None
            if prompted and at == start
            else [
                triple(one.vocabulary[name], (one.logs[at] or {})[name])
                for name in some
                if name in (one.logs[at] or {})
            ]
            for at in places
        ]
    return {"text": "".join(token.text for token in one.answer[:-1]), "meta_info": meta}


NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0, "grammar": ""}


def llamacpp(one: Scored, form: str) -> dict[str, Any]:
    """Return what ``/completion`` returns: "new", or probabilities after sampling, "post" and "old"."""

    def entry(token: Token, log: float | None) -> dict[str, Any]:
        named = {"id": token.id, "token": token.text.replace("\ufffd", ""), "bytes": [*token.raw]}
        number = {"logprob": single(log)} if form == "new" else {"prob": float(np.exp(log or 0.0))}
        return {"tok_str": token.text, **number} if form == "old" else named | number

    top = {"new": "top_logprobs", "post": "top_probs"}.get(form, "probs")
    found = []
    for at in one.places:
        own = {"content": one.own(at).text} if form == "old" else entry(one.own(at), one.log(at))
        found.append(own | {top: [entry(*item) for item in one.top(at)]})
    text = "".join(token.text for token in one.answer[:-1])
    settings = NEUTRAL if form != "new" else {"temperature": 1.0, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    return {"index": 0, "content": text, "generation_settings": settings, "completion_probabilities": found}


def main() -> None:
    """Write every sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, required=True, help="vLLM's vllm/logprobs.py")
    vllm = Vllm(parser.parse_args().vllm)
    teacher, base = ([*score(folder, (*ANSWERS, *BYTES))] for folder in ("teacher", "base"))
    short = len(ANSWERS)
    end = BEFORE - 1
    files: dict[str, tuple[Callable[[Scored], Any], Callable[[Scored], Any], slice]] = {
        "openai/chat": (chat, chat, slice(short)),
        "openai/chat_bytes": (chat, chat, slice(short, None)),
        "openai/chat_rounded": (lambda one: chat(one, rounded), lambda one: chat(one, rounded), slice(short)),
        "openai/completions": (lambda one: completion(one, echo=True), completion, slice(short)),
        "openai/batch": (lambda one: batch(one, chat(one)), lambda one: batch(one, chat(one)), slice(short)),
        "vllm/generate": (vllm.prompted, vllm.generated, slice(short)),
        "vllm/bytes": (vllm.prompted, vllm.generated, slice(short, None)),
        "vllm/flat": (
            lambda one: vllm.prompted(one, flat=True),
            lambda one: vllm.generated(one, flat=True),
            slice(short),
        ),
        "vllm/served": (vllm.served, lambda one: completion(one, ids=True), slice(short)),
        "sglang/generate": (
            lambda one: sglang(one, prompted=True),
            lambda one: sglang(one, prompted=False),
            slice(short),
        ),
        "sglang/from_the_end": (
            lambda one: sglang(one, prompted=True, start=end),
            lambda one: sglang(one, prompted=False),
            slice(short),
        ),
        "sglang/bytes": (
            lambda one: sglang(one, prompted=True),
            lambda one: sglang(one, prompted=False),
            slice(short, None),
        ),
        "sglang/token_ids": (
            lambda one: sglang(one, prompted=True, some=[28]),
            lambda one: sglang(one, prompted=False),
            slice(short),
        ),
        "llamacpp/new": (partial(llamacpp, form="new"), partial(llamacpp, form="new"), slice(short)),
        "llamacpp/post": (partial(llamacpp, form="post"), partial(llamacpp, form="post"), slice(short)),
        "llamacpp/old": (partial(llamacpp, form="old"), partial(llamacpp, form="old"), slice(short)),
        "llamacpp/bytes": (partial(llamacpp, form="new"), partial(llamacpp, form="new"), slice(short, None)),
    }
    for name, (of_teacher, of_base, which) in files.items():
        for side, make, scored in (("teacher", of_teacher, teacher), ("base", of_base, base)):
            write(f"{name}_{side}.jsonl", [make(one) for one in scored[which]])
    both = zip(teacher[:short], base[:short], strict=True)
    write("openai/both.jsonl", [{"sequence": b.name, "teacher": chat(t), "base": chat(b)} for t, b in both])


def write(name: str, records: list[Any]) -> None:
    """Write one record on each line of a sample."""
    path = HERE / "samples" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records]
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
