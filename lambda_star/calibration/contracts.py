"""What a contract says about the rows of a table: their classes, which of them follow a break, and whether it fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lambda_star.calibration.table import Table, TableError, Top
from lambda_star.calibration.texts import Texts
from lambda_star.contract import Contract, Labeller, Masks, broken_at, json_structure, parse
from lambda_star.contract.classes import ends_answer
from lambda_star.sequence import Positions

__all__ = ["Fit", "Judgement", "classified", "judge", "masked_positions", "with_remedy"]

MISFIT = 0.1
"""The share of misfits from which on a report says that the contract does not fit the data."""

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


@dataclass(frozen=True)
class Judgement:
    """What a contract says about the rows of a table.

    Attributes:
        name: name of the contract, None where the classes come from the table or from a labeller.
        names: names of the contract classes; ``codes`` has the index of every row's class in it, -1 outside.
        codes: see ``names``.
        late: whether a row comes after the token that broke its answer.
        fit: how the contract fits the answers, without a remedy; None where it cannot tell.
        labeller: the function that tells which listed tokens share a class.
        allowed: whether a token may come next at a row, None where that is unknown.
        text: the text of the answer that a row belongs to.
    """

    name: str | None
    names: tuple[str, ...]
    codes: NDArray[np.intp]
    late: NDArray[np.bool_]
    fit: Fit | None
    labeller: Labeller
    allowed: Callable[[int, str], bool | None]
    text: Callable[[int], str]

    def split(self, row: int, top: Top) -> tuple[float, float] | None:
        """Return the allowed share and the mass of the listed tail of a row; None where they are unknown."""
        masses = [(math.exp(log_p), self.allowed(row, token)) for token, log_p in zip(*top[:2], strict=True)][1:]
        tail = math.fsum(mass for mass, _ in masses)
        if not tail > 0 or any(may is None for _, may in masses):
            return None
        return math.fsum(mass for mass, may in masses if may) / tail, tail


def judge(table: Table, contract: Contract | Labeller | str | None = None, tokens: Sequence[str] = ()) -> Judgement:
    """Return what a contract, its name, or a labeller says about the rows of a table.

    By default the table's ``contract`` column says it, or else JSON. Every one of ``tokens``, which belong to the
    contract beside its own, is a class of its own.

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

    if chosen is None and table.contract is not None:
        names, codes = _of_column(table.contract, table.modal, added)
    else:
        names, codes = _of_modals(table.modal, label)
    late = np.zeros(len(table), dtype=np.bool_)
    if not isinstance(chosen, Contract):
        return Judgement(None, names, codes, late, None, label, lambda row, token: None, lambda row: "")
    answers = _Ordered.of(table)
    fit = answers.judge(chosen, late)
    allowed = partial(answers.allowed, chosen)
    for row in np.flatnonzero((codes >= 0) & ~late & _ends(table.modal)).tolist():
        if allowed(row, table.modal[row]) is False:
            codes[row] = -1  # no class: the teacher ends an answer that is not valid
    return Judgement(chosen.name, names, codes, late, fit, label, allowed, answers.text)


def _key(token: str) -> str:
    """The text of a token without white space around it; white space alone is kept."""
    return token.strip() or token


def _of_modals(modal: Texts, label: Labeller) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """The names of the classes, and the class of every row from its modal token."""
    used = np.bincount(modal.codes, minlength=len(modal.values)) > 0
    labels = [label(text) if there else None for text, there in zip(modal.values, used.tolist(), strict=True)]
    return _coded(labels, modal.codes)


