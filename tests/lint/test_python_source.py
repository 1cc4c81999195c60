"""What a Python file sets, from its syntax tree; the file is never run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_star.lint.python_source import read


def settings(text: str) -> list[tuple[str, str, str]]:
    return [(found.key, found.value, found.scope) for found in read(Path("run.py"), text)]


@pytest.mark.parametrize(
    ("before", "argument", "value"),
    [
        ("", "1.25", "1.25"),
        ("", "-1", "-1"),
        ("", "1 + 0.25", "1.25"),
        ("", "5 / 4", "1.25"),
        ("", "None", "null"),
        ("", "True", "true"),
        ("lam = 1.25", "lam", "1.25"),
        ("lam: float = 1.25", "lam", "1.25"),
        ("lam = 1.0\nlam = 1.5", "lam", "1.0,1.5"),
        ("lam = 1.0 if full else 1.5", "lam", "1.0,1.5"),
        ("lam = float(os.environ.get('LAM', '1.25'))", "lam", "1.25"),
        ("lam = float(os.environ['LAM'])", "lam", "os.environ['LAM']"),
        ("ALL = [1.0, 1.25]\nfor lam in ALL: pass", "lam", "1.0,1.25"),
        ("x = [lam for lam in (1.0, 1.25)]", "lam", "1.0,1.25"),
        ("def f(x, lam=1.25, *, y=1): pass", "lam", "1.25"),
        ("if (lam := 1.25): pass", "lam", "1.25"),
        ("", "arguments.lam", "arguments.lam"),
        ("", "1 / 0", "1 / 0"),
        ("", "2 ** 3", "2 ** 3"),
        ("", "'a' + 'b'", "'a' + 'b'"),
        ("lam = lam", "lam", "lam"),
        ("", "f'{1}.{25}'", "1.25"),
    ],
)
def test_an_argument_has_every_value_that_the_file_gives_it(before: str, argument: str, value: str) -> None:
    assert settings(f"{before}\nGKDConfig(lmbda={argument})") == [("lmbda", value, "GKDConfig")]


def test_positional_arguments_of_our_own_calls_have_names() -> None:
    assert settings("t.ExtrapolatedTeacher(big, small, 1.25, clip=5.0)") == [
        ("teacher", "big", "ExtrapolatedTeacher"),
        ("base", "small", "ExtrapolatedTeacher"),
        ("lam", "1.25", "ExtrapolatedTeacher"),
        ("clip", "5.0", "ExtrapolatedTeacher"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run(['a.lambda_vals=1.25'])", [("a.lambda_vals", "1.25", "")]),
        ("for l in (1, 2): run([f'+a.b={l}'])", [("a.b", "1,2", "")]),
        ("x = '--use-opd --tis-clip 2.0'", [("use_opd", "true", ""), ("tis_clip", "2.0", "")]),
        ("x = {'a.b': 1, 'c': 2}", [("a.b", "1", ""), ("c", "2", "dict")]),
        ("cfg.policy_loss.lambda_vals = 1.25", [("cfg.policy_loss.lambda_vals", "1.25", "")]),
        ("'''run with a.lambda_vals=9 or --lmbda 9'''", []),
        ("def f():\n    '--lmbda 9'", []),
        ("print(lmbda=9)", []),
        ("nothing = []\nx = f'{nothing}'", []),
        ("x = '--lmbda \"'", []),
    ],
)
def test_overrides_flags_and_mappings_are_read_and_documentation_is_not(
    text: str, expected: list[tuple[str, str, str]]
) -> None:
    assert settings(text) == expected


def test_names_that_stand_for_many_values_end(tmp_path: Path) -> None:
    many = "".join(f"x{level} = (x{level - 1}, x{level - 1})\n" for level in range(1, 60))
    ((_, value, _),) = settings(f"{many}GKDConfig(lmbda=x59)")
    assert len(value) < 100
