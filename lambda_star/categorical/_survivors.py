"""Which tokens training with the clip leaves alive.

In the order of falling push, a token survives if those before it do not lift the level past its release. So all tokens
from some push on survive. That push is bracketed by sums over whole rows; only the tokens inside the bracket, of a
whole vocabulary usually a handful, are put in order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lambda_star._core.namespaces import Values, numpy, on_device_of
from lambda_star._core.rows import dot
from lambda_star.categorical._rows import log_sum_exp, take

LIMIT = 2**12  # tokens of a row that are put in order without another sum
SUMS = 12  # at most; many tokens of equal push cannot be told apart by sums


class Block(NamedTuple):
    """Rows of log-weights z, pushes and masses e^(z + push − top).

    The clip lets go of a token at the level push + reach.
    """

    z: Values
    push: Values
    masses: Values
    top: Values
    reach: Values

    def held(self, xp: Any, least: Values) -> tuple[Values, Values]:
        """Which tokens have some push at least, and the sum of their masses."""
        there = self.push >= least[:, None]
        if xp is not numpy:
            return there, dot(xp, xp.where(there, self.masses, 0.0))
        masses = xp.astype(there, self.masses.dtype)
        masses *= self.masses
        return there, dot(xp, masses)

    def edge(self, xp: Any, held: Values) -> Values:
        """The push below which a token dies if tokens before it hold a mass."""
        return xp.log(held) + self.top - self.reach


class Survivors(NamedTuple):
    """What training leaves of each row, as vectors: a token of push x ≥ ``last`` has the mass e^(z + x − level).

    Where the last one slides, the tokens of push x = ``last`` have e^(z + slid) instead.
    """

    last: Values
    level: Values
    slides: Values
    slid: Values


def survivors(xp: Any, block: Block, level: Values, least: Values) -> Survivors:
    """Find the last survivors of each row, given the level of all its tokens and its least push."""
    high = level - block.reach
    ahead, held = block.held(xp, high)
    low = xp.maximum(block.edge(xp, held), least)
    for _ in range(SUMS):
        rows, tokens = xp.nonzero((block.push >= low[:, None]) & ~ahead)
        if tokens.shape[0] <= LIMIT * high.shape[0]:
            break
        middle = low + (high - low) / 2
        there, here = block.held(xp, middle)
        edge = block.edge(xp, here)
        alive = edge <= middle
        low = xp.where(alive, xp.maximum(low, edge), middle)
        held, high = xp.where(alive, here, held), xp.where(alive, middle, high)
        ahead = ahead | (there & alive[:, None])
    return _in_order(xp, block, held, high, *_gathered(xp, block, rows, tokens))


def _gathered(xp: Any, block: Block, rows: Values, tokens: Values) -> tuple[Values, Values, Values]:
    """Push, mass and z of some tokens, a row for each row of the block; short rows end with tokens of push -inf."""
    each = on_device_of(xp, rows, np.arange(block.push.shape[0]), rows.dtype)
    start, stop = (xp.searchsorted(rows, each, side=side)[:, None] for side in ("left", "right"))
    slot = start + on_device_of(xp, rows, np.arange(max(int(xp.max(stop - start)), 1)), start.dtype)
    padded = xp.concat([tokens, xp.zeros_like(each[:1])])  # so that there is a token to point at
    place = xp.take(padded, xp.reshape(xp.where(slot < stop, slot, 0), (-1,)))
    place = xp.reshape(place, slot.shape)
    push = xp.where(slot < stop, xp.take_along_axis(block.push, place, axis=-1), -math.inf)
    order = xp.argsort(push, axis=-1, descending=True) if xp is not numpy else np.argsort(-push, axis=-1)
    place, push = (xp.take_along_axis(values, order, axis=-1) for values in (place, push))
    masses = xp.where(push > -math.inf, xp.take_along_axis(block.masses, place, axis=-1), 0.0)
    return push, masses, xp.take_along_axis(block.z, place, axis=-1)


def _in_order(xp: Any, block: Block, held: Values, high: Values, push: Values, masses: Values, z: Values) -> Survivors:
    """Let the tokens in falling order join those that are held, as long as they survive."""
    mass = held[:, None] + xp.cumulative_sum(masses, axis=-1)
    before = xp.concat([held[:, None], mass[:, :-1]], axis=-1)
    order = xp.argmax(push, axis=-1).dtype  # of an index
    alive = (push >= block.edge(xp, before.T).T) & (push > -math.inf)
    index = xp.sum(xp.astype(alive, order), axis=-1) - 1
    joined, index = index >= 0, xp.where(index < 0, 0, index)
    last = xp.where(joined, take(xp, push, index)[:, 0], high)
    level = xp.log(xp.where(joined, take(xp, mass, index)[:, 0], held)) + block.top
    release = last + block.reach
    slides = joined & (release < level)
    level = xp.where(slides, release, level)
    ahead = held + dot(xp, xp.where(push > last[:, None], masses, 0.0))
    left = xp.log1p(-xp.minimum(ahead * xp.exp(block.top - level), xp.ones_like(level)))
    ties = xp.where(push == last[:, None], z, -math.inf)
    return Survivors(last, level, slides, left - log_sum_exp(xp, ties))
