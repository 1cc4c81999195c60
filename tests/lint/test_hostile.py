"""No file makes the linter slow, fills the memory or ends in an error that is not promised."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lambda_star.lint import lint_config

LAM = "actor.policy_loss.lambda_vals"
YAML = "actor: {policy_loss: {lambda_vals: '"
FILES = {
    "aliases.yaml": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}x]\n" for i in range(1, 9)),
    "merges.yaml": "a0: &a0 {p: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: *a{i - 1}}}\n" for i in range(1, 30)),
    "list of merges.yaml": f"a: &a {{{','.join(f'k{i}: 1' for i in range(900))}}}\nb: {{<<: [{'*a, ' * 20_000}]}}\n",
    "alias to a long value.yaml": f"a: &a {'k' * 50_000}\n" + "".join(f"b{i}: *a\n" for i in range(4000)),
    "alias below a long key.yaml": f"a: &a [{'1,' * 900}]\n{'k' * 50_000}: [{'*a, ' * 900}]\n",
    "dollars.yaml": YAML + "$" * 90_000 + "'}}\n",
    "defaults.yaml": YAML + "${oc.env:L," * 4000 + "1" + "}" * 4000 + "'}}\n",
    "many.yaml": YAML + "1.25," * 18_000 + "'}}\n",
    "references.yaml": f"x: '{'x' * 9000}'\ny: '{'${x}' * 25}'\n"
    + "".join(f"z{i}: '{'${y}' * 25}'\n" for i in range(700)),
    "range.yaml": YAML + "range(1,2,-1e-320)'}}\n",
    "doubles.sh": "A=xxxxxxxxxx\n" + "A=$A$A\n" * 40 + f"run {LAM}=$A\n",
    "branches.sh": "".join(f"if x; then A={i}; else A=$A$A; fi\n" for i in range(2500)) + f"run {LAM}=$A\n",
    "kept.sh": "if x; then\n" + "".join(f"A={i}\n" for i in range(9000)) + f"fi\nrun {LAM}=$A\n",
    "array.sh": "A=(" + "x " * 20_000 + ")\nfor i in " + '"${A[@]}" ' * 4000 + "; do\n",
    "dollars.sh": f"run {LAM}=" + "$A" * 45_000 + "\n",
    "here.sh": "cat << E\n" * 10_000,
    "here too.sh": "".join(f"cat << E{i}\n" for i in range(7000)),
    "many.sh": f"run {' '.join(f'policy_loss.lambda_vals={1 + i / 3000}' for i in range(2000))}\n",
    "key.toml": "a." * 20_000 + "b = 1",
    "blanks.toml": " " * 90_000,
    "names.py": "x0=[1,2,3]\n"
    + "".join(f"x{i}=f'{{x{i - 1}}}{{x{i - 1}}}'\n" for i in range(1, 90))
    + "opd_loss(lam=x89)",
    "sums.py": f"x={[f'a{i}' for i in range(900)]}\nopd_loss(lam={'+'.join(['x'] * 200)})\n",
    "digits.py": f"opd_loss(lam=0x{'f' * 20_000})\n",
}


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """Five seconds of the processor for each file; they take less than one."""
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no timers of the processor")

    def late(*_: object) -> None:
        raise AssertionError("the linter takes more than five seconds")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, 5)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_grows_as_it_is_read_is_refused_or_ends_soon(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8")
    with suppress(ValueError):
        assert all(len(one.message) < 11_000 for one in lint_config(path, p=0.999, b=0.5))


def test_a_value_that_was_cut_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{YAML}{'1.' + '0' * 20_000}'}}}}\n", encoding="utf-8")
    assert lint_config(path)[0].severity == "unknown"


def test_odd_escapes_in_python_warn_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.py"
    path.write_text("x = '\\d'\ny = 1 is 1\nopd_loss(student, teacher, base, lam=1.25)\n", encoding="utf-8")
    assert lint_config(path)[0].message.startswith("λ = 1.25")
