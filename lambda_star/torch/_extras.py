"""The one message for a missing optional package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["transformers_for"]


@contextmanager
def transformers_for(purpose: str) -> Iterator[None]:
    """Import transformers inside this block; if it is missing, the error says what needs it and what to install."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{purpose} needs transformers; install it with: pip install 'lambda-star[trl]'") from error
