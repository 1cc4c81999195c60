"""The file of a rehearsal: nothing is lost or counted twice, and what cannot be used is said."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest

from lambda_star.rehearsal import Answer, Recorder, Rehearsal, next_lam, read_rehearsal

SETTINGS = {"teacher": "runs/teacher", "seed": 0, "version": "0.1.0"}


def answer(lam: float, prompt: int, valid: bool | None = True, **values: object) -> Answer:
    return Answer(lam, prompt, 0, '["Ä\n', 3, True, valid, **values)  # type: ignore[arg-type]


BROKEN = answer(2.0, 1, False, broken_at=2, broken_class='"]', metrics={"score": 0.5})


def write(path: Path, *answers: Answer) -> None:
    with Recorder(path, SETTINGS) as recorder:
        for each in answers:
            recorder.add(each)


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rehearsal.jsonl"
    write(path, answer(1.0, 0, None), BROKEN)
    found = read_rehearsal(path)
    assert found.answers == (answer(1.0, 0, None), BROKEN)
    assert found.header["teacher"] == "runs/teacher"
    assert found.problems == ()


def test_every_prefix_of_a_file_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    write(path, answer(1.0, 0), BROKEN)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        lines = content[:end].count(b"\n")
        if end and not lines:
            with pytest.raises(ValueError, match="line 1: the header of a rehearsal"):
                write(path, BROKEN)
            continue
        with Recorder(path, SETTINGS) as recorder:
            assert len(recorder.rehearsal.answers) == max(lines - 1, 0)
            for each in (answer(1.0, 0), BROKEN):
                if each.key not in recorder:
                    recorder.add(each)
        assert path.read_bytes() == content


MANY = [answer(lam, prompt) for lam in (2.0, 0.9, 10.0) for prompt in (10, 0, 9)]


def test_a_complete_file_is_in_order_wherever_the_run_was_stopped(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole.jsonl", tmp_path / "stopped.jsonl"
    write(whole, *MANY)
    lines = whole.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line).get("lam") for line in lines] == [None, *3 * [0.9], *3 * [2.0], *3 * [10.0]]
    assert read_rehearsal(whole).answers == tuple(sorted(MANY, key=lambda one: one.key))
    for there in range(len(MANY)):
        with suppress(KeyboardInterrupt), Recorder(stopped, SETTINGS) as recorder:
            for each in MANY[there:]:
                recorder.add(each)
            raise KeyboardInterrupt
        assert stopped.stat().st_size < whole.stat().st_size or there == 0
        assert read_rehearsal(stopped).answers == tuple(MANY[there:])
        with Recorder(stopped, SETTINGS) as recorder:
            for each in MANY[:there]:
                recorder.add(each)
        assert recorder.rehearsal == read_rehearsal(stopped)
        assert stopped.read_bytes() == whole.read_bytes()
        assert {*tmp_path.iterdir()} == {whole, stopped}
        stopped.unlink()


def test_a_file_with_lines_that_cannot_be_used_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    write(path, BROKEN)
    with path.open("a", encoding="utf-8") as file:
        file.write("mine\n")
    before = path.read_bytes()
    write(path, answer(1.0, 0))
    assert path.read_bytes().startswith(before)


def test_a_file_without_an_answer_takes_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    write(path)
    with Recorder(path, SETTINGS | {"teacher": "runs/other"}) as recorder:
        recorder.add(BROKEN)
    found = read_rehearsal(path)
    assert (found.header["teacher"], found.answers) == ("runs/other", (BROKEN,))
    with pytest.raises(ValueError, match="was written with other settings"):
        write(path)


def test_a_cut_line_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    write(path, answer(1.0, 0), BROKEN)
    path.write_bytes(path.read_bytes()[:-4])
    found = read_rehearsal(path)
    assert found.answers == (answer(1.0, 0),)
    assert [each[:2] for each in found.problems] == [(3, "the line is cut, so its answer was left out")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not an answer"),
        ("7", "not an answer"),
        ("[" * 100_000, "not an answer"),
        (f'{{"lam": 1{400 * "0"}, "prompt": 0, "sample": 0, "text": "", "tokens": 1, "ended": true}}', "lam must be"),
        ('{"lam": 1}', "not an answer"),
        (
            json.dumps({"lam": -1, "prompt": 0, "sample": 0, "text": "", "tokens": 1, "ended": True}),
            "lam must be a num",
        ),
        (
            json.dumps({"lam": 1, "prompt": 0.5, "sample": 0, "text": "", "tokens": 1, "ended": True}),
            "prompt must be a",
        ),
        (json.dumps({"lam": 1, "prompt": 0, "sample": 0, "text": 3, "tokens": 1, "ended": True}), "text must be text"),
        (json.dumps({"lam": 1, "prompt": 0, "sample": 0, "text": "", "tokens": 1, "ended": True}), "came before"),
    ],
)
def test_bad_lines_are_reported_and_the_others_stay(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "rehearsal.jsonl"
    write(path, answer(1.0, 0))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    write(path, BROKEN)
    found = read_rehearsal(path)
    assert found.answers == (answer(1.0, 0), BROKEN)
    assert [one.line for one in found.problems] == [3]
    assert problem in found.problems[0].message


def test_other_settings_are_refused_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "rehearsal.jsonl"
    write(path, BROKEN)
    before = path.read_bytes()
    other = SETTINGS | {"seed": 1, "rule": "none()", "version": "9"}
    with pytest.raises(ValueError, match=r"\(rule: None there, 'none\(\)' here; seed: 0 there, 1 here\)"):
        Recorder(path, other)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["", "[]\n", '{"schema": "lambda-star/report/1"}\n', "λ\n"])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="header of a rehearsal"):
        read_rehearsal(path)


def test_points_compare_the_same_prompts() -> None:
    every = [answer(1.0, prompt, prompt != 3) for prompt in range(4)] + [
        answer(2.0, 0),
        answer(2.0, 3),
        answer(2.0, 9, False, broken_at=2, broken_class='"]'),
    ]
    one, two = Rehearsal({}, tuple(every)).curve
    assert (one.valid, one.change, one.change_high, one.answers) == (0.75, 0, 0, 4)
    assert (two.valid, two.change, two.pairs) == (2 / 3, 0.5, 2)
    assert (two.broken, two.broken_at, two.length) == ({'"]': 1}, 2.0, 3.0)
    assert math.isnan(one.broken_at)


def test_metrics_count_only_where_they_apply() -> None:
    every = [answer(1.0, 0, metrics={"score": 1.0, "rank": 0.25}), answer(1.0, 1, metrics={"score": 0.0})]
    every += [answer(1.5, 0, metrics={"score": 0.0, "rank": 0.75}), answer(1.5, 1)]
    two = Rehearsal({}, tuple(every)).curve[1]
    assert (two.metrics["score"].change, two.metrics["score"].answers) == (-1, 1)
    assert (two.metrics["rank"].value, two.metrics["rank"].change) == (0.75, 0.5)


def test_without_a_contract_validity_is_unknown() -> None:
    (point,) = Rehearsal({}, (answer(1.0, 0, None),)).curve
    assert math.isnan(point.valid)
    assert Rehearsal({}, (answer(1.0, 0, None),)).to_dict()["curve"][0]["valid"] is None


def test_the_confidence_is_held_to_its_range() -> None:
    with pytest.raises(ValueError, match=r"confidence must lie in \(0, 1\), got 95"):
        Rehearsal({}, (BROKEN,)).points(95)


def test_refinement_halves_the_fall_and_ends() -> None:
    def falls(lam: float) -> list[Answer]:
        return [answer(lam, prompt, lam < 1.6) for prompt in range(40)]

    every = falls(0.0) + falls(1.0) + falls(2.0)
    added = []
    while (lam := next_lam(Rehearsal({}, tuple(every)).by_lam())) is not None:
        added.append(lam)
        every += falls(lam)
    assert added[:3] == [1.5, 1.75, 1.625]
    assert 1.6 - 0.02 < max(lam for lam in added if lam < 1.6) < 1.6 <= min(lam for lam in added if lam >= 1.6) < 1.62


def test_chance_is_not_refined() -> None:
    every = [answer(1.0, prompt) for prompt in range(40)] + [answer(2.0, prompt, prompt > 0) for prompt in range(40)]
    assert next_lam(Rehearsal({}, tuple(every)).by_lam()) is None
