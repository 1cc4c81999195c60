"""Contracts whose grammar is known: llguidance follows an answer and says which tokens may come next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_star.contract.base import Contract, Masks, load

__all__ = ["Grammar", "GrammarMasks", "in_slashes"]


def in_slashes(pattern: str) -> str:
    r"""Return a regular expression with each of its slashes escaped once, as it stands between slashes in a grammar.

    >>> print(in_slashes("a/b"), in_slashes(r"a\/b"), in_slashes(r"a\\/b"))
    a\/b a\/b a\\\/b
    """
    return re.sub(r"\\?/|\\.", lambda found: r"\/" if found[0][-1] == "/" else found[0], pattern, flags=re.DOTALL)


@dataclass(frozen=True)
class Grammar(Contract):
    r"""Every text that a grammar derives.

    Attributes:
        name: the text that :func:`lambda_star.contract.parse` reads.
        grammar: the grammar in llguidance's language, which is close to Lark's.

    >>> digits = Grammar("digits", 'start: DIGIT "-" DIGIT\nDIGIT: /[0-9]/')
    >>> digits.valid("1-2"), digits.prefix("1-"), digits.prefix("1+")
    (True, True, False)
    """

    grammar: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        said = load("llguidance").LLMatcher.validate_grammar(self.grammar)
        if said and not said.startswith("WARNING"):
            text = re.sub(r"\s+", " ", said).strip()
            raise ValueError(f"contract {self.name} cannot be used: {text}")

    @cached_property
    def _matcher(self) -> Any:
        engine = load("llguidance")
        return engine.LLMatcher(engine.LLTokenizer("byte"), self.grammar, log_level=0)

    def _follow(self, text: str) -> tuple[Any, bool]:
        """A matcher after a text, and whether the grammar derives a text that starts so."""
        matcher = self._matcher.deep_copy()
        data = list(text.encode("utf-8", "surrogatepass"))
        return matcher, matcher.try_consume_tokens(data) == len(data)

    def valid(self, text: str) -> bool:
        """Return whether the grammar derives the text."""
        matcher, alive = self._follow(text)
        return alive and bool(matcher.is_accepting())

    def prefix(self, text: str) -> bool | None:
        """Return whether the grammar derives a text that starts so; None if that is too much for the engine."""
        matcher, alive = self._follow(text)
        return None if matcher.is_error() else alive

    def masks(self, tokenizer: Any) -> Masks:
        """Return the masks over the vocabulary of a fast tokenizer."""
        return GrammarMasks(self, self.grammar, tokenizer)


class GrammarMasks(Masks):
    """The masks of a grammar; they are quick where an answer goes on from the one before."""

    def __init__(self, contract: Contract, grammar: str, tokenizer: Any) -> None:
        self._contract = contract
        self._tokenizer = _engine_tokenizer(tokenizer)
        self._start = _start(self._tokenizer, grammar)
        self._matcher = self._start.deep_copy()
        self._taken: list[int] = []

    def allowed(self, tokens: Sequence[int]) -> NDArray[np.bool_] | None:
        """Return which tokens of the vocabulary may come next, the end of the answer included; None once broken."""
        tokens = list(tokens)
        if self._taken != tokens[: len(self._taken)]:
            self._matcher = self._start.deep_copy()  # `reset` of llguidance 1.9 leaves traces of the answer before
            self._taken = []
        rest = tokens[len(self._taken) :]
        count = self._matcher.try_consume_tokens(rest)
        self._taken += rest[:count]
        if count < len(rest) or self._matcher.is_error():
            return None
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little")[: self._tokenizer.vocab_size].astype(np.bool_)
        ends = [token for token in self._tokenizer.eos_tokens if mask[token]]
        if ends and not self._contract.valid(self._tokenizer.decode_str(tokens)):
            mask[ends] = False
        return mask


@lru_cache(maxsize=4)
def _start(tokenizer: Any, grammar: str) -> Any:
    """A matcher before the first token; making one takes longer than copying it."""
    return load("llguidance").LLMatcher(tokenizer, grammar, log_level=0)


@lru_cache(maxsize=4)
def _engine_tokenizer(tokenizer: Any) -> Any:
    """The engine's form of a tokenizer, which takes about a second to make."""
    engine = load("llguidance")
    if isinstance(tokenizer, engine.LLTokenizer):
        return tokenizer
    if not hasattr(tokenizer, "backend_tokenizer"):
        kind = type(tokenizer).__name__
        raise ValueError(f"tokenizer must be a fast tokenizer of transformers or one of llguidance, got {kind}")
    return load("llguidance.hf").from_tokenizer(tokenizer)
