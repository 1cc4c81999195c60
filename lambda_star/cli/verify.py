"""The command ``verify``."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_star._core.text import counted
from lambda_star.cli._output import Failure, as_failure, json_option, say, write_json
from lambda_star.cli._progress import progress

if TYPE_CHECKING:
    from lambda_star.verified.proofs import Proof

__all__ = ["verify"]

STATUS = {"proved": 0, "refuted": 1, "open": 3}


@click.command(short_help="Prove theorems about lambda* over boxes, by interval arithmetic.")
@click.argument("claims", nargs=-1)
@click.option("--quick", is_flag=True, help="Prove each claim over the part of its box that takes seconds.")
@json_option()
def verify(claims: tuple[str, ...], quick: bool, json_path: Path | None) -> None:
    """Prove theorems about lambda* at every point of a box, by interval branch and bound.

    A box is cut in pieces until interval arithmetic, rounded outwards, shows the claim on each of them. The command
    prints the box of every claim and the number of pieces that it took. CLAIMS are names from the first column; without
    one, all are proved.

    The exit status is 0 if all claims are proved, 1 if one is false on a piece, which is printed, and 3 if one could
    not be decided there.

    \b
    Examples:
      lambda-star verify --quick
      lambda-star verify threshold-p sandwich-near
    """  # noqa: D301 (click wants the character \b)
    with as_failure(ImportError):
        from lambda_star.verified.claims import CLAIMS
        from lambda_star.verified.proofs import prove_all

    known = {claim.name: claim for claim in CLAIMS}
    if unknown := [name for name in claims if name not in known]:
        raise Failure(f"CLAIMS must be among {', '.join(known)}, got {unknown[0]!r}")
    chosen = [claim for name, claim in known.items() if not claims or name in claims]
    proofs = []
    with progress("parts of 1000") if sys.stderr.isatty() else nullcontext(None) as report:
        for proof in prove_all(chosen, quick=quick, report=report):
            _print(proof)
            proofs.append(proof)
    write_json(json_path, "verify", {"quick": quick, "claims": [_facts(proof) for proof in proofs]})
    pieces = sum(proof.pieces for proof in proofs)
    proved = sum(proof.outcome == "proved" for proof in proofs)
    click.echo(f"\n{proved} of {len(proofs)} claims proved, on {pieces:,} pieces.")
    outcomes = {proof.outcome for proof in proofs}
    worst = next((one for one in ("refuted", "open") if one in outcomes), "proved")
    click.get_current_context().exit(STATUS[worst])


def _print(proof: Proof) -> None:
    claim = proof.claim
    say(
        f"{claim.name}: {proof.outcome}, {counted(proof.pieces, 'piece')}, over {_sides(proof.box)}: {claim.states}",
        "  ",
    )
    if proof.piece is not None:
        click.echo(f"  on the piece {_sides(proof.piece)} the expression that must be positive is in {proof.value}")


def _sides(box: dict[str, tuple[float, float]]) -> str:
    return ", ".join(f"{name} in [{low:.9g}, {high:.9g}]" for name, (low, high) in box.items())


def _facts(proof: Proof) -> dict[str, Any]:
    facts = {name: getattr(proof, name) for name in ("box", "outcome", "pieces", "piece", "value")}
    return {"claim": proof.claim.name, "states": proof.claim.states, **facts}
