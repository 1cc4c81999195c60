"""The model in two parts computes and draws what the whole model does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gguf")  # first, because it is often missing and the others take long to load
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.append(str(Path(__file__).parent.parent / "examples" / "letters"))
import split  # noqa: E402

END, ROOM = 5, 7


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=11, num_key_value_heads=1, max_position_embeddings=32, **sizes)
    config._attn_implementation = "sdpa"
    return transformers.LlamaForCausalLM(config).eval()


def drawn(model: Any, noise: Any) -> tuple[Any, Any, Any]:
    prompts = torch.randint(11, (6, 3), generator=torch.Generator().manual_seed(1))
    guess = torch.randint(11, (6, ROOM), generator=torch.Generator().manual_seed(2))
    return prompts, *split.sample(model, prompts, guess, END, noise)


def test_trunk_and_last_layers_are_the_whole_model(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "CUT", 2)
    prompts, answers, hidden = drawn(model, torch.ones(6, ROOM, 11))
    keep = split.answer_mask(answers, 3, END)
    assert keep.sum() == sum([*row.tolist(), END].index(END) + 1 for row in answers[:, :-1])
    with torch.no_grad():
        whole = model(input_ids=torch.cat([prompts, answers[:, :-1]], dim=1)).logits
        torch.testing.assert_close(split.logits(model, hidden, keep), whole[keep])


def test_all_places_at_once_draw_what_token_by_token_draws(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "CUT", 1)
    noise = torch.empty(6, ROOM, 11).exponential_(generator=torch.Generator().manual_seed(3))
    prompts, answers, _ = drawn(model, noise)
    for row, (read, seen) in enumerate(zip(prompts, answers, strict=True)):
        for place in range(ROOM):
            with torch.no_grad():
                odds = model(input_ids=read[None]).logits[0, -1] - noise[row, place].log()
            assert odds.argmax() == seen[place]
            read = torch.cat([read, odds.argmax()[None]])  # noqa: PLW2901
            if seen[place] == END:
                assert (seen[place:] == END).all()
                break
    assert 0 < (answers == END).any(dim=1).sum() < 6