def _coded(labels: Sequence[str | None], codes: NDArray[np.intp]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Distinct names, and the index in them of each row, whose label is that of its code; empty text is none."""
    names = dict.fromkeys(label for label in labels if label)
    index = {name: at for at, name in enumerate(names)}
    return tuple(names), np.array([index.get(label or "", -1) for label in labels], dtype=np.intp)[codes]


def _of_column(column: Texts, modal: Texts, added: set[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """The names of the classes, and the class of every row from the ``contract`` column; added tokens come second."""
    names, codes = _coded(column.values.tolist(), column.codes)
    if added:
        more, own = _of_modals(modal, lambda text: _key(text) if _key(text) in added else None)
        index = {name: at for at, name in enumerate(dict.fromkeys([*names, *more]))}
        renamed = np.array([*(index[name] for name in more), -1], dtype=np.intp)
        codes, names = np.where(codes < 0, renamed[own], codes), tuple(index)
    return names, codes


def _ends(modal: Texts) -> NDArray[np.bool_]:
    """Whether the modal token of a row ends an answer."""
    return np.array([ends_answer(text) for text in modal.values], dtype=np.bool_)[modal.codes]


@dataclass(frozen=True)
class _Ordered:
    """The answers of a table: its rows ordered by answer and position, and where each answer starts and stops in them.

    ``known`` is the end of the rows of an answer up to the first position that is not there.
    """

    order: NDArray[np.intp]
    place: NDArray[np.intp]
    which: NDArray[np.intp]
    bounds: tuple[list[int], list[int], list[int]]
    tokens: list[str]
    modals: list[str]

    @classmethod
    def of(cls, table: Table) -> _Ordered:
        order = np.lexsort((table.position, table.sequence.codes))
        codes = table.sequence.codes[order]
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        sizes = np.diff(starts, append=len(order))
        at = np.arange(len(order))
        gap = table.position[order] != at - np.repeat(starts, sizes)
        stops = starts + sizes
        known = np.minimum.reduceat(np.where(gap, at, len(order)), starts).clip(max=stops) if len(starts) else stops
        place, which = np.empty_like(order), np.empty_like(order)
        place[order], which[order] = at, np.repeat(np.arange(len(starts)), sizes)
        return cls(
            order,
            place,
            which,
            (starts.tolist(), known.tolist(), stops.tolist()),
            table.token[order].tolist(),
            table.modal[order].tolist(),
        )

    def judge(self, contract: Contract, late: NDArray[np.bool_]) -> Fit | None:
        """Mark the rows that follow a break, and return how the contract fits; None if it cannot tell."""
        if contract.prefix("") is None:
            return None
        broken = misfits = 0

        @cache
        def breaks(tokens: tuple[str, ...]) -> int | None:
            return broken_at(contract, tokens)

        for start, known, stop in zip(*self.bounds, strict=True):
            tokens, modals = tuple(self.tokens[start:known]), tuple(self.modals[start:known])
            first = breaks(tokens)
            if first is not None:
                broken += 1
                late[self.order[start + first + 1 : stop]] = True
            differ = next((at for at, pair in enumerate(zip(tokens, modals, strict=True)) if pair[0] != pair[1]), None)
            # The teacher's own text is the answer's up to its first token that is not the modal one.
            if differ is None or (first is not None and first < differ):
                misfits += first is not None
            else:
                misfits += breaks(modals[: differ + 1]) is not None
        return Fit(len(self.bounds[0]), broken, misfits, "")

    def allowed(self, contract: Contract, row: int, token: str) -> bool | None:
        """Whether a token may come next at a row; None where positions before it are missing."""
        answer, place = self.which[row], int(self.place[row])
        start, known = self.bounds[0][answer], self.bounds[1][answer]
        if place >= known:
            return None
        text = "".join(self.tokens[start:place])
        return contract.valid(text) if ends_answer(token) else contract.prefix(text + token)

    def text(self, row: int) -> str:
        """The text of the answer of a row, without tokens that end it."""
        answer = self.which[row]
        tokens = self.tokens[self.bounds[0][answer] : self.bounds[2][answer]]
        return "".join(token for token in tokens if not ends_answer(token))


def with_remedy(fit: Fit, contract: Contract, texts: Sequence[str]) -> Fit:
    r"""Return a fit with a sentence about what to do if the contract does not fit the data.

    It names the contract that most of some texts of answers keep, unless the user has made one of their own.

    >>> with_remedy(Fit(4, 4, 4, ""), parse("json"), ["- a\n- b"] * 4).remedy.split("; ")[1]
    'give `contract` yaml'
    """
    if not fit.answers or fit.misfits < MISFIT * fit.answers:
        return fit
    found = (
        f"{fit.misfits} of {fit.answers} answers are not {contract.name} where they follow the teacher's modal tokens"
    )
    if contract.name not in GUESSES:
        said = "check what that contract says, and whether the teacher keeps it"
        return fit._replace(remedy=f"{found}; {said}")
    kept = {name: sum(_likely(name, text) for text in texts) for name in GUESSES if name != contract.name}
    best = max(kept, key=lambda name: kept[name])
    give = best if kept[best] > len(texts) / 2 else "the name of yours, or name its tokens with `tokens`"
    return fit._replace(remedy=f"{found}; give `contract` {give}")


def _likely(name: str, text: str) -> bool:
    """Whether an answer seems to be meant as a format; any line of text is CSV, but one that is meant has more."""
    return parse(name).valid(text) and (name != "csv" or ("," in text and "\n" in text.strip()))


def classified(tables: Iterable[Table], contract: Contract | Labeller | str) -> Iterator[Table]:
    """Yield tables of whole answers with the class of every row in their ``contract`` column.

    The column is empty outside the contract and after the token that broke an answer, so the rows can later be read in
    any order and any split, without the contract. An answer that comes back in a later table is a ``TableError``.

    >>> from lambda_star import read_table
    >>> (table,) = classified([read_table("examples/rank_by_price/logprobs.csv")], "json")
    >>> sorted(set(table.contract))[1:4]
    ['"', '",', '","']
    """
    seen: set[int] = set()
    for table in tables:
        names = {hash(name): name for name in set(table.sequence)}
        again = seen & names.keys()
        if again:
            said = f"the answer {names[again.pop()]} stands in two places"
            raise TableError(table.source, f"{said}; sort the rows so that those of an answer stand together")
        seen |= names.keys()
        yield replace(table, contract=_class_column(table, contract)) if len(table) else table


def _class_column(table: Table, contract: Contract | Labeller | str) -> Texts:
    found = judge(table, contract)
    codes = np.where(found.late, -1, found.codes)
    return Texts(np.array([*found.names, ""], dtype=object), codes % (len(found.names) + 1))


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
