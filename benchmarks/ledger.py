"""The tables of ``docs/ledger.md``: ``python -m benchmarks.ledger`` writes them and the picture.

The page holds the tables between two marks, and a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lambda_star.ledger import STANDINGS, Entry, judge, read
from lambda_star.plotting import plot_ledger

ROOT = Path(__file__).parent.parent
PAGE, PICTURE = ROOT / "docs" / "ledger.md", ROOT / "docs" / "ledger.png"
TABLES = re.compile(r"(?<=<!-- claims -->\n\n).*(?=\n\n<!-- end of claims -->)", flags=re.DOTALL)
HEAD = "| claim | by, known | what the library finds | shown by |\n| --- | --- | --- | --- |"


def row(entry: Entry) -> str:
    """Return the row of a claim."""
    claim = entry.claim
    by = f"[{claim.title}]({claim.url})" if claim.url else claim.title
    said = " ".join(filter(None, (entry.finding, claim.limits)))
    cells = (claim.claim, f"{by}, {claim.known}", said, f"`{claim.shows}`" if claim.shows else "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace('λ*', 'λ' + chr(92) + '*') for cell in cells)} |"


def tables(entries: Sequence[Entry]) -> str:
    """Return one table in Markdown for each standing."""
    parts = []
    for standing in STANDINGS:
        rows = [row(entry) for entry in entries if entry.standing == standing]
        parts += ["\n".join([f"### {standing.capitalize()}: {len(rows)}", "", HEAD, *rows])] if rows else []
    return "\n\n".join(parts)


def main() -> None:
    """Write the tables and the picture of the page."""
    entries = judge(read(), ROOT)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLES.sub(lambda _: tables(entries), page), encoding="utf-8")
    plot_ledger(entries).savefig(PICTURE, dpi=150)


if __name__ == "__main__":
    main()
