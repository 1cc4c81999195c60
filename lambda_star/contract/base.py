"""What every contract can say: is an answer valid, can it still become valid, and which tokens may come next."""

from __future__ import annotations

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star._core.extras import missing
from lambda_star.contract.classes import ends_answer

__all__ = ["Contract", "Masks", "broken_at", "load"]


def load(module: str) -> Any:
    """Return a module of the extra ``contract``.

    Args:
        module: the name of the module.

    Returns:
        The module.

    Raises:
        ImportError: the module is not installed; the message names the command that installs it.

    >>> load("jsonschema").__name__
    'jsonschema'
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing("this contract", module.partition(".")[0], "contract") from error


class Masks(ABC):
    """The tokens that a contract allows after the tokens of an answer so far.

    >>> from lambda_star.contract import parse
    >>> import llguidance
    >>> masks = parse("regex:[ab]c").masks(llguidance.LLTokenizer("byte"))
    >>> [chr(token) for token in masks.allowed([97]).nonzero()[0]], masks.allowed([98, 98])
    (['c'], None)
    """

    @abstractmethod
    def allowed(self, tokens: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return which tokens of the vocabulary may come next, the end of the answer included; None once broken."""


@dataclass(frozen=True)
class Contract(ABC):
    """What a valid answer is; a contract of one's own overrides ``valid`` and whatever else it knows.

    Attributes:
        name: the text that :func:`parse` reads.

    >>> class Short(Contract):
    ...     def valid(self, text: str) -> bool:
    ...         return len(text) < 10
    >>> Short("short").valid("brief"), Short("short").prefix("brief")
    (True, None)
    """

    name: str

    @abstractmethod
    def valid(self, text: str) -> bool:
        """Return whether the text is a whole valid answer."""

    def prefix(self, text: str) -> bool | None:
        """Return whether the text can still become a valid answer; None if the contract cannot tell."""
        return None

    def label(self, token: str) -> str | None:
        """Return the class of a token: by default the text of a mark or of an end token, and None for all others."""
        text = token.strip()
        return text if ends_answer(text) or re.fullmatch(r"[^\w\s]+", text) else None

    def masks(self, tokenizer: Any) -> Masks | None:
        """Return the masks over the vocabulary of a fast tokenizer; None if the contract knows no grammar."""
        return None


def broken_at(contract: Contract, pieces: Sequence[str]) -> int | None:
    """Return the index of the first token after which an answer cannot become valid any more.

    Args:
        contract: the contract.
        pieces: the texts of the answer's tokens; a last piece such as ``<|im_end|>`` ends the answer.

    Returns:
        The index, or None if the answer never breaks the contract, or if the contract cannot tell.

    >>> from lambda_star.contract import parse
    >>> broken_at(parse("json"), ['["', "A7", '",', "]", "</s>"])
    3
    >>> broken_at(parse("json"), ['["', "A7", "</s>"])
    2
    """
    ended = bool(pieces) and ends_answer(pieces[-1])
    tokens = pieces[:-1] if ended else pieces
    text, ends = "".join(tokens), [*accumulate(map(len, tokens))]
    alive = contract.prefix(text)
    if alive is False:  # an answer that is broken stays broken, so that a bisection finds where
        return bisect.bisect_left(ends, True, key=lambda end: contract.prefix(text[:end]) is False)
    return len(tokens) if ended and alive and not contract.valid(text) else None
