"""A contract of a table: broken answers do not count, a misfit is said, and tails are split."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lambda_star.calibration import calibrate
from lambda_star.calibration.contracts import Judgement, judge
from lambda_star.calibration.readers import read_table
from lambda_star.calibration.report import Report
from lambda_star.calibration.table import Table
from lambda_star.cli import main
from lambda_star.contract import Contract, parse
from lambda_star.contract.classes import ends_answer
from tests import tables
from tests.tables import Row, one

EXAMPLE = Path(__file__).parents[2] / "examples" / "rank_by_price" / "logprobs.csv"
LIST = ('["', "A7", '","', "B2", '"]', "<|im_end|>")
PIECES = ('["', "A7", '","', '"]', "[", "]", ",", "1", " ", '"', "</s>")
YAML = ("-", " A", "7", "\n", "-", " B", "2", "\n", "<|im_end|>")


def rows_of(answers: Sequence[Sequence[str]], modals: Sequence[Sequence[str]] | None = None) -> list[Row]:
    """Rows of sampled answers; the teacher's modal tokens are the sampled ones unless they are given."""
    return [
        one(answer, at, -0.01 * (1 + answer % 7), -0.5, modal=modal, token=token)
        for answer, (tokens, chosen) in enumerate(zip(answers, modals or answers, strict=True))
        for at, (token, modal) in enumerate(zip(tokens, chosen, strict=True))
    ]


def report_of(rows: Sequence[Row], **options: Any) -> Report:
    return calibrate(Table.from_rows(rows), clip=5.0, **options)


def positions(report: Report) -> dict[str, int]:
    return {found.name: found.positions for found in report.classes}


def test_positions_after_a_break_do_not_count() -> None:
    broken = ('["', "A7", "']", '"', ",", '"]', "<|im_end|>")  # "," after "]" in a string ends it; "," then breaks it
    report = report_of(rows_of([LIST, LIST, ('["', "A7", '"', "]", "]", '"]', "<|im_end|>"), broken]))
    assert report.skipped["after the token that broke the answer"] == 2
    assert report.contract == "json"
    assert report.fit is not None
    assert (report.fit.answers, report.fit.broken) == (4, 2)
    assert positions(report)["]"] == 2  # the position at which an answer breaks is in an answer that is not broken yet
    whole = report_of(rows_of([LIST, LIST]))
    assert positions(whole) == {'["': 2, '","': 2, '"]': 2, "<|im_end|>": 2}
    assert "after the token that broke the answer" not in whole.skipped


def test_an_end_that_is_not_allowed_has_no_class() -> None:
    early = ('["', "A7", '","', "B2", '"]', "<|im_end|>")
    modals = ('["', "<|im_end|>", '","', "B2", '"]', "<|im_end|>")
    assert positions(report_of(rows_of([early, early], [modals, early])))["<|im_end|>"] == 2


def labels_of(found: Judgement) -> list[str | None]:
    """The contract class of every row, None outside the contract."""
    return [None if code < 0 else found.names[code] for code in found.codes.tolist()]


def test_the_order_and_the_gaps_of_rows_are_heeded() -> None:
    rows = rows_of([LIST, ("]", *LIST)])
    found = judge(Table.from_rows(rows))
    turned = judge(Table.from_rows(rows[::-1]))
    assert (labels_of(turned)[::-1], turned.late.tolist()[::-1]) == (labels_of(found), found.late.tolist())
    assert found.late.tolist() == [False] * len(LIST) + [False] + [True] * len(LIST)
    without_first = [row for row in rows if row["position"] > 0]
    assert not judge(Table.from_rows(without_first)).late.any()  # what came before is unknown


def test_a_contract_column_stands_unless_a_contract_is_named() -> None:
    labelled = [row | {"contract": "mark" if row["modal"] in "]," else ""} for row in rows_of([("]", "]"), ("x", ",")])]
    report = report_of(labelled)
    assert positions(report) == {"mark": 3}
    assert (report.contract, report.fit) == (None, None)
    named = report_of(labelled, contract="regex:[\\]x,]+")
    assert positions(named) == {"]": 2, ",": 1}
    assert named.contract == "regex:[\\]x,]+"


