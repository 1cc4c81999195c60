"""An array of texts, kept as one number per entry and the distinct texts once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Texts"]


class Texts:
    """An array of texts that keeps each distinct text once, so that work on texts is done once for each of them.

    Attributes:
        values: the distinct texts; not every one need occur.
        codes: for every entry, the index of its text in ``values``.

    >>> texts = Texts.of(["[", "A7", "[", "]"])
    >>> len(texts), texts[2], texts[1:].tolist(), texts.values.tolist()
    (4, '[', ['A7', '[', ']'], ['[', 'A7', ']'])
    >>> texts == "["
    array([ True, False,  True, False])
    """

    __slots__ = ("codes", "values")
    __hash__ = None  # type: ignore[assignment]  # it compares entry by entry, as arrays do

    def __init__(self, values: NDArray[np.object_], codes: NDArray[np.intp]) -> None:
        self.values, self.codes = values, codes

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Return the array of some texts, whose ``values`` are distinct and in the order in which they occur.

        >>> Texts.of("abba").codes.tolist()
        [0, 1, 1, 0]
        """
        index: dict[str, int] = {}
        codes = np.fromiter((index.setdefault(text, len(index)) for text in texts), dtype=np.intp)
        return cls(_objects(index), codes)

    @classmethod
    def joined(cls, parts: Iterable[Texts]) -> Texts:
        """Return several arrays after one another as one, whose ``values`` are distinct and occur.

        >>> Texts.joined([Texts.of("ab"), Texts.of("bc")]).tolist()
        ['a', 'b', 'b', 'c']
        """
        index: dict[str, int] = {}
        codes = [np.empty(0, dtype=np.intp)]
        for part in parts:
            used = np.flatnonzero(np.bincount(part.codes, minlength=len(part.values)))
            known = np.zeros(len(part.values), dtype=np.intp)
            known[used] = [index.setdefault(text, len(index)) for text in part.values[used]]
            codes.append(known[part.codes])
        return cls(_objects(index), np.concatenate(codes))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> str: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int]) -> Texts: ...
    def __getitem__(self, index: Any) -> str | Texts:
        codes = self.codes[index]
        return Texts(self.values, codes) if isinstance(codes, np.ndarray) else str(self.values[codes])

    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return np.asarray(self.values[self.codes] == np.asarray(other, dtype=object))

    def __ne__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return ~(self == other)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.values[self.codes]
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        return f"Texts.of({self.tolist()!r})"

    def tolist(self) -> list[str]:
        """Return the texts in order."""
        found: list[str] = self.values[self.codes].tolist()
        return found


def _objects(texts: Iterable[str]) -> NDArray[np.object_]:
    """An array of Python strings, which also runs on NumPy 1.26 and keeps trailing null characters."""
    return np.array([*texts, None], dtype=object)[:-1]
