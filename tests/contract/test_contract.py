"""Tokens belong to the first rule that matches all of their text, however a tokenizer writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_star import categorical
from lambda_star.contract import JSON_RULES, by_patterns, classify, json_structure

VOCABULARY = 49_152
NAMES = ("end", "close", "open", "separate", "quote", "space", "content")
SPACE = ["", " ", "\n", "Ġ", "▁▁", "Ċ", "ĉ", "<0x0A>"]
WORDS = ["price", "A7", "don't", "Ġprice", "true", "-1.5", "end", "<0x41>", "'", "(", "“", "，", "\\", "a\nb"]
ALMOST = ["5]", '"price', '[ "', '"\n"', "</s>]", "<0x22>]", "<0x123>", "<s>", "<unk>", "<legend>", "<append>"]
ENDS = ["<|end|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>"]
CLOSERS = ["]", "}", '"]', '"}', "}]", "]]", '""]', "],", '"],', '"}],', "[]", "{}", '[""]', '"},{"']
TOKENS = {
    "end": [*ENDS, "<|im_end|>", "</s>", "<|endoftext|>", "<|eot_id|>", "<eos>", "<end_of_turn>", " </s>\n"],
    "close": [*CLOSERS, "]}Ċ", "Ġ]", "▁}", " ]\n", "<0x5D>", "<0x5d>", "<0x7D>"],
    "open": ["[", "{", '["', '{"', "[[", "[{", '[{"', ',["', ':{"', 'Ġ["', '▁["', '{"Ċ', ' ["', "<0x5B>", "<0x7b>"],
    "separate": [",", ":", '",', ',"', '","', '":', '":"', '",":', "Ġ,", ",ĠĊ", "▁:", ", ", "<0x2C>", "<0x3A>"],
    "quote": ['"', '""', 'Ġ"', '▁"', '"Ċ', ' "', "<0x22>"],
    "space": SPACE,
    "content": [*WORDS, *ALMOST],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_default_rules_know_every_effect_on_a_json_answer(name: str) -> None:
    found = classify(TOKENS[name])
    assert found.names == NAMES == tuple(name for name, _ in JSON_RULES)
    assert {
        token: found.names[label] for token, label in zip(TOKENS[name], found.labels, strict=True)
    } == dict.fromkeys(TOKENS[name], name)


@given(st.lists(st.text(), max_size=20))
def test_every_text_has_one_of_the_default_classes(tokens: list[str]) -> None:
    found = classify(tokens)
    assert found.labels.shape == (len(tokens),)
    assert found.labels.dtype == np.int64
    assert all(0 <= label < len(NAMES) for label in found.labels)


@given(st.text(alphabet='[]{}:,"aĠ▁Ċ ', max_size=6), st.sampled_from(["", " ", "\n", "Ġ", "▁", "Ċ", "ĉ"]))
def test_white_space_around_a_token_does_not_matter(token: str, space: str) -> None:
    assert len(set(classify([token, space + token, token + space, space + token + space]).labels.tolist())) == 1


@given(st.text(alphabet='[]{}:,"', min_size=1, max_size=6))
def test_marks_belong_to_the_strongest_of_them(token: str) -> None:
    strongest = next(
        name for name, marks in zip(NAMES[1:], ("]}", "[{", ",:", '"'), strict=False) if {*marks} & {*token}
    )
    assert NAMES[classify([token]).labels[0]] == strongest
    assert json_structure(token) == token


# Rules of one's own


def test_the_first_rule_that_matches_wins() -> None:
    tokens = ["a", "b", "ab"]
    assert classify(tokens, [("any", ".+"), ("a", "a")]).labels.tolist() == [0, 0, 0]
    found = classify(tokens, [("a", "a"), ("any", ".+")])
    assert (found.labels.tolist(), found.names) == ([0, 1, 1], ("a", "any"))


def test_a_rule_must_match_the_whole_token() -> None:
    assert classify(["a", "ab", "ba", "a b", "a\nb"], [("a", "a|a.b")]).labels.tolist() == [0, -1, -1, 0, -1]


def test_a_token_without_a_rule_is_in_no_class() -> None:
    found = classify(["]", "x", "", " "], [("close", "]")])
    assert (found.labels.tolist(), found.names) == ([0, -1, -1, -1], ("close",))


def test_rules_of_one_name_are_one_class() -> None:
    found = classify(["]", ",", "}", "x"], [("close", "]"), ("comma", ","), ("close", "}")])
    assert (found.labels.tolist(), found.names) == ([0, 1, 0, -1], ("close", "comma"))


def test_rules_see_the_text_that_a_token_stands_for() -> None:
    tokens = ["ĠA", "<0x41>", "▁A", "A", "<0x41", "ĠĠAĊ"]
    assert classify(tokens, [("a", "A")]).labels.tolist() == [0, 0, 0, 0, -1, 0]
    assert classify(["a▁b", "aĠb", "aĊb"], [("inside", r"a\sb")]).labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("pattern", ["(", "[", "*a", r"\1", "(?P<x>a)(?P<x>b)"])
def test_a_pattern_that_is_not_a_regular_expression_is_named(pattern: str) -> None:
    said = rf"^rules: close has {re.escape(repr(pattern))}, which is not a regular expression \(.+\)$"
    with pytest.raises(ValueError, match=said):
        classify(["a"], [("open", "a"), ("close", pattern)])


def test_no_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^rules must hold at least one pair .*, got none$"):
        classify(["a"], [])


def test_white_space_alone_is_kept() -> None:
    rules = [("newline", r"\n+"), ("indent", " +"), ("word", "[a-z]+")]
    assert classify(["\n\n", "Ċ", "▁▁", " a\n", "\n "], rules).labels.tolist() == [0, 0, 1, 2, -1]


# Labellers


@given(st.lists(st.text(alphabet='[]{}:,"aĠ▁Ċ ', max_size=6), max_size=10))
def test_pairs_and_their_labeller_give_the_same_classes(tokens: list[str]) -> None:
    pairs, labeller = classify(tokens, JSON_RULES), classify(tokens, by_patterns(JSON_RULES))
    assert [pairs.names[label] for label in pairs.labels] == [labeller.names[label] for label in labeller.labels]


def test_a_labeller_names_the_classes_that_occur_and_leaves_other_tokens_out() -> None:
    found = classify(["Ġ]", "price", "[", "<0x5D>"], json_structure)
    assert (found.labels.tolist(), found.names) == ([0, -1, 1, 0], ("]", "["))
    empty = classify(["price"], json_structure)
    assert (empty.labels.tolist(), empty.names) == ([-1], ())


def test_a_labeller_from_patterns_reads_text_without_white_space_around_it() -> None:
    label = by_patterns([("close", "[]}]"), ("digits", "[0-9]+")])
    assert [label(text) for text in (" ]\n", "42", "4 2", "", "Ġ]")] == ["close", "digits", None, None, None]


# Vocabularies


def test_tokens_may_come_from_a_generator_or_not_at_all() -> None:
    def tokens() -> Iterator[str]:
        yield from ("]", "[", "x")

    assert classify(tokens()).labels.tolist() == classify(["]", "[", "x"]).labels.tolist() == [1, 2, 6]
    empty = classify(iter(()))
    assert (empty.labels.tolist(), empty.names) == ([], NAMES)
    assert empty.labels.dtype == np.int64


def test_a_whole_vocabulary_is_classified_token_by_token() -> None:
    few = [token for tokens in TOKENS.values() for token in tokens]
    tokens = [few[place % len(few)] if place % 7 == 0 else f"Ġword{place}" for place in range(VOCABULARY)]
    found = classify(tokens)
    labels = dict(zip(few, classify(few).labels.tolist(), strict=True))
    assert found.labels.tolist() == [labels.get(token, NAMES.index("content")) for token in tokens]


def test_labels_are_classes_of_a_threshold() -> None:
    tokens = ['","', '"]', '",', '"}', "price", "A7"]
    log_t, log_b = np.log([0.6, 0.12, 0.1, 0.08, 0.07, 0.03]), np.log([0.25, 0.3, 0.1, 0.2, 0.1, 0.05])
    labels, names = classify(tokens, [("close", '"?[]}]'), ("separate", '"?,"?')])
    assert labels.tolist() == [1, 0, 1, 0, -1, -1]
    found = categorical.threshold(log_t, log_b, 2.0, classes=labels, mode="class")
    assert names[int(found.binding)] == "close"
    mixture = np.exp(categorical.fixed_point(log_t, log_b, float(found.value)))
    assert np.exp(log_t)[labels == 0].sum() / mixture[labels == 0].sum() == pytest.approx(2.0, rel=1e-12)


# The default labeller of a calibration


def test_json_structure_is_punctuation_alone() -> None:
    structural = ["[", "]", "{", "}", ":", ",", '"', '["', '","', '"]', '":', '"},{"', "[]", "{}", "[[", '""']
    assert [json_structure(text) for text in structural] == structural
    assert [json_structure(f" {text}\n") for text in structural] == structural
    others = [
        "",
        " ",
        "\n",
        "a",
        "7",
        '"a',
        "-",
        "true",
        "null",
        ".",
        ";",
        "(",
        "'",
        "\\",
        "[ B",
        "，",
        "“",
        '"\\n',
        "_",
    ]
    assert [json_structure(text) for text in others] == [None] * len(others)
    assert [json_structure(text) for text in ('" , "', '": "')] == [None, None]
