"""The small models of the cliff experiment: side by side, with a cache, and sampled."""

from __future__ import annotations

import pytest
import torch

from lambda_star.cliff.model import Cache, forward, new_weights, repeat, sample
from lambda_star.cliff.task import counted


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_models_side_by_side_do_not_touch_each_other() -> None:
    one, other = (new_weights(14, 8, 9, seeded(seed)) for seed in (0, 1))
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    tokens = torch.randint(14, (2, 5, 9), generator=seeded(2))
    logits = forward(both, tokens)
    for index, weights in enumerate((one, other)):
        torch.testing.assert_close(logits[index], forward(weights, tokens[index : index + 1])[0])
    twins = repeat(one, 3)
    twins["head"][1] += 1
    torch.testing.assert_close(twins["head"][0], one["head"][0])


@pytest.mark.parametrize("parts", [[1] * 9, [3, 3, 3], [8, 1], [1, 8]])
def test_a_cache_gives_what_the_whole_gives(parts: list[int]) -> None:
    weights = new_weights(14, 8, 9, seeded())
    cache: Cache = {}
    tokens = torch.randint(14, (1, 5, 9), generator=seeded(2))
    pieces = [forward(weights, part, cache) for part in torch.split(tokens, parts, dim=-1)]
    torch.testing.assert_close(torch.cat(pieces, dim=2), forward(weights, tokens))


@pytest.mark.parametrize(("width", "layers"), [(8, 1), (32, 2), (64, 3)])
def test_a_model_has_the_width_and_the_layers_that_are_asked_for(width: int, layers: int) -> None:
    weights = new_weights(14, width, 9, seeded(), layers)
    tokens = torch.randint(14, (1, 5, 9), generator=seeded(2))
    assert (len(weights), weights["head"].shape[1]) == (3 + 4 * layers, width)
    before = forward(weights, tokens)
    for layer in range(layers):
        assert not torch.allclose(forward(weights | {f"mix{layer}": 0 * weights[f"mix{layer}"]}, tokens), before)


def test_a_token_sees_only_what_was_before_it() -> None:
    weights = new_weights(14, 8, 9, seeded())
    tokens = torch.randint(14, (1, 1, 9), generator=seeded(2))
    changed = tokens.clone()
    changed[..., 5] = (changed[..., 5] + 1) % 14
    before, after = forward(weights, tokens), forward(weights, changed)
    torch.testing.assert_close(before[:, :, :5], after[:, :, :5])
    assert not torch.allclose(before[:, :, 5:], after[:, :, 5:])


def test_samples_follow_the_models_probabilities_and_stop() -> None:
    weights = new_weights(4, 8, 6, seeded())
    rows = sample(weights, 20_000, 6, seeded(1))[0]
    first = torch.bincount(rows[:, 1], minlength=4) / len(rows)
    expected = torch.softmax(forward(weights, torch.zeros(1, 1, 1, dtype=torch.long))[0, 0, 0], -1)
    assert ((first - expected).abs() < 4 * (expected * (1 - expected) / len(rows)).sqrt()).all()
    stopped = (rows[:, 1:] == 0).cumsum(-1) > 0
    assert (rows[:, 1:][stopped] == 0).all()
    inside = counted(rows)
    assert not inside[:, 0].any()
    assert (inside.sum(-1) == ((rows[:, 1:] != 0).sum(-1) + 1).clamp(max=5)).all()
