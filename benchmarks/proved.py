"""What is proved, and what is refused: ``python -m benchmarks.proved`` leaves the figures for ``docs/verification.md``.

Every step of every derivation is checked, and every derivation is damaged in all ways of the hostile battery, with
each step deleted and each two neighbours exchanged too. Then every claim over a box is proved in full.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from itertools import pairwise

from benchmarks.verification import leave
from lambda_star.symbolic.chain import broken_link, loose_end
from lambda_star.symbolic.derivation import Derivation, DerivationError
from lambda_star.symbolic.pages import derivations
from tests.symbolic.test_hostile import ALWAYS, Damage, with_steps

__all__ = ["ALWAYS", "accepted", "derivations", "moved"]

COMMAND = "python -m benchmarks.proved"


def refused(wrong: Derivation) -> bool:
    """Whether the whole check of a derivation refuses it."""
    try:
        wrong.check()
    except DerivationError:
        return True
    return False


def accepted(known: Mapping[str, Derivation], damage: Mapping[str, Damage]) -> tuple[int, list[str]]:
    """Return how many derivations were damaged, and those of them that nothing refuses."""
    made = [(f"{name}, {what}", make(one)) for name, one in known.items() for what, make in damage.items()]
    return len(made), [name for name, wrong in made if not refused(wrong)]


def moved(known: Mapping[str, Derivation]) -> tuple[int, list[str], list[str]]:
    """Return how many times a step was deleted or exchanged with the next, where the chain misses it, where all do."""
    made = []
    for name, one in known.items():
        steps = one.steps
        made += [(f"{name}, {at}", with_steps(one, steps[:at] + steps[at + 1 :])) for at in range(len(steps))]
        for at, (first, second) in enumerate(pairwise(steps)):
            made.append((f"{name}, {at}", with_steps(one, (*steps[:at], second, first, *steps[at + 2 :]))))
    linked = [(name, one) for name, one in made if not (broken_link(one) or loose_end(one))]
    return len(made), [name for name, _ in linked], [name for name, one in linked if not one.misplaced()]


def proofs() -> bool:
    """Check the derivations, and the battery on them; return whether all is as it must be."""
    known = derivations()
    steps = sum(one.check() for one in known.values())
    (forged, missed), (touched, linked, unseen) = accepted(known, ALWAYS), moved(known)
    figure = (
        f"{steps} steps of {len(known)} derivations hold; {forged + touched:,} derivations damaged in "
        f"{len(ALWAYS) + 2} ways, {len(missed) + len(unseen)} accepted; of {touched:,} deletions and exchanges of "
        f"steps {touched - len(linked)} break the chain, and the marks of the words see the others"
    )
    print(figure, *missed, *unseen, sep="\n  ", flush=True)
    leave("proofs", COMMAND, figure, steps=steps, damaged=forged + touched, accepted=[*missed, *unseen])
    return not missed and not unseen


def theorems() -> bool:
    """Prove the claims over their boxes; return whether all are proved."""
    from lambda_star.verified.claims import CLAIMS
    from lambda_star.verified.proofs import prove

    begun, found = time.process_time(), []
    for claim in CLAIMS:
        found.append(prove(claim))
        print(f"{claim.name}: {found[-1].outcome}, {found[-1].pieces:,} pieces", flush=True)
    done = sum(one.outcome == "proved" for one in found)
    pieces, seconds = sum(one.pieces for one in found), time.process_time() - begun
    figure = f"{done} of {len(found)} claims proved on {pieces:,} pieces in {seconds:.0f} s of a processor"
    leave("theorems", COMMAND, figure, outcomes={one.claim.name: [one.outcome, one.pieces] for one in found})
    return done == len(found)


def main() -> int:
    """Leave both figures; the exit status is 1 if something is not proved, or a false derivation is accepted."""
    return int(not all([proofs(), theorems()]))


if __name__ == "__main__":
    sys.exit(main())
