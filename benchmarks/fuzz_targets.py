"""What is attacked by :mod:`benchmarks.fuzz`: inputs, what is done with one, and the errors that are promised."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

import lambda_star as ls
from benchmarks import fuzz_numbers as numbers

ROOT = Path(__file__).parent.parent
PROMISED = (ValueError, ImportError)


class Target(NamedTuple):
    """A target; ``warm`` imports what is imported on first use."""

    inputs: st.SearchStrategy[Any]
    run: Callable[[Path, Any], object]
    promised: tuple[type[BaseException], ...] = PROMISED
    warm: Callable[[Path], object] = lambda _: None
    shown: Callable[[Any], str] = repr


# Files: a good one of each sort, damaged.

SEEDS = [
    *sorted((ROOT / "tests" / "calibration" / "samples").glob("*")),
    *sorted((ROOT / "tests" / "calibration" / "engines" / "samples").glob("*/*.jsonl")),
]
ODD = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\n",
    b"\r",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"null",
]
ODD += [b"true", b"\\ud800", b"\x1b[2J", "\u202e".encode(), b"-1", b"9" * 5000, b"[" * 3000, b"0.1", b"''", b"\\", b"e"]
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from(ODD) | st.binary(max_size=4)), max_size=6
)


def damaged(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Bytes with pieces cut out and others put in."""
    for place, length, new in edits:
        here = place % (len(content) + 1)
        content = content[:here] + new + content[here + length :]
    return content


def read_tables(folder: Path, drawn: Any) -> None:
    """Read a damaged file, or a pair of them, and calibrate what is left."""
    (first, second), suffix, edits, keep_going = drawn
    paths = []
    for place, name in enumerate((first, second)):
        content = damaged(name.read_bytes()[:30_000], edits[place])
        paths.append(folder / f"input{place}{suffix or ''.join(name.suffixes)}")
        paths[-1].write_bytes(content)
    if "teacher" in first.name:
        table = ls.read_table(teacher=paths[0], base=paths[1], keep_going=keep_going)
    else:
        table = ls.read_table(paths[0], keep_going=keep_going)
    if len(table):
        str(ls.calibrate(table, contract="json"))


PAIRS = [(one, one.with_name(one.name.replace("teacher", "base"))) for one in SEEDS if "_base" not in one.name]
SUFFIXES = st.sampled_from(
    [None, None, None, None, ".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv.gz", ".arrow", ".x"]
)


def warm_tables(folder: Path) -> None:
    """Read a good file of each sort, and calibrate."""
    for pair in PAIRS:
        with suppress(*PROMISED):
            read_tables(folder, (pair, None, ([], []), True))


# Contracts: names, schemas, grammars and answers.

TEXTS = [
    '{"a": 1}',
    "[1,2]",
    "[",
    "]",
    "{",
    "}",
    '"',
    ",",
    ":",
    " ",
    "\n",
    "null",
    "1e5",
    "-",
    "a,b\n1,2",
    "<a>",
    "</a>",
]
TEXTS += ["<a b='c'/>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&b;", "a: 1", "- b", "&x", "*x", "!!python/object:os.system"]
TEXTS += [
    "# c",
    "---",
    "\t",
    "</s>",
    "<|im_end|>",
    "\u2028",
    "\0",
    "\ud800",
    "\\u0041",
    "é",
    "😀",
    "1" * 400,
    "[" * 200,
]
WORDS = st.sampled_from(TEXTS)
ANSWERS = st.lists(WORDS | st.text(max_size=3), max_size=12)
SCHEMA_KEYS = ["type", "properties", "items", "required", "enum", "const", "pattern", "$ref", "anyOf", "not", "minimum"]
SCHEMA_KEYS += ["additionalProperties", "minItems", "maxLength", "name", "parameters", "a", "$defs", "allOf", "format"]
SCALARS = st.none() | st.booleans() | st.integers(-5, 5)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.sampled_from(["string", "a", "object", "array", "(a+)+$", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SCHEMA_KEYS), inner, max_size=4),
    max_leaves=8,
)
REGEXES = st.text("ab(|)*+?[]^.$\\{}0,1dwx-", max_size=12)
GRAMMARS = st.text('start: "ab" /x/ |\n()*+?[]\\%json{}~1<>', max_size=40).map("start: ".__add__)
NAMES = st.sampled_from(["json", "csv", "yaml", "xml", "regex:", "json-schema:", "grammar:", "", "jsonn", "json:x"])


