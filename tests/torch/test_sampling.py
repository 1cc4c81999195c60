"""The sampler draws what the student's logits say: without a cache, in any batch, in the right shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.torch import tiny

pytest.importorskip("transformers", reason="the models need transformers: pip install 'lambda-star[models]'")

from lambda_star.torch.models import pair_of
from lambda_star.torch.pairs import Pair
from lambda_star.torch.sampling import Sampled, exponential, sample

PROMPTS = [[4, 5, 6], [7], [4, 5, 6], [8, 9, 10, 11, 12, 13], [4, 5, 7], [9, 9], [14], [4, 5, 6]]
KEYS = [0, 1, 2, 3, 3, 5, 6, 0]


def pair(ends: Any = 1, dtype: torch.dtype = torch.float32) -> Pair:
    return pair_of(tiny.model(0, ends=ends).to(dtype), tiny.model(1, ends=ends).to(dtype), tiny.tokenizer())


def mixture(lam: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda logits_t, logits_b, _: lam * logits_t + (1 - lam) * logits_b


def draw(pair: Pair, lam: float, batch: int, **settings: Any) -> list[Sampled]:
    given: Any = {"keys": KEYS, "seed": 3, "max_tokens": 25} | settings
    return sorted(sample(pair, PROMPTS, mixture(lam), batch=batch, **given))


def slowly(pair: Pair, lam: float, index: int, max_tokens: int = 25) -> Sampled:
    """One answer without cache and padding."""
    tokens: list[int] = []
    while len(tokens) < max_tokens and not (tokens and tokens[-1] in pair.ends):
        ids = torch.tensor([[*PROMPTS[index], *tokens]])
        with torch.no_grad():
            logits_t, logits_b = (each.model(ids).logits[0, -1] for each in (pair.teacher, pair.base))
        noise = torch.empty(len(logits_t))
        exponential(noise, 3, KEYS[index], len(tokens))
        tokens.append(int((lam * logits_t + (1 - lam) * logits_b - noise.log()).argmax()))
    return Sampled(index, tokens, tokens[-1] in pair.ends)


@pytest.mark.parametrize("lam", [0.0, 1.0, 1.5])
def test_answers_are_those_of_a_loop_without_cache_in_any_batch(lam: float) -> None:
    two = pair(ends=[1, 2, 5, 9])
    wanted = [slowly(two, lam, index) for index in range(len(PROMPTS))]
    assert len({len(answer.tokens) for answer in wanted}) > 3  # rows leave at different times
    for batch in (1, 2, 3, 5, 8, 100):
        assert draw(two, lam, batch) == wanted


def test_equal_keys_draw_equal_noise_and_others_do_not() -> None:
    two = pair()
    answers = draw(two, 1.0, 8)
    assert answers[0].tokens == answers[7].tokens  # the same prompt and key
    assert answers[0].tokens != answers[2].tokens  # the same prompt, another key
    assert answers[0].tokens != draw(two, 1.0, 8, seed=4)[0].tokens


def test_every_end_of_the_settings_for_generation_ends_an_answer() -> None:
    two = pair(ends=[2, 5])
    assert two.ends == (1, 2, 5)
    answers = draw(two, 1.0, 3, max_tokens=40)
    assert {answer.tokens[-1] for answer in answers if answer.ended} <= {1, 2, 5}
    assert len({answer.tokens[-1] for answer in answers}) > 1
    assert all(not set(answer.tokens[:-1]) & {1, 2, 5} for answer in answers)


def test_an_answer_without_end_is_cut() -> None:
    answers = draw(pair(), 1.0, 8, max_tokens=3)
    assert all(answer.ended or len(answer.tokens) == 3 for answer in answers)
    assert not all(answer.ended for answer in answers)


def test_the_answers_have_the_shares_of_the_exact_distribution() -> None:
    """All answers of up to two tokens against their probabilities, by a chi-square test with a fixed seed."""
    two, lam, count = pair(), 1.3, 6000
    start = torch.tensor([[4, 5, 6]])

    def law(ids: Tensor) -> Tensor:
        with torch.no_grad():
            logits = [each.model(ids).logits[:, -1].double() for each in (two.teacher, two.base)]
        return torch.softmax(lam * logits[0] + (1 - lam) * logits[1], dim=1)

    size = two.vocabulary
    first = law(start)[0]
    second = law(torch.cat([start.expand(size, -1), torch.arange(size)[:, None]], dim=1))
    exact: dict[tuple[int, ...], float] = {
        (a, b): float(first[a] * second[a, b]) for a in range(size) if a not in two.ends for b in range(size)
    }
    exact |= {(a,): float(first[a]) for a in two.ends}
    settings: Any = {"keys": range(count), "seed": 0, "batch": 500, "max_tokens": 2}
    seen = Counter(tuple(one.tokens) for one in sample(two, [[4, 5, 6]] * count, mixture(lam), **settings))
    large = [answer for answer, share in exact.items() if share * count >= 5]
    shares = np.array([exact[answer] for answer in large])
    counts = np.array([seen[answer] for answer in large])
    assert len(large) > 10
    test = scipy.stats.chisquare([*counts, count - counts.sum()], [*count * shares, count * (1 - shares.sum())])
    assert test.pvalue > 0.01


def test_bfloat16_runs() -> None:
    answers = draw(pair(dtype=torch.bfloat16), 1.2, 4)
    assert [answer.index for answer in answers] == list(range(len(PROMPTS)))


def test_the_student_gets_float32_rows_of_the_answers_that_it_is_told() -> None:
    two = pair(dtype=torch.bfloat16)
    seen = []

    def student(logits_t: Tensor, logits_b: Tensor, indices: Tensor) -> Tensor:
        assert logits_t.dtype == logits_b.dtype == torch.float32
        assert logits_t.shape == (len(indices), two.vocabulary)
        seen.append(indices.tolist())
        return logits_b

    list(sample(two, PROMPTS, student, keys=KEYS, seed=0, batch=4, max_tokens=30))
    assert sorted({index for each in seen for index in each}) == list(range(len(PROMPTS)))
    assert min(map(len, seen)) < 4  # rows left


def test_what_cannot_be_sampled_is_refused() -> None:
    two = pair()
    with pytest.raises(ValueError, match="keys must hold one key for each of 8 prompts, got 2"):
        draw(two, 1.0, 8, keys=[0, 1])
    with pytest.raises(ValueError, match=r"prompts must hold from 1 to 2046 tokens each, .*, got 0 at index 1"):
        list(sample(two, [[4], []], mixture(1.0), keys=[0, 1], seed=0, batch=2, max_tokens=3))
    with pytest.raises(ValueError, match="student must give numbers, got NaN for answer 6 at position 0"):
        list(
            sample(
                two,
                PROMPTS,
                lambda t, b, i: t * torch.where(i == 6, torch.nan, 1.0)[:, None],
                keys=KEYS,
                seed=0,
                batch=8,
                max_tokens=3,
            )
        )

    for name, value in (("batch", 0), ("max_tokens", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            draw(two, 1.0, **{"batch": 2, name: value})


def test_a_model_with_absolute_positions_reads_padded_prompts_and_its_context_is_kept() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    def model(seed: int) -> Any:
        torch.manual_seed(seed)
        sizes: Any = {"n_positions": 30, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.6}
        kind: Any = GPT2LMHeadModel
        return kind(GPT2Config(vocab_size=len(tiny.CHARACTERS), eos_token_id=1, bos_token_id=None, **sizes))

    two = pair_of(model(0), model(1), tiny.tokenizer())
    wanted = [slowly(two, 1.5, index) for index in range(len(PROMPTS))]
    for batch in (1, 3, 8):
        assert draw(two, 1.5, batch) == wanted
    given: Any = {"keys": [0], "seed": 0, "batch": 1, "max_tokens": 3}
    assert len(list(sample(two, [[4] * 28], mixture(1.0), **given))) == 1
    with pytest.raises(ValueError, match=r"from 1 to 28 tokens each, with answers of up to 3, got 29 at index 0"):
        list(sample(two, [[4] * 29], mixture(1.0), **given))


def test_the_student_is_asked_only_about_answers_that_still_run() -> None:
    """What follows the end of an answer is no prefix, and a rule may have no student there."""
    two = pair(ends=[1, 2, 5, 9])
    asked: list[int] = []

    def student(logits_t: Tensor, logits_b: Tensor, indices: Tensor) -> Tensor:
        asked.extend(indices.tolist())
        return 1.5 * logits_t - 0.5 * logits_b

    answers = sorted(sample(two, PROMPTS, student, keys=KEYS, seed=3, batch=8, max_tokens=25))
    assert answers == draw(two, 1.5, 1)
    assert Counter(asked) == {answer.index: len(answer.tokens) for answer in answers}


def test_past_the_collapse_no_answer_holds_a_token_that_the_cap_has_killed() -> None:
    from lambda_star import updates
    from lambda_star.torch.predicted import predicted_student

    two, rule, lam = pair(), updates.log_ratio_cap(1.05), 6.0
    predicted, dead, drawn = predicted_student(rule), 0, 0

    def student(logits_t: Tensor, logits_b: Tensor, indices: Tensor) -> Tensor:
        nonlocal dead
        rows = predicted(logits_t, logits_b, torch.full((len(indices),), lam, dtype=torch.float64))
        dead += int((rows == -torch.inf).sum())
        return rows

    given: Any = {"seed": 0, "batch": 50, "max_tokens": 1}
    for answer in sample(two, [[4, 5, 6]] * 200, student, keys=range(200), **given):
        with torch.no_grad():
            logits = [each.model(torch.tensor([[4, 5, 6]])).logits[:, -1] for each in (two.teacher, two.base)]
        alive = predicted(logits[0], logits[1], torch.tensor([lam]))[0] > -torch.inf
        assert alive[answer.tokens[0]]
        drawn += 1
    assert (drawn, dead > 0) == (200, True)


def test_noise_is_standard_exponential_down_to_rare_events() -> None:
    noise = torch.empty(400_000)
    exponential(noise, 1, 2, 3)
    assert scipy.stats.kstest(noise.double().numpy(), "expon").pvalue > 0.01
    again = torch.empty(400_000)
    exponential(again, 1, 2, 4)
    assert abs(np.corrcoef(noise.numpy(), again.numpy())[0, 1]) < 0.01


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same_in_any_batch() -> None:
    two = pair_of(tiny.model(0).cuda(), tiny.model(1).cuda(), tiny.tokenizer())
    assert draw(two, 1.2, 1) == draw(two, 1.2, 8)
