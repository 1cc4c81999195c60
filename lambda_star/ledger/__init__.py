"""The ledger: every published claim about λ*, this project's own included, beside what the library finds.

The claims stand in ``claims.yaml``. A claim names the numbers that it is held against, calls of the library or figures
out of the repository's results, so that nothing that can be computed is typed; how it stands follows from them::

    from lambda_star import ledger

    for entry in ledger.judge(ledger.read()):
        print(entry.standing, entry.claim.id, entry.finding)
"""

from lambda_star.ledger.claims import KNOWN, STANDINGS, Claim, read
from lambda_star.ledger.entries import Entry, judge

__all__ = ["KNOWN", "STANDINGS", "Claim", "Entry", "judge", "read"]
