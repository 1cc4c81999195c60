"""What is wrong with the extrapolation of a training configuration, before the run: λ, its clip, and what it needs.

Read are verl and G-OPD YAML, shell scripts that launch verl with Hydra overrides (``key.sub=value``), and TRL arguments
as YAML, JSON or flags. What is known of the training codes is data: ``BOUNDS`` says which ratio each clip bounds,
``NEEDS`` what G-OPD must find to apply λ. The names are those of the public code of G-OPD (RUCBM/G-OPD, a fork of
verl), verl and TRL 1.16; another fork may differ. An extension.
"""

from __future__ import annotations

import io
import json
import math
import re
import shlex
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from lambda_star.bernoulli import operating_point, threshold
from lambda_star.inverse import teacher_for

if TYPE_CHECKING:
    import yaml

__all__ = ["BOUNDS", "NEEDS", "Bound", "Finding", "lint_config"]

Severity = Literal["error", "warning", "note"]

ENGINES = "the training engine's probability over the rollout engine's, for the same policy"
POLICIES = "the updated policy's probability over that of the policy before the update"


class Finding(NamedTuple):
    """One thing to know about a configuration: how bad, on which line, about which key, and what to do.

    >>> Finding("note", 3, "lmbda", "no extrapolation").severity
    'note'
    """

    severity: Severity
    line: int | None
    key: str | None
    message: str


class Bound(NamedTuple):
    """What a clip of a training code bounds: a pattern that matches its whole key, whose clip it is, and which ratio.

    ``resembles_c`` marks caps that are tried in place of c where no clip is given.

    >>> bool(re.fullmatch(BOUNDS[0].pattern, "algorithm.rollout_correction.rollout_is_threshold"))
    True
    """

    pattern: str
    whose: str
    ratio: str
    resembles_c: bool = False


BOUNDS: tuple[Bound, ...] = (
    Bound(r"(.*\.)?rollout_is_threshold", "verl's rollout correction, default 2, G-OPD 5", ENGINES, True),
    Bound(r"(.*\.)?tis_imp_ratio_cap", "truncated importance sampling of earlier verl", ENGINES, True),
    Bound(r"(.*\.)?vllm_importance_sampling_(clip_max|cap)", "TRL's GRPO, 3 by default", ENGINES, True),
    Bound(r"(.*\.)?vllm_importance_sampling_clip_min", "TRL's GRPO", ENGINES),
    Bound(r"(.*\.)?rollout_(is_threshold_lower|rs_threshold|rs_threshold_lower)", "verl's rejection", ENGINES),
    Bound(r"(.*\.)?rollout_token_veto_threshold", "verl's veto", ENGINES),
    Bound(r"(.*\.)?clip_ratio(_low|_high)?", "PPO's ε, 0.2 by default, a distance from 1 and no cap", POLICIES),
    Bound(r"(.*\.)?clip_ratio_c", "dual-clip PPO, 3 by default", POLICIES),
    Bound(r"(.*\.)?clip_cov_(lb|ub)", "clip-cov", "a covariance of log-probability and advantage, no ratio"),
    Bound(r"epsilon(_high)?", "TRL's PPO-like ε, 0.2 by default, a distance from 1 and no cap", POLICIES),
    Bound(r"delta", "TRL's two-sided GRPO", POLICIES),
    Bound(r"(.*\.)?distillation_is_clip", "TRL's SDFT and SDPO, 2 by default", POLICIES),
)
"""The clips of training codes, none of which is the theory's c; the first that matches a key says what it bounds."""

SWITCH = "actor_rollout_ref.actor.policy_loss.only_reverse_kl_advantages"

SEVERAL_TEACHERS = "actor_rollout_ref.actor.policy_loss.multi_teacher_distill"