def test_tokens_are_added_to_a_contract() -> None:
    rows = rows_of([LIST, LIST])
    assert positions(report_of(rows, tokens=[" A7"]))["A7"] == 2
    assert positions(report_of(rows, tokens=["A7"], contract=lambda text: text if text == "B2" else None)) == {
        "A7": 2,
        "B2": 2,
    }
    spaces = rows_of([('["', "A7", '",', "\n", '"', "B2", '"]')])
    assert "\n" not in positions(report_of(spaces))
    assert positions(report_of(spaces, tokens=["\n"]))["\n"] == 1
    assert positions(report_of([row | {"contract": "all"} for row in rows], tokens=["A7"])) == {"all": 12}


def test_a_contract_of_ones_own_that_cannot_tell_starts_still_names_classes() -> None:
    class Own(Contract):
        def valid(self, text: str) -> bool:
            return text.startswith("[")

        def label(self, token: str) -> str | None:
            return "mine" if token == "A7" else super().label(token)

    report = report_of(rows_of([LIST, LIST]), contract=Own("own"))
    assert positions(report)["mine"] == 2
    assert (report.contract, report.fit) == ("own", None)


def slowly_judged(rows: Sequence[Row], contract: Contract) -> tuple[list[str | None], list[bool], tuple[int, int, int]]:
    """The labels, what is late and the counts of a fit, token by token and answer by answer."""
    labels: list[str | None] = [contract.label(row["modal"]) for row in rows]
    late = [False] * len(rows)
    answers, broken, misfits = list(dict.fromkeys(row["sequence"] for row in rows)), 0, 0
    for answer in answers:
        order = sorted((row["position"], at) for at, row in enumerate(rows) if row["sequence"] == answer)
        text, alive, follows, missed = "", True, True, False
        for place, (position, at) in enumerate(order):
            row = rows[at]
            late[at] = not alive
            if position != place:
                for _, other in order[place:]:
                    late[other] = not alive
                break
            if alive and labels[at] and ends_answer(row["modal"]) and not contract.valid(text):
                labels[at] = None
            last = place + 1 == len(order) or order[place + 1][0] != place + 1
            if follows:
                missed = missed or not goes_on(
                    contract, text, row["modal"], True if row["modal"] != row["token"] else last
                )
                follows = row["modal"] == row["token"]
            if alive and not goes_on(contract, text, row["token"], last):
                alive, broken = False, broken + 1
            text += row["token"]
        misfits += missed
    return labels, late, (len(answers), broken, misfits)


def goes_on(contract: Contract, text: str, token: str, last: bool) -> bool:
    """Whether a token keeps an answer; a last token that ends it needs a valid answer before it."""
    return contract.valid(text) if last and ends_answer(token) else contract.prefix(text + token) is not False


@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(PIECES), st.sampled_from(PIECES), st.integers(0, 9)), min_size=1, max_size=8
        ),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_answers_are_judged_as_token_by_token(
    answers: list[list[tuple[str, str, int]]], shuffler: random.Random
) -> None:
    rows = []
    for answer, pieces in enumerate(answers):
        gap = (
            pieces[0][2] if pieces[0][2] < len(pieces) else len(pieces)
        )  # a position that is not there, if there is one
        for at, (token, modal, same) in enumerate(pieces):
            chosen = token if same < 6 else modal
            rows.append(one(answer, at + (at >= gap and pieces[0][2] % 3 == 0), -0.01, -1.0, modal=chosen, token=token))
    shuffler.shuffle(rows)
    found = judge(Table.from_rows(rows), "json")
    labels, late, counts = slowly_judged([row | {"sequence": str(row["sequence"])} for row in rows], parse("json"))
    assert found.late.tolist() == late
    assert found.fit is not None
    assert (found.fit.answers, found.fit.broken, found.fit.misfits) == counts
    known = [at for at, row in enumerate(rows) if not late[at]]
    assert [labels_of(found)[at] for at in known] == [labels[at] for at in known]


# The fit


def test_the_contract_of_the_example_fits_although_most_answers_break_it() -> None:
    found = judge(read_table(EXAMPLE), "json").fit
    assert found is not None
    assert found.broken > found.answers / 2
    assert (found.misfits, found.remedy) == (0, "")