def read_contract(folder: Path, drawn: Any) -> None:
    """Make a contract of a name, a pattern or a file, and ask it all that it can say about an answer."""
    from lambda_star.contract import broken_at, classify, parse

    (kind, content), pieces = drawn
    path = folder / "contract"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8", errors="replace")
    at = content if kind in {"regex:", "name"} else path
    contract = parse(content if kind == "name" else f"{kind}{at}")
    text = "".join(pieces)
    contract.valid(text)
    contract.prefix(text)
    broken_at(contract, pieces)
    classify(pieces, contract.label)


def warm_contracts(folder: Path) -> None:
    """Make one contract of each kind."""
    schema = {"type": "string", "format": "date"}
    for one in (
        ("json-schema:", schema),
        ("grammar:", 'start: "a"'),
        ("regex:", "a"),
        ("name", "yaml"),
        ("name", "xml"),
    ):
        read_contract(folder, (one, ["a"]))


CONTRACTS = st.one_of(
    st.tuples(st.sampled_from(["json-schema:", "function-call:"]), SCHEMAS),
    st.tuples(st.just("regex:"), REGEXES),
    st.tuples(st.just("grammar:"), GRAMMARS),
    st.tuples(st.just("name"), NAMES),
    st.tuples(st.just("name"), st.text(max_size=8).filter(lambda text: ":" not in text)),
)

# Configurations of training codes.

KEYS = ["actor.policy_loss.lambda_vals", "policy_loss.lambda_vals", "distillation.enabled", "lmbda", "use_opd", "beta"]
KEYS += ["distillation.distillation_loss.loss_mode", "distillation.distillation_loss.loss_max_clamp", "advantage_clip"]
KEYS += ["distillation.distillation_loss.use_policy_gradient", "distillation.distillation_loss.topk", "rollout.top_p"]
KEYS += ["is_pure_opd", "kl_loss_coef", "use_kl_loss", "opd_kl_coef", "rlhf_type", "teacher_kl_coef", "rollout.top_k"]
VALUES = ["1.25", "1e999", "-1e-320", "nan", "true", "null", "k1", "k3", "forward_kl_topk", "[1,2]", "choice(1,2)", "0"]
VALUES += ["range(1,2,0.1)", "range(1,2,-1e-320)", "interval(1,2)", "$A", "${A}", "${oc.env:A,1.25}", "${a.b}", "'x'"]
VALUES += ["${A:-1.25}", "\x1b[2J", "::add-mask::x", "9" * 300, "(", "$(", "`", "&a", "*a", "{<<: *a}", "1_0", "０"]
SCRAPS = [
    "\n",
    " ",
    "=",
    ": ",
    "\\\n",
    "'",
    '"',
    "$",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "<<E\n",
    "E\n",
    "for A in 1 2; do ",
]
SCRAPS += [
    "; done",
    "if x; then ",
    "fi\n",
    "A=1 ",
    "A=$A$A\n",
    "--",
    "python -m verl.trainer.main_ppo ",
    "  ",
    "- ",
    "#",
]
SCRAPS += [
    "opd_loss(s, t, b, lam=",
    "x = ",
    "f'{x}'",
    "Trainer(",
    ", clip=5.0)",
    "[a.b]\n",
    "[[a]]\n",
    "&a ",
    "*a ",
    "\0",
]
PIECES = st.lists(st.sampled_from(KEYS + VALUES + SCRAPS) | st.text(max_size=3), max_size=25).map("".join)
ASSIGNED = st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES), st.sampled_from(["=", ": ", " = "]))
LINES = st.lists(ASSIGNED.map(lambda each: f"{each[0]}{each[2]}{each[1]}\n"), max_size=8).map("".join)
CORPUS = sorted(path for path in (ROOT / "tests" / "lint" / "corpus").rglob("*") if path.is_file())
KINDS = st.sampled_from([".yaml", ".json", ".toml", ".sh", ".py", ".bash", ""])


def lint(folder: Path, drawn: Any) -> None:
    """Lint a configuration of pieces, or a damaged one of the corpus."""
    from lambda_star.lint import configuration, lint_config

    content: Any
    content, suffix, edits, point = drawn
    if isinstance(content, Path):
        content, suffix = damaged(content.read_bytes(), edits), content.suffix
    path = folder / f"run{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
    for finding in lint_config(path, **point):
        assert finding.severity in {"error", "unknown", "warning", "note"}
        assert len(finding.message) < 11_000
    configuration(path)


POINTS = st.sampled_from([{}, {"p": 0.999, "b": 0.5}, {"p": 0.5, "b": 0.999, "clip": 1.0}])

# Losses.


