"""Read the settings of a Python file from its syntax tree; the file is never run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice, product
from pathlib import Path

from lambda_star.lint import shell
from lambda_star.lint.settings import Budget, Setting, broken, cut
from lambda_star.lint.sweeps import MOST_VALUES

__all__ = ["read"]

POSITIONAL: dict[str, tuple[str, ...]] = {
    "ExtrapolatedTeacher": ("teacher", "base", "lam"),
    "opd_loss": ("student", "teacher", "base", "lam"),
}
"""Calls whose arguments are settings by any name, with the names of their positional arguments."""

HOLDS_SETTINGS = re.compile(r".*(Config|Arguments|Args|Trainer|Workflow)")
OVERRIDE = re.compile(r"\+{0,2}[A-Za-z_]\w*(\.[\w@/]+)+=\S*")
FLAGS = re.compile(r"\s*--[A-Za-z][\w.-]*([\s=].*)?", re.DOTALL)
MODELS = ("student", "teacher", "base", "model", "teacher_model")
"""Arguments that are objects: they keep their name, by which two of them can be told apart."""

MOST_BITS = 10_000
"""Of a longer integer Python refuses to write the digits."""

WRAPPERS = ("float", "int", "str", "Decimal")


def read(path: Path, text: str) -> Iterator[Setting]:
    """Yield the arguments of configurations, trainers and extrapolated teachers, and the overrides inside of texts.

    A name stands for every value that the file assigns to it; one without a value, such as an argument of the command
    line, stays as it is written.
    """
    tree = _parsed(path, text)
    source = _Source(path, tree)
    found = [setting for node in ast.walk(tree) for setting in source.settings(path, node)]
    yield from sorted(found, key=lambda setting: setting.line or 0)


def _parsed(path: Path, text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():  # of what the file does, such as a backslash that escapes nothing
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        raise broken(
            path, f"broken Python ({error.msg}); correct it, or run lambda-star with a newer Python", error.lineno
        ) from error
    except (ValueError, MemoryError) as error:
        raise broken(path, f"broken Python ({str(error) or 'nested too deep'}); correct it") from error


class _Source:
    """What the names of a file stand for, and which texts are documentation."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.budget = Budget(path)
        self.assigned: dict[str, list[ast.expr]] = {}
        self.known: dict[str, list[str]] = {}
        self.documentation: set[int] = set()
        for node in ast.walk(tree):
            for target, value in _assignments(node):
                self.assigned.setdefault(target, []).append(value)
            if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > MOST_BITS:
                raise broken(path, "an integer has more digits than Python writes; correct it", node.lineno)
            if isinstance(node, ast.Expr):
                self.documentation.add(id(node.value))
            elif isinstance(node, ast.JoinedStr):
                self.documentation.update(map(id, node.values))

    def settings(self, path: Path, node: ast.AST) -> Iterator[Setting]:
        """Yield what one node of the tree sets."""
        if isinstance(node, ast.Call):
            yield from self._arguments(node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield from self._setting(key.value, value, "" if "." in key.value else "dict")
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute):
                    yield from self._setting(ast.unparse(target), node.value, "")
        elif isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in self.documentation:
            yield from self._overrides(path, node)

    def _overrides(self, path: Path, node: ast.Constant | ast.JoinedStr) -> Iterator[Setting]:
        """An override or flags in a text that is passed on to a command."""
        texts = list(islice(self.texts(node), MOST_VALUES + 1))
        if texts and all(map(OVERRIDE.fullmatch, texts)):
            name = texts[0].partition("=")[0].lstrip("+")
            yield Setting(name, ",".join(dict.fromkeys(text.partition("=")[2] for text in texts)), node.lineno)
        elif texts and FLAGS.fullmatch(texts[0]):
            yield from _flags(path, " ".join(texts), node.lineno)

    def _arguments(self, call: ast.Call) -> Iterator[Setting]:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        positional = POSITIONAL.get(name)
        if positional is None and not HOLDS_SETTINGS.fullmatch(name):
            return
        pairs = [*zip(positional or (), call.args, strict=False)]
        pairs += [(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg]
        if not pairs:
            yield Setting(name, "", call.lineno, name)
        for key, value in pairs:
            yield from self._setting(key, value, name)

    def _setting(self, key: str, value: ast.expr, scope: str) -> Iterator[Setting]:
        if key in MODELS:
            yield Setting(key, ast.unparse(value), value.lineno, scope)
        elif not isinstance(value, ast.Dict):
            texts = list(dict.fromkeys(islice(self.texts(value), MOST_VALUES + 1)))
            yield Setting(key, ",".join(texts), value.lineno, scope)

    def texts(self, node: ast.expr) -> Iterator[str]:
        """Yield each value that an expression may have, as text."""
        for text in self._texts(node):
            self.budget.spend(1 + len(text))
            yield cut(text)

    def _texts(self, node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.Constant):
            yield _literal(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
            yield from map("".join, product(*(list(islice(self.texts(part), MOST_VALUES)) for part in parts)))
        elif isinstance(node, ast.Name) and node.id in self.assigned:
            yield from self._values(node.id)
        elif isinstance(node, ast.IfExp):
            yield from self.texts(node.body)
            yield from self.texts(node.orelse)
        elif isinstance(node, ast.Call) and (inner := _inner(node)) is not None:
            yield from self.texts(inner)
        elif isinstance(node, ast.BinOp | ast.UnaryOp):
            yield from self._computed(node)
        elif isinstance(node, ast.List | ast.Tuple | ast.Set):
            for element in node.elts:
                yield from self.texts(element)
        else:
            yield ast.unparse(node)

    def _values(self, name: str) -> list[str]:
        """Everything that a name stands for; within its own value it stands for itself."""
        if name not in self.known:
            self.known[name] = [name]
            found = (text for value in self.assigned[name] for text in self.texts(value))
            self.known[name] = list(dict.fromkeys(islice(found, MOST_VALUES + 1)))
        return self.known[name]

    def _computed(self, node: ast.BinOp | ast.UnaryOp) -> Iterator[str]:
        """The value of a sum, a difference, a product or a quotient of numbers, or its text."""
        parts = [node.operand] if isinstance(node, ast.UnaryOp) else [node.left, node.right]
        written = ""
        for texts in product(*(list(islice(self.texts(part), MOST_VALUES)) for part in parts)):
            number = _compute(node.op, texts)
            if number is None:
                yield (written := written or ast.unparse(node))
            else:
                yield f"{number:.15g}"


def _literal(value: object) -> str:
    """A constant as the other formats write it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compute(operator: ast.operator | ast.unaryop, texts: tuple[str, ...]) -> float | None:
    """The sum, difference, product or quotient of numbers, or one with a sign; None if it is something else."""
    try:
        first, last = float(texts[0]), float(texts[-1])
    except ValueError:
        return None
    quotient = first / last if last else None
    results = {"Add": first + last, "Sub": first - last, "Mult": first * last, "USub": -first, "UAdd": first}
    return {**results, "Div": quotient}.get(type(operator).__name__)


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a node gives a value, with the value: assignments, loops, and defaults of parameters."""
    if isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name):
        if node.value is not None:
            yield node.target.id, node.value
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and isinstance(node.target, ast.Name):
        yield node.target.id, node.iter
    elif isinstance(node, ast.arguments):
        ordered = [*node.posonlyargs, *node.args]
        defaulted = ordered[len(ordered) - len(node.defaults) :]
        pairs: Iterable[tuple[ast.arg, ast.expr | None]] = [
            *zip(defaulted, node.defaults, strict=True),
            *zip(node.kwonlyargs, node.kw_defaults, strict=True),
        ]
        yield from ((argument.arg, default) for argument, default in pairs if default is not None)


def _inner(call: ast.Call) -> ast.expr | None:
    """What a call passes on: the argument of ``float(…)``, or the default of a variable of the environment."""
    name = ast.unparse(call.func)
    if name in WRAPPERS and len(call.args) == 1:
        return call.args[0]
    if name.removeprefix("os.") in {"environ.get", "getenv"} and len(call.args) == 2:
        return call.args[1]
    return None


def _flags(path: Path, text: str, line: int) -> Iterator[Setting]:
    """The flags in a text that is passed on to a shell."""
    try:
        found = list(shell.read(path, f"run {text}"))
    except ValueError:
        return
    yield from (setting._replace(line=line) for setting in found)
