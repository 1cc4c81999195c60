"""The array libraries under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict
import jax
import jax.numpy as jnp
import torch


class Library(NamedTuple):
    """How a library makes an array, the dtypes to test, and the class of its arrays."""

    make: Callable[..., Any]
    dtypes: tuple[str, ...]
    kind: type[Any]


LIBRARIES = {
    "torch": Library(torch.tensor, ("float32", "float64"), torch.Tensor),
    "jax": Library(jnp.asarray, ("float32",), jax.Array),
    "strict": Library(array_api_strict.asarray, ("float32", "float64"), type(array_api_strict.asarray(1.0))),
}
