"""Join what two models said about the same answers: find each answer's partner, and where its tokens stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

import numpy as np

from lambda_star.calibration.readers.positions import Position, position
from lambda_star.calibration.readers.steps import PLACEHOLDER, Answer, Step, is_telling, same_token
from lambda_star.calibration.table import ENDS, Problem, Table
from lambda_star.calibration.texts import Texts

__all__ = ["join", "tabulate"]

WINDOW = 1024
"""How many answers of each file are read before it is decided whether they are joined by name or by order."""

TRIED = 16
"""How many pairs of them are aligned to decide it."""

BATCH = 65_536
"""The least number of rows of a table, except for the last one."""

LETTERS = re.compile("[A-Za-z0-9]")

Item = Answer | Problem
Pair = tuple[Item | None, Item | None]

TAIL = 8
"""How many tokens of a prompt may follow the answer in it: the end of a turn, and what a template adds."""

NO_START = """\
both files score prompts and nothing tells where this answer starts; give each record a field `answer_start`, the \
number of tokens before the answer"""

SEVERAL = """\
the answer stands at several places in the teacher's record, and nothing tells which is meant; give the teacher's \
records a field `answer_start`, the number of tokens before the answer"""

TOKENIZERS = """\
the ids of its tokens are those of other texts in the teacher's record, so that the teacher has another tokenizer; \
calibrate with two models of one tokenizer"""

AGAIN = """\
stands a second time, with the same numbers; keep one of them, or give every answer a name of its own"""

FIRST = """\
the base's first number is 0 and no tokens are listed beside it, so it was not computed; sample with `top_logprobs`"""

BLANK = """\
every log-probability is 0 and no tokens are listed, so they were not computed; ask the engine for log-probabilities"""


class _Aligned(NamedTuple):
    """Where an answer's steps start in both records, how many of them are the same, and what is wrong."""

    offset: int
    start: int
    kept: int
    wrong: str = ""


def join(teacher: Iterable[Item], base: Iterable[Item]) -> Iterator[Table]:
    """Yield the tables of the answers that two models scored, with what did not match among their problems.

    The base sampled the answers, and its tokens stand in the teacher's, perhaps after a prompt. Answers are joined by
    name where the names are those of the same answers, and otherwise by order; the tables' ``source`` says which. Files
    in the same order are read side by side; answers that come early in one file wait in memory for their partner.
    Tables hold whole answers; the last one may hold problems alone.

    >>> step = Step("[", 28, -0.1)
    >>> (table,) = join([Answer("7", (step,), 1, "t")], [Answer("7", (step._replace(log=-0.7),), 1, "b")])
    >>> table.source, table.log_p.tolist(), table.log_b.tolist()
    ('b with t, joined by name', [-0.1], [-0.7])
    """
    ours, theirs = iter(teacher), iter(base)
    first = list(islice(ours, WINDOW)), list(islice(theirs, WINDOW))
    by_name = _joins_by_name(*first)
    sides = chain(first[0], ours), chain(first[1], theirs)
    sources = [next((item.source for item in side), "") for side in (first[1], first[0])]
    source = f"{' with '.join(sources)}, joined by {'name' if by_name else 'order'}"
    yield from tabulate(_by_name(*sides) if by_name else zip_longest(*sides), source)


