"""What both models say at every position of an answer, as rows of the table that ``calibrate`` reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lambda_star.contract import Contract, broken_at
from lambda_star.torch.pairs import Handle, Pair
from lambda_star.torch.sampling import left_padded

__all__ = ["Law", "answer_logits", "contract_classes", "rows_of"]

TOP = 5
"""The number of most probable tokens of each model that a row lists."""

BLOCK = 2**22
"""The most logits that are looked at together: some float64 copies of them must fit into memory."""


class Law:
    """The probabilities of one model at some positions, exact also where one token takes nearly everything.

    With L = log(sum over the other tokens of exp(z_k − z_top)) the log-probability of the most probable token is
    −log(1 + exp(L)), and log1p keeps the digits of a tail that is tiny beside 1.

    >>> Law(torch.tensor([[40.0, 0.0]])).log(torch.tensor([[0, 1]])).tolist()
    [[-4.248354255291589e-18, -40.0]]
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits.to(torch.float64)
        top, self.best = (each[:, None] for each in self.logits.max(dim=1))
        tail = (self.logits - top).exp_().scatter_(1, self.best, 0.0).sum(dim=1, keepdim=True)
        self.log_best = -torch.log1p(tail)
        self.normaliser = top - self.log_best

    def log(self, tokens: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the log-probabilities of some tokens of each of these rows."""
        others = self.logits[rows].gather(1, tokens) - self.normaliser[rows]
        return torch.where(tokens == self.best[rows], self.log_best[rows], others)


def answer_logits(model: Handle, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
    """Return the logits that predict each token of some answers, in one forward pass over prompts and answers.

    >>> answer_logits(pair.teacher, [([5, 6], [7, 2])])[0].shape      # doctest: +SKIP
    torch.Size([2, 49152])
    """
    device = next(iter(model.model.parameters())).device
    ids, attention = left_padded([[*prompt, *answer] for prompt, answer in sequences], device)
    longest = max(len(answer) for _, answer in sequences)
    with torch.inference_mode():
        logits, _ = model(ids, attention, longest + 1, cache=False)
    return [row[-len(answer) - 1 : -1] for row, (_, answer) in zip(logits, sequences, strict=True)]


def contract_classes(contract: Contract, pair: Pair, answer: Sequence[int], modal: Sequence[int]) -> list[str]:
    """Return the contract class of every position of an answer, empty text outside the contract.

    A position belongs to the contract if the tokens before it have not broken the answer and the modal token has a
    class, or, where the modal token ends the answer, if the answer is valid as it stands.

    >>> contract_classes(parse("json"), pair, answer, modal)      # doctest: +SKIP
    ['[', '', ']', '<|im_end|>']
    """
    pieces = pair.pieces(answer)
    ended = answer[-1] in pair.ends
    broken = broken_at(contract, [*pieces[:-1], "</s>"] if ended else pieces)
    classes, text = [], ""
    for place, token in enumerate(modal):
        name = str(pair.tokenizer.decode([token]))
        kept = broken is None or place <= broken
        if token in pair.ends:
            kept = kept and bool(contract.valid(text))
        classes.append((name.strip() if token in pair.ends else contract.label(name) or "") if kept else "")
        text += pieces[place]
    return classes


def rows_of(
    pair: Pair, contract: Contract, answer: Sequence[int], logits: tuple[Tensor, Tensor]
) -> list[dict[str, Any]]:
    """Return one row for each position of an answer, without the number of the answer.

    >>> rows_of(pair, parse("json"), answer, (logits_t, logits_b))[0]["modal"]      # doctest: +SKIP
    '["'
    """
    step = max(1, BLOCK // pair.vocabulary)
    blocks = [
        tuple(each[start : start + step, : pair.vocabulary] for each in logits) for start in range(0, len(answer), step)
    ]
    modal = [token for p, _ in blocks for token in p.argmax(dim=1).tolist()]
    classes = contract_classes(contract, pair, answer, modal)
    rows: list[dict[str, Any]] = []
    for p, b in blocks:
        rows += _block(pair, Law(p), Law(b), classes[len(rows) : len(rows) + len(p)])
    for place, (row, token) in enumerate(zip(rows, answer, strict=True)):
        row |= {"position": place, "token": pair.tokenizer.decode([token])}
    return rows


def _block(pair: Pair, p: Law, b: Law, classes: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of some positions; those of the contract list their most probable tokens."""
    log_p, log_b = (_short(law.log(p.best)[:, 0].tolist()) for law in (p, b))
    columns = zip(p.best[:, 0].tolist(), log_p, log_b, classes, strict=True)
    for place, (token, one, other, name) in enumerate(columns):
        yield {
            "modal": pair.tokenizer.decode([token]),
            "log_p": one,
            "log_b": other,
            "contract": name,
            **(_listed(pair, p, b, place) if name else {}),
        }


def _listed(pair: Pair, p: Law, b: Law, place: int) -> dict[str, Any]:
    """The most probable tokens of either model in the teacher's order, and the range of log(p/b) of all others."""
    row_p, row_b = p.logits[place], b.logits[place]
    count = min(TOP, len(row_p))
    found = {token for row in (row_p, row_b) for token in row.topk(count).indices.tolist()}
    best = int(p.best[place])
    ids = torch.tensor(sorted(found, key=lambda token: (-float(row_p[token]), token != best)), device=row_p.device)
    logs = [_short(law.log(ids[None], slice(place, place + 1))[0].tolist()) for law in (p, b)]
    tokens = [str(pair.tokenizer.decode([token])) for token in ids.tolist()]
    ratio = (row_p - row_b) - (p.normaliser[place] - b.normaliser[place])
    ends = [float(ratio.index_fill(0, ids, math.inf).amin()), float(ratio.index_fill(0, ids, -math.inf).amax())]
    return {"top": list(zip(tokens, *logs, strict=True)), "rest": _short(ends) if len(ids) < len(row_p) else []}


def _short(values: Iterable[float]) -> list[float]:
    """The numbers rounded to ten significant digits."""
    return [float(f"{value:.10g}") for value in values]