def test_yaml_answers_are_not_taken_for_json() -> None:
    rows = rows_of([YAML] * 5)
    said = r"no row is a usable contract position .*; 5 of 5 answers are not json where .*; give `contract` yaml$"
    with pytest.raises(ValueError, match=said):
        report_of(rows)
    report = report_of(rows, contract="yaml")
    assert positions(report) == {"-": 10, "newline": 10, "<|im_end|>": 5}
    assert report.fit is not None
    assert report.fit.remedy == ""
    flow = ("{", "a", ":", " [", "1", "]", "}", "<|im_end|>")
    mixed = report_of(rows_of([flow] * 3 + [LIST] * 4)).fit
    assert mixed is not None
    assert mixed.misfits == 3
    assert mixed.remedy.startswith(
        "3 of 7 answers are not json where they follow the teacher's modal tokens; give `con"
    )


def test_the_command_line_names_the_option(tmp_path: Path) -> None:
    runner = CliRunner()
    flow = ("{", "a", ":", " [", "1", "]", "}", "<|im_end|>")
    path = tables.write_csv(tmp_path / "rows.csv", rows_of([flow] * 5))
    result = runner.invoke(main, ["calibrate", str(path)])
    assert result.exit_code == 3  # five answers are too few for a verdict
    said = "Warning: 5 of 5 answers are not json where they follow the teacher's modal tokens; give --contract yaml."
    assert said in " ".join(result.output.split())
    result = runner.invoke(main, ["calibrate", str(path), "--contract", "csv"])
    assert "not csv" not in result.output


def test_a_misfit_that_no_contract_mends_asks_for_a_name() -> None:
    prose = ("A", '"', "\n", "b", ",", "\n", "c")
    fit = report_of(rows_of([("[", "x", "\n"), ("[", "x,", "\n", ',"', '"\n', "a")])).fit
    assert fit is not None
    assert fit.remedy.endswith("give `contract` the name of yours, or name its tokens with `tokens`")
    with pytest.raises(ValueError, match="2 of 2 answers are not xml"):
        report_of(rows_of([prose, prose]), contract="xml")


def test_no_format_is_offered_in_place_of_a_contract_of_the_user() -> None:
    fit = report_of(rows_of([LIST] * 5), contract=r"regex:\{.*").fit
    assert fit is not None
    assert fit.misfits == 5
    assert fit.remedy.endswith("; check what that contract says, and whether the teacher keeps it")


# Tails


def test_a_tail_is_split_into_what_is_allowed_and_what_breaks_the_answer() -> None:
    tail = [('"]', math.log(0.03)), ("]", math.log(0.01)), ("<|im_end|>", math.log(0.01))]
    top = [['","', math.log(0.95), -0.5], *([text, mass, -3.0] for text, mass in tail)]
    rows = rows_of([LIST, LIST])
    rows[2] |= {"log_p": math.log(0.95), "top": top, "rest": None}
    rows[8] |= {"log_p": math.log(0.95), "top": [top[0], top[3]], "rest": None}
    found = {each.name: each for each in report_of(rows).classes}
    # In a string "]" is text, so that two of the three tokens are allowed at the first position, none at the second.
    assert found['","'].allowed_tail == pytest.approx(0.04 / 0.06, rel=1e-12)
    assert found['","'].needs_tail == 0.5
    assert (found['["'].allowed_tail, found['["'].needs_tail) == (None, None)
    labelled = [row | {"contract": row["modal"]} for row in rows]
    assert {each.allowed_tail for each in report_of(labelled).classes} == {None}


def test_every_tail_of_the_example_is_split_by_the_prefixes_of_its_answers() -> None:
    table = read_table(EXAMPLE)
    judged = judge(table, "json")
    json_ = parse("json")
    rows = [row for row in range(len(table.modal)) if table.top and table.top[row] and not judged.late[row]][::40]
    for row in rows:
        answer = np.flatnonzero(np.asarray(table.sequence) == table.sequence[row])
        text = "".join(table.token[answer[: int(table.position[row])]])
        assert table.top is not None
        top = table.top[row]
        assert top is not None
        masses = [math.exp(log_p) for log_p in top.log_p[1:]]
        allowed = [
            json_.valid(text) if token == "<|im_end|>" else json_.prefix(text + token) for token in top.tokens[1:]
        ]
        share = sum(mass for mass, may in zip(masses, allowed, strict=True) if may) / sum(masses)
        split = judged.split(row, top)
        assert split is not None
        assert split[0] == pytest.approx(share, rel=1e-12)
        assert split[1] == pytest.approx(sum(masses), rel=1e-12)