NEEDS: tuple[tuple[str, str], ...] = (
    (SWITCH, "True"),
    ("actor_rollout_ref.model.base_model_path", "the student's start, the base of λ"),
    ("actor_rollout_ref.ref.model.base_model_path", "the base of the teacher side; with one teacher the same model"),
)
"""The keys without which G-OPD leaves λ aside, and what to set them to."""

LAMBDA = re.compile(r"(.*\.)?lambda_vals")
ON_POLICY_SHARE = re.compile(r"(.*\.)?lmbda")
TRL_TEACHER = re.compile(r"teacher_model_name_or_path")
UNSET = ("", "null", "none", "~", "false")

COMMON_LAMBDA = 1.25
TYPICAL_BASE, TYPICAL_CLIP = 0.5, 5.0

HEREDOC = re.compile(r"((?<!<)<<-?[ \t]*(['\"]?)([A-Za-z_]\w*)\2.*\n)(?:.*\n)*?[ \t]*\3(?=\n|\Z)")
CONTINUATION = re.compile(r"^(?![ \t]*#)(.*)\\\n", re.MULTILINE)
OVERRIDE = re.compile(r"\+{0,2}([A-Za-z_][\w.@/]*)=(.*)", re.DOTALL)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
VALUED_FLAG = re.compile(r"--([A-Za-z][\w.-]*)=(.*)", re.DOTALL)
FLAG = re.compile(r"--([A-Za-z][\w.-]*)")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?[-=]([^{}]*))?\})")
SEPARATORS = ";&|()"
STARTS = ("export", "local", "declare", "readonly", "env", "then", "do", "else", "{")


class _Setting(NamedTuple):
    """One value of a configuration, as text."""

    key: str
    value: str
    line: int


def lint_config(
    path: str | PathLike[str],
    *,
    p: float | None = None,
    b: float | None = None,
    clip: float | None = None,
    bounds: Sequence[Bound] = BOUNDS,
) -> tuple[Finding, ...]:
    """Read a training configuration and say what is wrong with its extrapolation.

    Whether λ is too large is an error where ``clip`` is given. Without it a cap of the file is tried as c, which it
    may not be, so that the same is a warning.

    Args:
        path: a .yaml, .yml or .json file, or a shell script (.sh, .bash, .slurm, or any name with a shell's ``#!``).
        p: teacher's probability of the most critical modal token, in (0, 1); with ``b``.
        b: base's probability of the same token, in (0, 1); with ``p``.
        clip: cap c on the tail ratio (1−p)/(1−q), in [1, inf].
        bounds: what the clips of training codes bound; ``BOUNDS`` and rows of your own.

    Returns:
        The findings, errors first, then by line; one note where the file sets nothing that bears on extrapolation.

    Raises:
        ValueError: the file is missing, of another type or broken (the message gives path, line and remedy), or p, b
            or clip lies outside its range or lacks its partner.

    Source: extension, on the threshold of the paper, Eq. 4.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     script = Path(folder, "run.sh")
    ...     _ = script.write_text("python -m verl.trainer.main_ppo actor.policy_loss.lambda_vals=1.25")
    ...     error, *others = lint_config(script, p=0.9993, b=0.5, clip=5.0)
    >>> error.line, error.message.split(";")[0]
    (1, 'λ = 1.25 is above λ* = 1.22165 (p = 0.9993, b = 0.5, c = 5)')
    >>> [finding.severity for finding in others]
    ['warning']
    """
    _check_arguments(p, b, clip)
    settings = _read(Path(path))
    findings = [*_extrapolation(settings, p, b, clip, bounds), *_ignored(settings)]
    findings += [*_on_policy_share(settings), *_other_ratios(settings, bounds)]
    if not findings:
        nothing = "nothing about extrapolation found: no lambda_vals, no clip and no TRL distillation; check the file"
        findings.append(Finding("note", None, None, nothing))
    return tuple(sorted(findings, key=_rank))


def _rank(finding: Finding) -> tuple[int, float]:
    return get_args(Severity).index(finding.severity), math.inf if finding.line is None else finding.line