def tabulate(pairs: Iterable[Pair], source: str) -> Iterator[Table]:
    """Yield the tables of pairs of answers, teacher's and base's, with a problem or None where one is missing.

    >>> pair = Answer("", (Step("[", 28, -0.1),), 1, "a"), Problem(1, "broken", "a")
    >>> [(len(table.token), table.problems) for table in tabulate([pair], "a")]
    [(0, (Problem(line=1, message='broken', source='a'),))]
    """
    names: set[str] = set()
    seen: set[int] = set()
    rows: list[tuple[str, int, Position]] = []
    problems: list[Problem] = []
    for index, (teacher, base) in enumerate(pairs):
        problems += [item for item in (teacher, base) if isinstance(item, Problem)]
        if isinstance(teacher, Answer) and isinstance(base, Answer):
            name = base.name or teacher.name
            both = hash((name, teacher.steps, base.steps))
            if name and both in seen:
                problems.append(Problem(base.line, f"the answer {name} {AGAIN}", base.source))
                continue
            seen.add(both)
            name = _unused(names, name or str(index))
            found, wrong = _positions(name, teacher, base)
            rows += [(name, at, one) for at, one in found]
            problems += wrong
        elif isinstance(teacher, Answer) and base is None:
            problems.append(_alone(teacher, "base"))
        elif isinstance(base, Answer) and teacher is None:
            problems.append(_alone(base, "teacher"))
        if len(rows) + len(problems) >= BATCH:
            yield _table(rows, problems, source)
            rows, problems = [], []
    if rows or problems:
        yield _table(rows, problems, source)


def _alone(answer: Answer, other: str) -> Problem:
    named = f"the answer {answer.name}" if answer.name else "an answer"
    said = f"{named} has no partner in the file of the {other}; score it with both models"
    return Problem(answer.line, said, answer.source)


def _unused(names: set[str], name: str) -> str:
    """The name, or one made from it if another answer has it already."""
    own, count = name, 1
    while own in names:
        own, count = f"{name}#{count}", count + 1
    names.add(own)
    return own


def _joins_by_name(teacher: list[Item], base: list[Item]) -> bool:
    """Whether names join the answers at least as well as their order does."""
    ours, theirs = ({one.name: one for one in side if isinstance(one, Answer) and one.name} for side in (teacher, base))
    answers = [sum(isinstance(one, Answer) for one in side) for side in (teacher, base)]
    if [len(ours), len(theirs)] != answers or not ours.keys() & theirs.keys():
        return False
    named = [(ours[name], theirs[name]) for name in theirs if name in ours]
    ordered = list(zip(teacher, base, strict=False))
    return _aligned(named[:TRIED]) >= _aligned(ordered[:TRIED])


def _aligned(pairs: Iterable[tuple[Item, Item]]) -> int:
    """How many positions of some pairs can be joined."""
    both = [(one, other) for one, other in pairs if isinstance(one, Answer) and isinstance(other, Answer)]
    return sum(_align(one, other).kept for one, other in both)


def _by_name(teacher: Iterable[Item], base: Iterable[Item]) -> Iterator[Pair]:
    """Pairs of answers with one name, as soon as both have come."""
    waiting: tuple[dict[str, Answer], dict[str, Answer]] = ({}, {})
    places: tuple[dict[int, tuple[int, str]], dict[int, tuple[int, str]]] = ({}, {})
    for both in zip_longest(teacher, base):
        for side, item in enumerate(both):
            if not isinstance(item, Answer):
                if item is not None:
                    yield item, None
                continue
            before = places[side].setdefault(hash(item.name), (item.line, item.source))
            if before != (item.line, item.source):
                said = f"the answer {item.name} is also on line {before[0]}; keep one of them"
                yield Problem(item.line, said, item.source), None
                continue
            partner = waiting[1 - side].pop(item.name, None)
            if partner is None:
                waiting[side][item.name] = item
            else:
                yield (item, partner) if side == 0 else (partner, item)
    yield from ((one, None) for one in waiting[0].values())
    yield from ((None, one) for one in waiting[1].values())


