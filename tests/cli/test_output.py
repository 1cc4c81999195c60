"""Options of quantities accept and refuse what the quantities do."""

from __future__ import annotations

import math

import click
import pytest
from click.testing import CliRunner

from lambda_star._core.quantities import LAM, MARGIN, B, C, P, Quantity
from lambda_star.cli._output import OPEN_CLIP, as_failure, print_table, quantity_option, range_type, say


@pytest.mark.parametrize("quantity", [P, B, C, OPEN_CLIP, LAM, MARGIN], ids=lambda quantity: str(quantity.range))
def test_an_option_has_the_range_of_its_quantity(quantity: Quantity) -> None:
    kind = range_type(quantity)
    ends = [end for end in (quantity.low, quantity.high) if math.isfinite(end)]
    for value in (0.5, 3.0, *(end + step for end in ends for step in (-0.25, 0.0, 0.25))):
        if quantity.contains(value):
            assert kind.convert(value, None, None) == value
        else:
            with pytest.raises(click.BadParameter, match="is not in the range"):
                kind.convert(value, None, None)


def test_an_option_has_the_name_and_the_meaning_of_its_quantity_unless_others_are_given() -> None:
    @click.command()
    @quantity_option(P, required=True)
    @quantity_option(C, "--clip", default=5.0, help="Another text.")
    def command(p: float, clip: float) -> None:
        click.echo(f"{p} {clip}")

    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "--p FLOAT RANGE The teacher's probability of its modal token. [0<x<1; required]" in text
    assert "--clip FLOAT RANGE Another text. [x>=1]" in text
    assert CliRunner().invoke(command, ["--p", "0.5"]).output == "0.5 5.0\n"


def test_an_error_of_the_library_is_one_message_and_exit_code_2() -> None:
    @click.command()
    def command() -> None:
        with as_failure(ValueError):
            raise ValueError("p must lie in (0, 1), got 2")

    result = CliRunner().invoke(command)
    assert (result.output, result.exit_code) == ("Error: p must lie in (0, 1), got 2\n", 2)


def test_whatever_is_printed_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "x\x1b[2J\nSAFE λ = 1.25\u202e"
    say(hostile)
    print_table(hostile, [(hostile, 1.0)])
    print_table("table", [hostile], {"name": lambda text: text, "number": len})
    assert capsys.readouterr().out.count(r"x\x1b[2J\nSAFE λ = 1.25\u202e") == 4
