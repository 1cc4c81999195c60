"""The task of the cliff experiment: tokens and text, the contract by JSON's rules, and the training data."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lambda_star.cliff.model import new_weights, sample
from lambda_star.cliff.task import STYLES, Task, parsed

TASKS = [Task(style, items) for style in STYLES for items in (1, 3)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_tokens_and_text_are_two_ways_to_write_a_list(task: Task) -> None:
    ones, stop = task.style == "unary", int(task.style != "unary")  # a list of ones has no room for a stop
    for digits in ([1 if ones else 7], [1, 1, 1][: task.items] if ones else [0, 9, 0][: task.items]):
        text = task.text(digits)
        assert parsed(text) == digits
        assert task.decode(task.encode(text)) == text
        assert len(task.encode(text)) <= task.length - stop
    assert len(task.encode(task.text([0] * task.items))) == task.length - stop


@pytest.mark.parametrize(
    "text", ["", "[1,2", "[1 2]", "[12]", '["1", 2, true]', "[null]", "{}", '["a"]', "[1.0]", "[-1]"]
)
def test_what_is_no_list_of_digits_is_not_parsed(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_contract_is_what_jsons_rules_leave(task: Task) -> None:
    """It is compared with all texts of at most seven tokens."""
    ones = task.style == "unary"
    words = ["", *["1"] * (not ones), *STYLES[task.style]]
    texts = {"".join(choice) for size in range(1, 8) for choice in itertools.product(words[1:], repeat=size)}
    valid = {text for text in texts if parsed(text) is not None}
    answer = task.encode(task.text([1] * task.items))
    goes, ends = task.contract(answer)
    for place in range(min(len(answer), 4)):
        text = task.decode(answer[: place + 1])
        last = text.count("1") + ones == task.items and any(text + end in valid for end in ("]", '"]', "1]"))
        for word in words[1:]:
            token = task.words.index(word)
            begins = any(one.startswith(text + word) for one in valid)
            over = text + word in valid or (word == '"' and text + word + "]" in valid)
            assert ends[place, token] == over
            assert goes[place, token] == (begins and not over and not last)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_going_on_never_ends_and_never_breaks_a_list(task: Task) -> None:
    weights = new_weights(len(task.words), 8, task.length, seeded())
    rows = sample(weights, 20, task.length, seeded(1), task.going_on())[0]
    assert rows.shape == (20, task.length)
    for row in rows.tolist():
        goes, ends = task.contract(row)
        assert not any(ends[place, token] for place, token in enumerate(row[1:]))
        last = int(np.flatnonzero(~goes.any(axis=1))[0])
        assert task.decode(row[: last + 1]).count(task.words[task.separator]) == task.items - 1
        assert all(goes[place, token] for place, token in enumerate(row[1 : last + 1]))


def test_data_end_lists_as_often_as_asked_and_cut_off_long_ones() -> None:
    task = Task("plain", 30)
    rows = task.answers(2000, 0.2, 0.9, np.random.default_rng(0))
    lists = [parsed(task.decode(row)) for row in rows.tolist()]
    sizes = np.array([len(one) for one in lists if one is not None])
    assert sizes.mean() == pytest.approx(5, abs=0.4)
    assert np.mean([one is None for one in lists]) == pytest.approx(0.8**30, abs=0.003)
    steps = [(b - a) % 10 == 1 for one in lists if one for a, b in itertools.pairwise(one)]
    assert np.mean(steps) == pytest.approx(0.9 + 0.1 / 10, abs=0.02)
    short = Task("plain", 3).answers(500, 0.2, 0.9, np.random.default_rng(0)).tolist()
    cut = [row for row in short if parsed(Task("plain", 3).decode(row)) is None]
    assert np.mean([len(cut) / 500]) == pytest.approx(0.8**3, abs=0.06)


@pytest.mark.parametrize(("style", "items"), [("loud", 3), ("plain", 0)])
def test_a_task_names_what_it_cannot_be(style: str, items: int) -> None:
    with pytest.raises(ValueError, match=r"must (be one of|lie in)"):
        Task(style, items)
