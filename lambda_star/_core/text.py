"""Text and numbers as they are shown: text from a file can move no cursor, hide nothing, and begin no line."""

from __future__ import annotations

import math
import re
import unicodedata

__all__ = ["counted", "harmless", "named", "number", "percent", "shown"]

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
"""Categories of characters that are not seen as they are: controls, formats (bidi, zero-width), surrogates, spaces."""

BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that show nothing although Unicode counts them as letters, marks or symbols."""

SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

MOST = 40
"""The characters of a token that are shown: a longer one would fill a line, and could begin the next."""

PLAIN = re.compile(r"[ -~]*")

COMMAND = re.compile(r"^ *:(?=:\S.*::)|#(?=#\[|#vso\[|#teamcity\[)", re.MULTILINE)
"""Where a line begins that a CI runner (GitHub, Azure, TeamCity) would take for a command to it."""


def shown(text: str) -> str:
    r"""Return a text on one line in which every character is seen.

    Controls (C0 and C1, so escape sequences too), line breaks, marks that turn the direction of text, characters
    without width, blanks but the space, and halves of surrogate pairs stand as the escapes of Python, and so does the
    first character of a command to a CI runner. Shown again, the text stays as it is.

    Args:
        text: text from data, from a file's name or from an error.

    Returns:
        The text to print.

    >>> print(shown("[\x1b[31m\u202e7\u200b]\n"))
    [\x1b[31m\u202e7\u200b]\n
    """
    if not PLAIN.fullmatch(text):
        text = "".join(map(_seen, text))
    return harmless(text)


def harmless(text: str) -> str:
    r"""Return lines of which none is a command to a CI runner; all else stays.

    >>> print(harmless("a\n::add-mask::b"))
    a
    \x3a:add-mask::b
    """
    if "::" in text or "##" in text:
        return COMMAND.sub(lambda found: f"{found[0][:-1]}\\x{ord(found[0][-1]):02x}", text)
    return text


def named(text: str, most: int = MOST) -> str:
    """Return a token or a name as it is shown: cut where it is long, in quotes where its ends could not be seen.

    Args:
        text: the text of a token, or a name from data.
        most: the number of characters from which on the middle is left out.

    Returns:
        The text to print.

    >>> named('["'), named(" "), named("a" * 99, most=9)
    ('["', "' '", 'aaaa…aaaa')
    """
    seen = shown(text)
    if len(seen) > most:
        half = (most - 1) // 2
        seen = f"{seen[:half]}…{seen[-half:]}"
    return seen if seen and seen == seen.strip() else f"'{seen}'"


def number(value: float) -> str:
    """Return a number with six significant digits; "unknown" stands for NaN.

    >>> number(1.25), number(float("inf")), number(float("nan"))
    ('1.25', '+inf', 'unknown')
    """
    return "unknown" if math.isnan(value) else "+inf" if value == math.inf else f"{value:.6g}"


def counted(count: float, noun: str) -> str:
    """Return a number of things as text.

    >>> counted(1, "row"), counted(59.0, "answer")
    ('1 row', '59 answers')
    """
    return f"{count:.15g} {noun}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as text, in percent with three digits.

    >>> percent(0.05), percent(0.0951), percent(1.0)
    ('5 %', '9.51 %', '100 %')
    """
    return f"{100 * share:.3g} %"


def _seen(character: str) -> str:
    if character == " " or not (character in BLANK or unicodedata.category(character) in HIDDEN):
        return character
    code = ord(character)
    escape = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return SHORT.get(character, escape)
