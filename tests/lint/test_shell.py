"""The overrides and flags of a shell script, with every value of its variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from lambda_star.lint.shell import read


def settings(text: str) -> list[tuple[str, str, int | None]]:
    return [(found.key, found.value, found.line) for found in read(Path("run.sh"), text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("for l in 1.0 1.25; do run a.b=$l; done", "1.0,1.25"),
        ("for l in 1.0 1.25\ndo\n run a.b=${l}\ndone", "1.0,1.25"),
        ("for l in $(seq 1.0 0.25 1.5); do run a.b=$l; done", "1,1.25,1.5"),
        ("for l in $(seq 2); do run a.b=$l; done", "1,2"),
        ("for l in $(seq 1 0 2); do run a.b=$l; done", "$ ( seq 1 0 2 )"),
        ('ALL=(1.0 1.25)\nfor l in "${ALL[@]}"; do run a.b=$l; done', "1.0,1.25"),
        ("ALL=(1.0)\nALL+=(1.25)\nfor l in ${ALL[*]}; do run a.b=$l; done", "1.0,1.25"),
        ("ALL=(1.0 1.25)\nrun a.b=${ALL[$TASK]}", "1.0,1.25"),
        ('ALL="1.0 1.25"\nfor l in $ALL; do run a.b=$l; done', "1.0,1.25"),
        ("for l in 1 2; do M=$l; run a.b=1.$M; done", "1.1,1.2"),
        ("if x; then L=1.25; else L=1.5; fi\nrun a.b=$L", "1.25,1.5"),
        ("case $1 in\n a) L=1 ;;\n b) L=2 ;;\nesac\nrun a.b=$L", "1,2"),
        ("L=2\n[ -z $1 ] && L=1.25\nrun a.b=$L", "2,1.25"),
        ("L=2\nL=1.25\nrun a.b=$L", "1.25"),
        ("L=\nrun a.b=${L:-1.25}", "1.25"),
        ("run a.b=$1", "$1"),
        ("L=$(pick)\nrun a.b=$L", "$"),
        ("for l in $UNKNOWN; do run a.b=$l; done", "$UNKNOWN"),
        ("for ((i=0; i<3; i++)); do run a.b=$i; done", "$i"),
        ("A=1\n" + 'A="$A$A"\n' * 5 + "run a.b=$A", "1" * 32),
    ],
)
def test_a_variable_stands_for_each_of_its_values(text: str, value: str) -> None:
    assert [found[:2] for found in settings(text)] == [("a.b", value)]


def test_a_variable_that_doubles_itself_stays_short() -> None:
    ((_, value, _),) = settings("A=1\n" + 'A="$A$A"\n' * 60 + "run a.b=$A")
    assert len(value) < 100_000


def test_flags_of_arrays_and_switches_are_read() -> None:
    text = "ARGS=(\n  --use-opd  # distil\n  --opd-kl-coef\n  -1.0\n)\nrun ${ARGS[@]} --top-k=-1 --bf16"
    assert settings(text) == [
        ("use_opd", "true", 2),
        ("opd_kl_coef", "-1.0", 4),
        ("top_k", "-1", 6),
        ("bf16", "true", 6),
    ]


def test_a_flag_that_a_loop_gives_several_values_is_a_sweep() -> None:
    assert settings("for l in 1 2; do run --lam $l; done") == [("lam", "1,2", 1)]