def _check_arguments(p: float | None, b: float | None, clip: float | None) -> None:
    """Have ``threshold`` name the argument that lies outside its range, also where the file has no λ."""
    if (p is None) != (b is None):
        raise ValueError("p and b belong together; give both (--p and --b) or neither")
    filled = (0.5 if p is None else p), (0.5 if b is None else b), (1.0 if clip is None else clip)
    if math.isnan(threshold(*filled)):
        raise ValueError(f"p, b and clip must be numbers, got p = {p}, b = {b}, clip = {clip}")


# What is found


def _extrapolation(
    settings: Sequence[_Setting], p: float | None, b: float | None, clip: float | None, bounds: Sequence[Bound]
) -> Iterator[Finding]:
    """One finding for each λ, or for the λ = 1 of a G-OPD configuration without one."""
    found = [setting for setting in settings if LAMBDA.fullmatch(setting.key)]
    for setting in found:
        lam = _number(setting.value)
        if lam is None:
            message = f"λ is {setting.value!r}, no number; write one number here, and lint the values of a sweep singly"
            severity: Severity = "warning"
        elif lam <= 1:
            severity, message = "note", f"λ = {lam:g} extrapolates nothing; past the teacher leads only λ > 1"
        elif p is None or b is None:
            severity, message = "note", _without_measurements(lam)
        else:
            severity, message = _against_threshold(lam, p, b, clip, _clip_of_the_file(settings, bounds))
        yield Finding(severity, setting.line, setting.key, message)
    switch = _last(settings, SWITCH)
    if not found and switch and _is_set(switch):
        message = "no lambda_vals: λ is 1 by default and nothing is extrapolated; set policy_loss.lambda_vals"
        yield Finding("note", switch.line, SWITCH, message)


def _without_measurements(lam: float) -> str:
    common = ", the common default," if lam == COMMON_LAMBDA else ""
    tail = max(1 - teacher_for(TYPICAL_BASE, TYPICAL_CLIP, lam), 2.0**-53)
    return (
        f"λ = {lam:g}{common} is above λ* for near-deterministic tokens, at b = {TYPICAL_BASE:g} and c = "
        f"{TYPICAL_CLIP:g} those with 1−p below {tail:.2g}; give --p, --b and --clip, or measure with "
        "`lambda-star calibrate`"
    )


def _against_threshold(
    lam: float, p: float, b: float, clip: float | None, candidate: _Setting | None
) -> tuple[Severity, str]:
    """How λ lies to λ*, with the c of the argument or, with that said, of the file."""
    severity: Severity
    if clip is not None:
        c, severity, origin = clip, "error", ""
    elif candidate:
        c, severity = float(candidate.value), "warning"
        origin = f". c is read from {candidate.key}, line {candidate.line}, which bounds another ratio; give --clip"
    else:
        return "note", f"whether λ = {lam:g} is safe at p = {p:g}, b = {b:g} takes the cap c; give --clip"
    star, safe = threshold(p, b, c), operating_point(p, b, c, margin=0.1)
    where = f"λ* = {star:g} (p = {p:g}, b = {b:g}, c = {c:g})"
    if lam > star:
        message = f"λ = {lam:g} is above {where}; set at most {safe:g}, the operating point at margin 0.1"
        return severity, message + origin
    side = "not above it" if lam <= safe else "above it, so lower λ unless p and b are sure"
    message = f"λ = {lam:g} is at most {where}; the operating point at margin 0.1 is {safe:g}: λ is {side}"
    return "note", message + origin


def _clip_of_the_file(settings: Sequence[_Setting], bounds: Sequence[Bound]) -> _Setting | None:
    """The first setting that resembles c and has a value that c can have."""
    for bound in bounds:
        for setting in settings:
            if bound.resembles_c and re.fullmatch(bound.pattern, setting.key) and (_number(setting.value) or 0) >= 1:
                return setting
    return None