def made_loss(words: list[Any]) -> Callable[..., Any]:
    """A loss of random operations on the three rows of logits, and on λ."""
    import torch

    def loss(student: Any, teacher: Any, base: Any, lam: Any) -> Any:
        found = [student.log_softmax(-1), teacher.log_softmax(-1), base.log_softmax(-1), student * 0 + lam]
        for operation, first, second in words:
            a, b = found[first % len(found)], found[second % len(found)]
            found.append(OPERATIONS[operation](torch, a, b))
        return found[-1] if found[-1].ndim == 0 else found[-1].sum()

    return loss


OPERATIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda _, a, b: a + b,
    "less": lambda _, a, b: a - b,
    "times": lambda _, a, b: a * b,
    "over": lambda _, a, b: a / b,
    "exp": lambda _, a, __: a.exp(),
    "log": lambda _, a, __: a.log(),
    "clamp": lambda _, a, __: a.clamp(-2, 2),
    "least": lambda torch, a, b: torch.minimum(*torch.broadcast_tensors(a, b)),
    "sum": lambda _, a, __: a.sum(-1, keepdim=True),
    "mean": lambda _, a, __: a.mean(),
    "detach": lambda _, a, __: a.detach(),
    "top": lambda torch, a, b: torch.where(a >= a.amax(-1, keepdim=True), a, b),
    "raise": lambda _, a, b: a[b.long()],
    "int": lambda _, a, __: a.long(),
    "none": lambda _, a, __: a if a.ndim else None,
    "nan": lambda _, a, __: a * float("nan"),
    "big": lambda _, a, __: a * 1e300,
}
OPERATED = st.lists(
    st.tuples(st.sampled_from([*OPERATIONS]), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=8
)


def probe(_: Path, drawn: Any) -> None:
    """Probe a made-up loss."""
    from lambda_star.torch import probe as run

    words, (p, b), outcomes = drawn
    str(run(made_loss(words), p=p, b=b, outcomes=outcomes, lam=(1.0, 2.0)))


# The command line.

HIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
OPTIONS = ["--p", "--b", "--clip", "--lam", "--rule", "--json", "-", "--force", "--margin", "--quantile", "--contract"]
OPTIONS += [
    "--keep-going",
    "--all",
    "--teacher",
    "--base",
    "--confidence",
    "--budget",
    "--least-b",
    "--token",
    "--help",
]
OPTIONS += [
    "--report",
    "--rehearsal",
    "--strict",
    "--folder",
    "--out",
    "--tolerance",
    "--markdown",
    "--",
    "-h",
    "--csv",
]
VALUED = [
    "0.9",
    "0.5",
    "0",
    "1",
    "5",
    "inf",
    "nan",
    "-1",
    "1e999",
    "trl",
    "log_ratio_cap:5",
    "verl:x=1",
    "json",
    "x",
    "",
]
VALUED += [
    "rows.csv",
    "report.json",
    "run.sh",
    "rehearsal.jsonl",
    "none.csv",
    "out.json",
    "out.csv",
    ".",
    "\x1b[2J",
    "λ",
]
VALUED += ["csv", "regex:(", "lam\n", "::add-mask::x", "\udcff"]
STARTS = {
    "threshold": ["--p", "0.9", "--b", "0.5", "--clip", "5"],
    "updates": ["--p", "0.9", "--b", "0.5"],
    "calibrate": ["rows.csv"],
    "compare": ["rows.csv", "rows.csv"],
    "convert": ["rows.csv", "--out", "out.csv"],
    "decide": ["report.json", "--lam", "1.25"],
    "lint-config": ["run.sh"],
    "locks": ["records"],
    "cliff": ["--report", "--folder", "records"],
    "cliff-rules": ["--report", "--folder", "trials"],
    "ledger": ["paper-formula"],
    "rehearse": ["--out", "rehearsal.jsonl"],
}
# No system passes a NUL, and a path from the root may have a command look through the whole disk.
TYPED = st.text(max_size=4).filter(lambda word: "\0" not in word and not word.startswith(os.sep))
ARGUMENTS = st.lists(st.sampled_from(OPTIONS + VALUED) | TYPED, max_size=5)
FILES = ("rows.csv", "report.json", "run.sh", "rehearsal.jsonl", "records/one.json", "trials/one.json")
EXAMPLE = ROOT / "examples" / "rank_by_price"


def good_files() -> dict[str, bytes]:
    """The files that the commands read."""
    rows = (EXAMPLE / "logprobs.csv").read_bytes().splitlines(keepends=True)[:300]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "rows.csv")
        path.write_bytes(b"".join(rows))
        call("calibrate", str(path), "--rule", "trl", "--json", str(Path(name, "report.json")))
        report = Path(name, "report.json").read_bytes()
    return {
        "rows.csv": b"".join(rows),
        "report.json": report,
        "run.sh": b"python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.25\n",
        "rehearsal.jsonl": b"".join((EXAMPLE / "rehearsal.jsonl").read_bytes().splitlines(keepends=True)[:40]),
        "records/one.json": _record("cliff"),
        "trials/one.json": _record("rules"),
    }