def _positions(name: str, teacher: Answer, base: Answer) -> tuple[list[tuple[int, Position]], list[Problem]]:
    """The positions of one answer that both models scored, and what is wrong with the others."""
    found = _align(teacher, base)
    good: list[tuple[int, Position]] = []
    problems = [Problem(base.line, f"answer {name}: {found.wrong}", base.source)] if found.wrong else []
    digits, base_digits = teacher.digits(), base.digits()
    blank = next((one for one in (teacher, base) if _is_blank(one)), None)
    if blank is not None and found.kept:
        return [], [*problems, Problem(blank.line, f"answer {name}: {BLANK}", blank.source)]
    stretches = (one.steps[at : at + found.kept] for one, at in ((teacher, found.offset), (base, found.start)))
    if _have_other_texts(*stretches):
        return [], [*problems, Problem(base.line, f"answer {name}: {TOKENIZERS}", base.source)]
    for at in range(found.kept):
        ours, theirs = teacher.steps[found.offset + at], base.steps[found.start + at]
        blamed = teacher if ours.wrong or not theirs.wrong else base
        try:
            if ours.wrong or theirs.wrong:
                raise ValueError(ours.wrong or theirs.wrong)
            if found.start + at == 0 and theirs.log == 0 and len(theirs.entries()) == 1:
                raise ValueError(FIRST)
            good.append((at, position(ours, theirs, digits, base_digits)))
        except ValueError as error:
            problems.append(Problem(blamed.line, f"answer {name}, position {at}: {error}", blamed.source))
    return good, problems


def _is_blank(answer: Answer) -> bool:
    """Whether an answer of several tokens says nothing but 0 everywhere."""
    several = [one for one in answer.steps if not one.wrong and one.log is not None]
    return len(several) > 1 and not any(one.log or one.top or one.also for one in several)


def _align(teacher: Answer, base: Answer) -> _Aligned:
    """Where the base's answer stands among the teacher's steps, which may hold the prompt before it."""
    start = base.start
    if start is None and teacher.given:
        start = teacher.start
    if start is None or _scores_alone(teacher, base):
        return _Aligned(0, 0, 0, NO_START)
    own, steps = base.steps[start:], teacher.steps
    if not own:
        said = (
            "the base's record holds no token of the answer; it scores the prompt alone" if base.steps else "no tokens"
        )
        return _Aligned(0, start, 0, f"{said}; sample with `logprobs`, and do not swap `teacher` and `base`")
    places = [at for at in _places(teacher, base, len(own)) if _common(steps, own, at) == len(own)]
    if not places:
        return _part(teacher, base, own, start)
    found, *others = places
    if found != _boundary(teacher, base) and any(at >= _last(teacher, len(own)) for at in others):
        return _Aligned(0, start, 0, SEVERAL)
    more = len(steps) - len(own) if teacher.start == 0 and not teacher.given else 0
    said = f"the teacher's record goes on for {more} tokens after the last of the base's, which may have been cut"
    return _Aligned(found, start, len(own), said if more else "")


def _places(teacher: Answer, base: Answer, length: int) -> Iterator[int]:
    """The places among the teacher's steps at which the whole answer may start, the most likely first."""
    boundary = _boundary(teacher, base)
    if boundary is not None:
        yield boundary
    if not teacher.given:
        first = max(0, _last(teacher, length) - TAIL)
        latest = len(teacher.steps) - length
        latest = latest if teacher.start is None else min(latest, teacher.start)
        yield from (at for at in range(latest, first - 1, -1) if at != boundary)


def _last(teacher: Answer, length: int) -> int:
    """Where an answer starts that ends where the teacher's prompt does, which one more token may follow."""
    if teacher.start is None:
        return len(teacher.steps) - length - 1
    return max(0, teacher.start - length)


def _have_other_texts(steps: tuple[Step, ...], own: tuple[Step, ...]) -> bool:
    """Whether most tokens of one id have other letters and digits, whatever stands for spaces and unfinished bytes."""
    same = [pair for pair in zip(steps, own, strict=True) if pair[0].id is not None and pair[0].id == pair[1].id]
    named = [pair for pair in same if not any(one.text.startswith(PLACEHOLDER) for one in pair)]
    letters = [tuple(LETTERS.findall(one.text) for one in pair) for pair in named]
    differing = [ours != theirs for ours, theirs in letters if ours and theirs]
    return 2 * sum(differing) > len(differing)