def _ignored(settings: Sequence[_Setting]) -> Iterator[Finding]:
    """A λ that G-OPD reads but does not apply: its actor tests for the log-probabilities of both bases."""
    found = [setting for setting in settings if LAMBDA.fullmatch(setting.key) and _number(setting.value) != 1]
    missing = [(key, to) for key, to in NEEDS if not ((setting := _last(settings, key)) and _is_set(setting))]
    for setting in found if missing else ():
        message = (
            "G-OPD ignores this λ and distils with λ = 1 or not at all, unless another file or a command line sets "
            + "; ".join(f"{key} ({to})" for key, to in missing)
        )
        yield Finding("warning", setting.line, setting.key, message)
    several = _last(settings, SEVERAL_TEACHERS)
    if found and several and _is_set(several):
        message = (
            "G-OPD applies λ only to samples whose opd_teacher is math or code; check that the data have that "
            "column, and λ against the p of each teacher, since all share it"
        )
        yield Finding("note", several.line, several.key, message)


def _on_policy_share(settings: Sequence[_Setting]) -> Iterator[Finding]:
    """TRL's ``lmbda``, which is no λ, and its distillation, which has none."""
    nothing = "an unmodified TRL trainer extrapolates nothing; give it an ExtrapolatedTeacher of lambda_star.torch"
    found = [setting for setting in settings if ON_POLICY_SHARE.fullmatch(setting.key)]
    for setting in found:
        share = _number(setting.value)
        if share is not None and not 0 <= share <= 1:
            message = (
                f"TRL refuses lmbda = {share:g}: it is the share of on-policy samples, in [0, 1], not λ; {nothing}"
            )
            yield Finding("error", setting.line, setting.key, message)
        else:
            message = f"lmbda is TRL's share of on-policy samples, not λ; {nothing}"
            yield Finding("note", setting.line, setting.key, message)
    for setting in settings:
        if not found and TRL_TEACHER.fullmatch(setting.key) and _is_set(setting):
            yield Finding("note", setting.line, setting.key, f"TRL's distillation has no λ: {nothing}")


def _other_ratios(settings: Sequence[_Setting], bounds: Sequence[Bound]) -> Iterator[Finding]:
    for setting in settings:
        bound = next((bound for bound in bounds if re.fullmatch(bound.pattern, setting.key)), None)
        if bound and _is_set(setting):
            message = (
                f"{setting.key} = {setting.value} ({bound.whose}) bounds {bound.ratio}; c caps (1−p)/(1−q), the "
                "teacher's tail mass over the student's. Give it as --clip only if your code bounds that ratio by it"
            )
            yield Finding("warning", setting.line, setting.key, message)


def _last(settings: Sequence[_Setting], key: str) -> _Setting | None:
    """The setting that counts: of two the later one wins, in YAML as in Hydra."""
    return next((setting for setting in reversed(settings) if setting.key == key), None)


def _is_set(setting: _Setting) -> bool:
    return setting.value.strip().lower() not in UNSET


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# What is read


def _read(path: Path) -> list[_Setting]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _broken(path, f"{error.strerror or error}; check the path") from error
    except UnicodeDecodeError as error:
        raise _broken(path, "not UTF-8 text; check the file type, or convert the file to UTF-8") from error
    reader = _shell if re.match(r"#!.*sh\b", text) else READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(READERS)
        raise _broken(path, f"cannot read a {path.suffix or 'nameless'} file; give one of {kinds}, or a shell script")
    try:
        return list(reader(path, text))
    except RecursionError as error:
        raise _broken(path, "nested too deep, or an alias that holds itself; write it out") from error


def _broken(path: Path, problem: str, line: int | None = None) -> ValueError:
    return ValueError(f"{path}{f', line {line}' if line else ''}: {problem}")


