"""What a contract says about the rows of a table: their classes, which of them follow a break, and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lambda_star.calibration.table import Table
from lambda_star.contract import Contract, Labeller, Masks, broken_at, json_structure, parse
from lambda_star.contract.classes import ends_answer
from lambda_star.sequence import Positions

__all__ = ["Fit", "Judgement", "Tail", "judge", "masked_positions"]

MISFIT = 0.1
"""The share of misfits from which on a report says that the contract does not fit the data."""

NEEDED = 0.01
"""The share of the teacher's listed tail that allowed tokens must hold for a position to need its tail."""

MOST = 200
"""About the most positions of a class at which the tail is split: a slow contract takes milliseconds for each token."""

GUESSES = ("json", "xml", "yaml", "csv")
"""The contracts that are tried on data which another contract does not fit, the strictest first."""


class Fit(NamedTuple):
    """How a contract fits the answers of a table.

    ``broken`` answers broke the contract at a sampled token. At ``misfits`` the teacher breaks it by its own most
    probable tokens. ``remedy`` is a sentence for the user if there are many misfits, and empty text otherwise.
    """

    answers: int
    broken: int
    misfits: int
    remedy: str


class Tail(NamedTuple):
    """The share of the teacher's listed tail that is allowed, and of positions that need it; None where unknown."""

    allowed_tail: float | None
    needs_tail: float | None