def _part(teacher: Answer, base: Answer, own: tuple[Step, ...], start: int) -> _Aligned:
    """Where the answer's first tokens stand; the teacher may have been given all but the last."""
    prompt = teacher.steps if teacher.start is None else teacher.steps[: teacher.start]
    short = len(prompt) - len(own) + 1
    if len(own) > 1 and short >= 0 and not teacher.given and _common(prompt, own, short) == len(own) - 1:
        return _kept(short, start, len(own) - 1, own, prompt)
    boundary = _boundary(teacher, base)
    place = len(prompt) if boundary is None else boundary
    return _kept(place, start, _common(teacher.steps, own, place), own, teacher.steps)


def _scores_alone(teacher: Answer, base: Answer) -> bool:
    """Whether both records score one text as a prompt, and the answer is not the token that was made after it."""
    return (
        not base.given
        and not teacher.given
        and bool(base.start)
        and len(base.steps) - (base.start or 0) <= 1
        and base.start == teacher.start
        and any(one.log is not None for one in base.steps[: base.start])
        and _common(teacher.steps, base.steps[: base.start], 0) == base.start
    )


def _boundary(teacher: Answer, base: Answer) -> int | None:
    """The place of the answer by the user's word or the lengths of both prompts, None where nothing tells."""
    if teacher.given:
        return teacher.start
    if base.prompt is None or teacher.prompt is None or teacher.start is None:
        return None
    place = base.prompt - (teacher.prompt - teacher.start)
    return place if 0 <= place < len(teacher.steps) else None


def _common(steps: tuple[Step, ...], own: tuple[Step, ...], offset: int) -> int:
    """How many tokens of the answer stand among the steps from a place on."""
    count = 0
    for ours, theirs in zip(steps[offset : offset + len(own)], own, strict=False):
        if not _may_be_same(ours, theirs):
            break
        count += 1
    return count


def _may_be_same(one: Step, other: Step) -> bool:
    """Whether nothing says that two tokens differ; a token that could not be read may be any."""
    unread = any(not each.text and each.id is None for each in (one, other))
    return unread or same_token(one, other) or (one.text == other.text and not is_telling(one.text))


def _kept(offset: int, start: int, count: int, own: tuple[Step, ...], steps: tuple[Step, ...]) -> _Aligned:
    """The positions up to the first that differs, and a sentence about the others."""
    if count == len(own):
        return _Aligned(offset, start, count)
    if 2 * count < len(own):
        said = "most of its tokens do not stand in the teacher's record, which may be that of another answer"
        return _Aligned(
            offset, start, 0, f"{said}; score the ids that the base sampled, and name answers by `custom_id`"
        )
    there = steps[offset + count] if offset + count < len(steps) else None
    said = (
        "the teacher's tokens end" if there is None else f"the teacher has {there.text!r}, the base {own[count].text!r}"
    )
    rest = f"the {len(own) - count} positions from there on are left out; score the ids that the base sampled"
    return _Aligned(offset, start, count, f"at position {count} {said}; {rest}")


def _table(rows: list[tuple[str, int, Position]], problems: list[Problem], source: str) -> Table:
    numbers = np.array([one[2:8] for _, _, one in rows], dtype=np.float64).reshape(len(rows), 6)
    columns: dict[str, Any] = dict(zip(("log_p", "log_b", *ENDS), numbers.T, strict=True))
    exact = all(np.array_equal(columns[end], columns[end[:5]]) for end in ENDS)
    tops = tuple(one.top for _, _, one in rows)
    return Table(
        source=source,
        sequence=Texts.of(name for name, _, _ in rows),
        position=np.array([at for _, at, _ in rows], dtype=np.int64),
        token=Texts.of(one.token for _, _, one in rows),
        modal=Texts.of(one.modal for _, _, one in rows),
        top=tops if any(tops) else None,
        problems=tuple(problems),
        **{name: values for name, values in columns.items() if not exact or name not in ENDS},
    )