def _record(folder: str) -> bytes:
    return min((ROOT / "results" / folder).glob("short-*.json")).read_bytes()


GOOD: dict[str, bytes] = {}


def call(*arguments: str) -> Any:
    """Run a command in this process."""
    from click.testing import CliRunner

    from lambda_star.cli import main

    return CliRunner().invoke(main, list(arguments))


def command(folder: Path, drawn: Any) -> None:
    """Run a command with more arguments than it needs, where one of its files may be damaged."""
    name, more, (file, edits, signed) = drawn
    os.chdir(folder)
    for place, content in GOOD.items():
        changed = damaged(content, edits) if place == file else content
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_bytes(resigned(content, edits) if place == file and signed and "/" in place else changed)
    result = call(name, *STARTS.get(name, []), *more)
    os.chdir(ROOT)
    assert result.exit_code in {0, 1, 2, 3}, f"exit status {result.exit_code}"
    assert "Traceback" not in result.output, result.output[-300:]
    assert not HIDDEN.search(result.output) or "--help" in more or "-h" in more, repr(result.output[-300:])


def resigned(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """A record one of whose values is another one, with hashes that match."""
    from lambda_star.cliff import record

    found = json.loads(content)
    parts = [found[name] for name in ("prediction", "outcome", "settings") if isinstance(found.get(name), dict)]
    for place, length, new in edits:
        inner = parts[length % len(parts)]
        key = sorted(inner)[place % len(inner)]
        inner[key] = [None, 0, -1.5, "x", [], {}, [[1]], True, new.decode(errors="replace"), "inf"][place % 10]
    old = "format" not in found
    found["sha256"] = record._digest(found["prediction"] if old else {name: found[name] for name in record.LOCKED})
    if "outcome_sha256" in found:
        found["outcome_sha256"] = record._digest({name: found[name] for name in record.CONCLUDED})
    return json.dumps(found).encode()


def records(folder: Path, drawn: tuple[str, list[tuple[int, int, bytes]]]) -> None:
    """Compare what a record predicts with what was seen, where it says of itself what nobody measured."""
    from lambda_star.cliff import compare, record, rules

    name, edits = drawn
    path = folder / "record.json"
    path.write_bytes(resigned(_record(name), edits))
    found = record.read(path)
    tuple(compare(found) if name == "cliff" else rules.find(found))


def warm_commands(folder: Path) -> None:
    """Make the files, and run each command once."""
    GOOD.update(good_files())
    for name, more in [*((name, []) for name in STARTS), ("calibrate", ["--markdown", "out.md"])]:
        command(folder, (name, more, ("", [], False)))


TARGETS = {
    "readers": Target(
        st.tuples(st.sampled_from(PAIRS), SUFFIXES, st.tuples(EDITS, EDITS), st.booleans()),
        read_tables,
        warm=warm_tables,
    ),
    "contracts": Target(st.tuples(CONTRACTS, ANSWERS), read_contract, warm=warm_contracts),
    "linter": Target(
        st.tuples(PIECES | LINES | st.sampled_from(CORPUS), KINDS, EDITS, POINTS),
        lint,
        warm=lambda folder: lint(folder, (CORPUS[0], "", [], {"p": 0.999, "b": 0.5})),
    ),
    "commands": Target(
        st.tuples(
            st.sampled_from([*STARTS]), ARGUMENTS, st.tuples(st.sampled_from(["", *FILES]), EDITS, st.booleans())
        ),
        command,
        warm=warm_commands,
    ),
    "records": Target(
        st.tuples(st.sampled_from(["cliff", "rules"]), EDITS),
        records,
        warm=lambda folder: records(folder, ("rules", [])),
    ),
    "probe": Target(
        st.tuples(OPERATED, st.sampled_from([(0.999, 0.5), (0.9, 0.89), (0.6, 1e-9)]), st.sampled_from([2, 2, 2, 3])),
        probe,
        warm=lambda folder: probe(folder, ([("less", 0, 1)], (0.9, 0.5), 2)),
    ),
    "functions": Target(
        numbers.CALLS,
        numbers.call,
        promised=(ValueError, TypeError),
        warm=numbers.warm,
        shown=numbers.shown,
    ),
}