@dataclass(frozen=True)
class Judgement:
    """What a contract says about the rows of a table.

    Attributes:
        name: name of the contract, None where the classes come from the table or from a labeller.
        labels: the contract class of every row, None outside the contract.
        late: whether a row comes after the token that broke its answer.
        fit: how the contract fits the answers; None where it cannot tell.
        labeller: the function that tells which listed tokens share a class.
        allowed: whether a token may come next at a row, None where that is unknown.
    """

    name: str | None
    labels: list[str | None]
    late: NDArray[np.bool_]
    fit: Fit | None
    labeller: Labeller
    allowed: Callable[[int, str], bool | None]

    def tails(self, table: Table, rows: Sequence[int] | NDArray[np.intp]) -> Tail:
        """Return the shares of some rows, looking at no more than about 200 of them."""
        if self.fit is None or table.top is None:
            return Tail(None, None)
        shares, weights = [], []
        listing = [row for row in rows if table.top[row] is not None]
        for row in listing[:: -(-len(listing) // MOST) or 1]:
            top = table.top[row]
            listed = [] if top is None else [*zip(top.tokens[1:], top.log_p[1:], strict=True)]
            masses = [(math.exp(log_p), self.allowed(row, token)) for token, log_p in listed]
            tail = math.fsum(mass for mass, _ in masses)
            if tail > 0 and all(may is not None for _, may in masses):
                shares.append(math.fsum(mass for mass, may in masses if may) / tail)
                weights.append(tail)
        if not shares:
            return Tail(None, None)
        return Tail(float(np.average(shares, weights=weights)), float(np.mean(np.array(shares) >= NEEDED)))


def judge(table: Table, contract: Contract | Labeller | str | None = None, tokens: Sequence[str] = ()) -> Judgement:
    """Return what a contract says about the rows of a table.

    Args:
        table: the table.
        contract: a contract, its name, or a labeller; by default the table's ``contract`` column, or else JSON.
        tokens: modal tokens that belong to the contract beside its own, each a class of its own.

    Returns:
        A :class:`Judgement`.

    Raises:
        ValueError: the text names no contract.

    >>> from lambda_star import read_table
    >>> judge(read_table("examples/rank_by_price/logprobs.csv"), "json").fit
    Fit(answers=360, broken=207, misfits=0, remedy='')
    """
    chosen = parse(contract) if isinstance(contract, str) else contract
    if chosen is None and table.contract is None:
        chosen = parse("json")
    own: Labeller = chosen.label if isinstance(chosen, Contract) else chosen or json_structure
    added = set(map(_key, tokens))

    def label(text: str) -> str | None:
        return own(text) or (_key(text) if _key(text) in added else None)

    if not isinstance(chosen, Contract):
        if chosen is None and table.contract is not None:
            pairs = zip(table.contract.tolist(), table.modal.tolist(), strict=True)
            labels = [one or (_key(modal) if _key(modal) in added else None) for one, modal in pairs]
        else:
            labels = _labels(table, label)
        return Judgement(None, labels, np.zeros(len(labels), dtype=np.bool_), None, label, lambda row, token: None)
    return _judge(table, chosen, label)


def _key(token: str) -> str:
    """The text of a token without white space around it; white space alone is kept."""
    return token.strip() or token


def _labels(table: Table, label: Labeller) -> list[str | None]:
    classes = {text: label(text) for text in set(table.modal.tolist())}
    return [classes[text] for text in table.modal.tolist()]


def _judge(table: Table, contract: Contract, label: Labeller) -> Judgement:
    labels, late = _labels(table, label), np.zeros(len(table.modal), dtype=np.bool_)
    before: dict[int, tuple[str, int]] = {}

    def allowed(row: int, token: str) -> bool | None:
        if row not in before:
            return None
        text, end = before[row]
        return contract.valid(text[:end]) if ends_answer(token) else contract.prefix(text[:end] + token)

    broken = misfits = 0
    answers = _answers(table)
    for rows in answers:
        known = rows[table.position[rows] == np.arange(len(rows))]  # up to the first position that is not there
        tokens, modals = table.token[known].tolist(), table.modal[known].tolist()
        whole, ends = "".join(tokens), accumulate(map(len, tokens), initial=0)
        before |= {row: (whole, end) for row, end in zip(known.tolist(), ends, strict=False)}
        first = broken_at(contract, tokens)
        if first is not None:
            broken += 1
            late[rows[first + 1 :]] = True
        misfits += broken_at(contract, _chosen_by_teacher(tokens, modals)) is not None
    for row, modal in enumerate(table.modal.tolist()):
        if labels[row] and not late[row] and ends_answer(modal) and allowed(row, modal) is False:
            labels[row] = None  # no class: the teacher ends an answer that is not valid
    fit = None if contract.prefix("") is None else Fit(len(answers), broken, misfits, "")
    if fit and fit.misfits >= MISFIT * fit.answers:
        fit = fit._replace(remedy=_remedy(table, contract, fit, answers))
    return Judgement(contract.name, labels, late, fit, label, allowed)


def _answers(table: Table) -> list[NDArray[np.intp]]:
    """The rows of every answer, in order."""
    _, which = np.unique(table.sequence, return_inverse=True)
    order = np.lexsort((table.position, which))
    return np.split(order, np.flatnonzero(np.diff(which[order])) + 1)


def _chosen_by_teacher(tokens: list[str], modals: list[str]) -> list[str]:
    """The tokens of an answer for as long as they are the teacher's modal tokens, and the modal token that is not."""
    differ = (at for at, (token, modal) in enumerate(zip(tokens, modals, strict=True)) if token != modal)
    return modals[: next(differ, len(tokens)) + 1]


def _remedy(table: Table, contract: Contract, fit: Fit, answers: list[NDArray[np.intp]]) -> str:
    """A sentence that names a contract which most answers keep, unless the user has made one."""
    found = (
        f"{fit.misfits} of {fit.answers} answers are not {contract.name} where they follow the teacher's modal tokens"
    )
    if contract.name not in GUESSES:
        return f"{found}; check what that contract says, and whether the teacher keeps it"
    texts = ["".join(token for token in table.token[rows] if not ends_answer(token)) for rows in answers]
    kept = {name: sum(_likely(name, text) for text in texts) for name in GUESSES if name != contract.name}
    best = max(kept, key=lambda name: kept[name])
    give = best if kept[best] > len(texts) / 2 else "the name of yours, or name its tokens with `tokens`"
    return f"{found}; give `contract` {give}"


def _likely(name: str, text: str) -> bool:
    """Whether an answer seems to be meant as a format; any line of text is CSV, but one that is meant has more."""
    return parse(name).valid(text) and (name != "csv" or ("," in text and "\n" in text.strip()))


def masked_positions(
    log_t: ArrayLike, log_b: ArrayLike, tokens: Sequence[int], masks: Masks, end: int | Sequence[int]
) -> Positions:
    """Return the positions of one answer, for :func:`lambda_star.sequence.validity`, with what a contract allows there.

    Args:
        log_t: log-probabilities or logits of the teacher over the vocabulary, one row per token of the answer.
        log_b: the same of the base.
        tokens: the token ids of the answer.
        masks: the masks of a contract, from :meth:`lambda_star.contract.Contract.masks`.
        end: the token ids that end an answer.

    Returns:
        A :class:`lambda_star.sequence.Positions`, up to the position at which the answer breaks the contract.

    >>> import llguidance
    >>> import numpy as np
    >>> from lambda_star.contract import parse
    >>> masks = parse("regex:ab?").masks(llguidance.LLTokenizer("byte"))
    >>> found = masked_positions(np.zeros((2, 262)), np.zeros((2, 262)), [97, 98], masks, 261)
    >>> found.goes.sum(axis=1), found.ends.sum(axis=1)  # first "a" is allowed alone, then "b" or the end
    (array([1., 1.]), array([0., 1.]))
    """
    log_t, log_b = (np.asarray(each, dtype=np.float64)[: len(tokens)] for each in (log_t, log_b))
    goes = np.zeros(log_t.shape)
    count = 0
    for count, row in enumerate(goes):
        allowed = masks.allowed(tokens[:count])
        if allowed is None:
            break
        row[: len(allowed)] = allowed[: len(row)]
    else:
        count = len(goes)
    ends = np.zeros(log_t.shape)
    ends[:, end] = goes[:, end]
    return Positions(log_t[:count], log_b[:count], (goes - ends)[:count], ends[:count])