def _json(path: Path, text: str) -> Iterator[_Setting]:
    try:
        json.loads(text, parse_int=str)  # an integer may have more digits than Python reads
    except json.JSONDecodeError as error:
        raise _broken(path, f"broken JSON ({error.msg} at column {error.colno}); correct it", error.lineno) from error
    # JSON is YAML, whose reader knows lines; only tabs, in JSON never inside a string, are no white space there.
    return _yaml(path, text.replace("\t", " "))


def _yaml(path: Path, text: str) -> Iterator[_Setting]:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise _broken(path, "no mapping of keys to values; give a configuration file", root.start_mark.line + 1)
        settings = {} if root is None else {setting.key: setting for setting in _leaves(loader, root, "", 1)}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise _broken(path, f"broken YAML ({error.problem}); correct it", line) from error
    except yaml.YAMLError as error:  # a character that YAML does not admit
        raise _broken(path, f"broken YAML ({error}); correct it") from error
    yield from settings.values()


def _leaves(loader: yaml.SafeLoader, node: yaml.Node, key: str, line: int) -> Iterator[_Setting]:
    """Every scalar under its dotted key, as text; the merged mappings of ``<<`` come before what overrides them."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        for name, value in node.value:
            inner = str(name.value)
            yield from _leaves(loader, value, f"{key}.{inner}" if key else inner, name.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from _leaves(loader, value, f"{key}.{place}", value.start_mark.line + 1)
    else:
        yield _Setting(key, node.value, line)


def _shell(path: Path, text: str) -> Iterator[_Setting]:
    """Overrides and flags of every command, with the variables that the script assigns before, or gives a default."""
    variables: dict[str, str] = {}
    flag: re.Match[str] | None = None
    command, opening = -1, True
    for word, line, number in _words(path, text):
        opening = opening or number != command
        command = number
        if word in STARTS or {*word} <= {*SEPARATORS}:
            opening, flag = True, None
            continue
        value = _expand(word, variables)
        # Unlike a word with quotes around it, a variable alone may hold several options.
        for part in value.split() if VARIABLE.fullmatch(word) else [value]:
            assignment = ASSIGNMENT.fullmatch(part) if opening else None
            if assignment:
                variables[assignment[1]] = assignment[2]
            elif match := OVERRIDE.fullmatch(part) or VALUED_FLAG.fullmatch(part):
                yield _Setting(match[1].replace("-", "_"), match[2], line)
            elif flag and not opening and not FLAG.fullmatch(part):
                yield _Setting(flag[1].replace("-", "_"), part, line)
            flag = FLAG.fullmatch(part)
            opening = assignment is not None


def _words(path: Path, text: str) -> Iterator[tuple[str, int, int]]:
    """Every word with its line, and with a number that counts the line ends that close a command."""
    text = HEREDOC.sub(lambda match: match[1] + "\n" * (match[0].count("\n") - 1), text)
    # Two blanks for a continuation keep every place, so that lines can be counted in the text as it was.
    joined = CONTINUATION.sub(r"\1  ", text)
    lines, commands = ([place for place, mark in enumerate(t) if mark == "\n"] for t in (text, joined))
    stream = io.StringIO(joined)
    lexer = shlex.shlex(stream, posix=True, punctuation_chars=SEPARATORS)
    lexer.whitespace_split = True
    try:
        for word in lexer:
            end = stream.tell() - 1
            yield word, bisect_left(lines, end) + 1 - word.count("\n"), bisect_left(commands, end)
    except ValueError as error:
        line = len(lines) + 1 - lexer.token.count("\n")
        raise _broken(path, f"{error} in what opens here; close it, or write no quotes inside $(…)", line) from error


def _expand(word: str, variables: dict[str, str]) -> str:
    """The word with known variables and defaults put in, the innermost first; what is not known stays as written."""

    def value(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[2], match[0] if match[3] is None else match[3])

    for _ in range(word.count("$")):
        word = VARIABLE.sub(value, word)
    return word


READERS: dict[str, Callable[[Path, str], Iterator[_Setting]]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
    ".sh": _shell,
    ".bash": _shell,
    ".slurm": _shell,
}
