"""Branch and bound proves what is true, refutes what is false, and leaves open what it cannot tell."""

from __future__ import annotations

import math
import random
from typing import Any

import mpmath
import pytest
from flint import arb

from lambda_star.bernoulli import formulas
from lambda_star.cli import main
from lambda_star.verified import claims, proofs
from lambda_star.verified._enclose import precision
from lambda_star.verified._real import UNDECIDED, Real, balls, real
from lambda_star.verified.claims import CLAIMS, Claim
from lambda_star.verified.proofs import prove
from tests.cli.test_cli import invoke

mp = mpmath.mp.clone()
mp.dps = 40
NAMES = [claim.name for claim in CLAIMS]


@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_every_claim_is_proved_in_its_quick_form(claim: Claim) -> None:
    proof = prove(claim, quick=True)
    assert (proof.outcome, proof.piece) == ("proved", None)


@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_the_opposite_of_every_claim_is_refuted(claim: Claim) -> None:
    proof = prove(claim._replace(positive=lambda *sides: -claim.positive(*sides)), quick=True)
    assert proof.outcome == "refuted"
    assert proof.value is not None
    assert proof.value[1] <= 0


def test_a_claim_that_is_false_in_a_corner_is_refuted_there() -> None:
    def wrong(tail: Real, c: Real) -> Any:
        """That the upper bound log(c/p) holds with c−0.001 for c: wrong where 1−p < 0.001 or so."""
        return formulas.push_to_collapse(balls, 1 - tail, c - 0.001) - formulas.push_to_edge(balls, 1 - tail, c)

    proof = prove(Claim("wrong", "", {"tail": (0.0, 0.5), "c": (2.0, 3.0)}, wrong))
    assert proof.outcome == "refuted"
    assert proof.piece is not None
    assert proof.piece["tail"][0] < 0.001


def test_what_cannot_be_decided_is_left_open_with_its_piece() -> None:
    proof = prove(Claim("touches", "", {"x": (0.0, 3.0)}, lambda x: (x * x - 2) * (x * x - 2)))
    assert proof.outcome == "open"  # no float is the root of 2
    assert proof.piece is not None
    low, high = proof.piece["x"]
    assert low <= math.sqrt(2) <= high
    assert high - low < 1e-6


def test_the_reports_count_to_the_whole() -> None:
    seen: list[tuple[str, int, int]] = []
    proof = prove(CLAIMS[NAMES.index("order-dies")], report=lambda *said: seen.append(said))
    assert seen[-1][1:] == (1000, 1000)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert len(seen) == proof.pieces // proofs.EVERY + 1


def test_boxes_reach_the_most_deterministic_positions() -> None:
    assert 1 / (1 + math.exp(claims.FARTHEST)) <= 1e-9
    for claim in CLAIMS:
        assert "x" not in claim.box or claim.box["x"][1] == claims.FARTHEST
        assert "tail" not in claim.box or claim.box["tail"][0] == 0
        assert all(claim.box[name][0] <= low < high <= claim.box[name][1] for name, (low, high) in claim.quick.items())


def test_what_the_statements_say_of_the_faces_is_so() -> None:
    """The differences, and their slopes where it is said, are 0 on the face that a statement names."""
    rng = random.Random(0)
    with precision(120):
        for _ in range(20):
            c, split, excess = (real(value) for value in (rng.uniform(1.1, 9), rng.uniform(-6, 0), rng.uniform(0.1, 3)))
            none = real(0.0).at(1.0, 0.0)
            differences = [
                formulas.push_to_edge(balls, 1 - none, c) - balls.log(c),
                formulas.push_to_collapse(balls, 1 - none, c) - formulas.push_to_edge(balls, 1 - none, c),
            ]
            bending = [
                claims._log_g(split, excess, none),
                formulas.push_across(balls, 1 - none, c) - none / c,
                none / c * (1 + none / c) - formulas.push_across(balls, 1 - none, c),
            ]
            for value in (*differences, *bending, *(one.jet[0] for one in bending)):
                assert value.low <= 0 <= value.high
                assert value.high - value.low < 1e-30


def test_jets_are_derivatives() -> None:
    def function(x: Any, xp: Any) -> Any:
        return xp.log(1 + xp.exp(x)) / (2 - x * x) - xp.log1p(x * x) * xp.expm1(x / 3) + 1 / (3 + x)

    for point in (-0.7, 0.1, 0.9):
        with precision(120):
            found = function(real(point).at(1.0, 0.0), balls)
        wanted = [mp.diff(lambda x: function(x, mp), mp.mpf(point), order) for order in (1, 2)]
        for jet, value in zip(found.jet, wanted, strict=True):
            assert abs(mp.mpf(jet.low.str(30, radius=False)) - value) < 1e-15
            assert jet.high - jet.low < 1e-25


def test_intervals_hold_what_points_give() -> None:
    rng = random.Random(1)
    operations: list[Any] = [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: balls.exp(a) - b,
        lambda a, b: balls.expm1(a) * b,
        lambda a, b: balls.where(a < b, a, b),
    ]
    for _ in range(400):
        ends = [sorted(rng.choice([rng.uniform(-2, 2), 0.0, -1.0]) for _ in range(2)) for _ in range(2)]
        wide = [Real(arb(low), arb(high)) for low, high in ends]
        points = [rng.uniform(*pair) for pair in ends]
        for operation in operations:
            held, value = operation(*wide), real(operation(*map(real, points)))
            assert held.low <= value.high
            assert value.low <= held.high


def test_a_comparison_that_is_not_decided_is_neither() -> None:
    across = Real(arb(0), arb(2))
    assert (across < 1) is UNDECIDED
    assert ((across < 1) & (real(1.0) > 2)) is False
    assert ((across < 1) | (real(3.0) > 2)) is True
    assert (across <= 2) is True
    with pytest.raises(ArithmeticError):
        bool(across == 1)


def test_the_command_ends_with_the_worst_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke("verify", "threshold-p", "width-above", "--quick")
    assert done.exit_code == 0
    assert "2 of 2 claims proved, on" in done.output
    touches = Claim("touches", "(x²−2)² > 0", {"x": (0.0, 2.0)}, lambda x: (x * x - 2) * (x * x - 2))
    false = Claim("false", "x > 1", {"x": (0.0, 2.0)}, lambda x: x - 1)
    for wrong, status in (((touches,), 3), ((false, touches), 1)):
        monkeypatch.setattr(claims, "CLAIMS", (CLAIMS[0], *wrong))
        done = invoke("verify")
        assert done.exit_code == status
        assert "on the piece x in [" in done.output
    assert "false: refuted" in done.output


def test_the_command_names_the_claims_that_there_are() -> None:
    done = invoke("verify", "no-such-claim")
    assert done.exit_code == 2
    assert "CLAIMS must be among threshold-p" in done.output
    assert "verify" in main.commands
