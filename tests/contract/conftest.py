"""A real tokenizer: that of SmolLM2, whose origin the README beside it names."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Tokens(NamedTuple):
    """A tokenizer in the form of llguidance, and the text of every token; special tokens have none."""

    engine: Any
    texts: list[str]
    end: int

    def split(self, text: str) -> list[str]:
        """The texts of the tokens of a text."""
        return [self.texts[token] for token in self.ids(text)]

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.engine.tokenize_str(text)
        return found

    def plain(self, token: int) -> bool:
        """Whether a token is whole characters of text, so that a text shows what it does."""
        return bool(self.texts[token]) and "\ufffd" not in self.texts[token]


def tokenizer_json() -> str:
    return gzip.decompress(Path(__file__).with_name("tokenizer.json.gz").read_bytes()).decode("utf-8")


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    llguidance = pytest.importorskip("llguidance")
    text = tokenizer_json()
    engine = llguidance.LLTokenizer(text)
    end = engine.tokenize_str("<|im_end|>", parse_special=True)[0]
    engine = llguidance.LLTokenizer(text, eos_token=end)
    every = range(engine.vocab_size)
    texts = ["" if engine.is_special_token(token) else engine.decode_str([token]) for token in every]
    return Tokens(engine, texts, end)
