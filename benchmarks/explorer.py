"""Write the explorer's formulas: ``python -m benchmarks.explorer`` compiles Python's own kernels to JavaScript.

The page ``site/explorer`` computes with the functions that ``lambda_star.bernoulli`` and ``lambda_star.updates``
compute with for single floats, translated statement by statement from their source, so that a formula is written once.
Only what those functions take from Python and NumPy stands in JavaScript, in ``PRELUDE``.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lambda_star.updates import RULES

__all__ = ["TARGET", "compiled", "main"]

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "site/explorer/formulas.js"

SOURCES = {
    "namespaces": "_core/namespaces.py",
    "formulas": "bernoulli/formulas.py",
    "bernoulli": "bernoulli/_thresholds.py",
    "regimes": "bernoulli/_regimes.py",
    "flows": "dynamics/formulas.py",
    "budget": "dynamics/_budget.py",
    "_two": "updates/_two.py",
    "rule": "updates/_rule.py",
    "ratios": "updates/_ratios.py",
    "advantages": "updates/_advantages.py",
    "weights": "updates/_weights.py",
    "sets": "updates/_sets.py",
}
"""The modules that are compiled, by their names in JavaScript."""

CHOSEN = {
    "namespaces": ["log1p_quotient"],
    "bernoulli": ["excess", "threshold", "fixed_point", "tail_ratio", "two_sided_threshold", "operating_point"],
    "regimes": ["collapse_point", "cliff_width", "stationary_student"],
    "flows": ["natural_threshold", "inverse_rate"],
    "budget": ["_step_time"],
    "rule": ["_outcomes", "_split", "uncapped"],
    "advantages": ["centre"],
    "ratios": [],
    "weights": [],
    "sets": [],
}
"""The functions to compile where a module has others too; ``known`` is in ``PRELUDE``."""

METHODS = ("_leaves", "_dies", "_student", "_forces", "keeps_fixed_point", "needs_rows", "_share", "_cost")
PAIRED = ("_forces", "uncapped", "centre")
"""Functions of arrays with one entry for each of the two outcomes, whose arithmetic is that of pairs."""

PRELUDE = """\
"use strict";
// Written by `python -m benchmarks.explorer` from the Python source of lambda_star; do not edit.
// eslint-disable
globalThis.lambdaStar = (() => {
const where = (condition, yes, no) => (condition ? yes : no);
const below = (value, bound) => value < bound;
const nowhere = (condition) => !condition;
const exponent_range = () => 1022;
const known = (value, ...given) => {
  const total = given.reduce((sum, one) => sum + one);
  return Number.isNaN(total) ? total : value;
};
// A function of numbers as one of pairs: an entry for the modal token, and one for the tail.
const paired = (f) => (...given) =>
  given.some(Array.isArray) ? [0, 1].map((at) => f(...given.map((x) => (Array.isArray(x) ? x[at] : x)))) : f(...given);
const logaddexp = (a, b) => Math.max(a, b) + (a === b ? Math.LN2 : Math.log1p(Math.exp(-Math.abs(a - b))));
const np = {
  add: paired((a, b) => a + b), subtract: paired((a, b) => a - b), multiply: paired((a, b) => a * b),
  divide: paired((a, b) => a / b), negative: paired((a) => -a), less: paired((a, b) => a < b),
  greater: paired((a, b) => a > b), where: paired(where), minimum: paired((a, b) => Math.min(a, b)),
  maximum: paired((a, b) => Math.max(a, b)), exp: paired(Math.exp), log: paired(Math.log), log1p: paired(Math.log1p),
  expm1: paired(Math.expm1), clip: paired((x, low, high) => Math.min(Math.max(x, low), high)),
  sum: ([modal, tail]) => modal + tail, logaddexp: Object.assign(logaddexp, { reduce: ([a, b]) => logaddexp(a, b) }),
};
class Rule {
  constructor(given = {}) {
    for (const [name, { value }] of Object.entries(this.constructor.fields)) this[name] = given[name] ?? value;
  }
  get needs_rows() { return false; }
  get keeps_fixed_point() { return false; }
  leaves(p, b) { return this._leaves(p, b); }
  dies(p, b) { return this._dies(p, b); }
  student(p, b, lam) { return this._student(p, b, lam); }
  force(theta, p, b, lam, drawn = theta) {
    const [modal, tail] = this._forces(rule._outcomes(theta), rule._split(p), rule._split(b), lam, rule._outcomes(drawn));
    return { modal, tail };
  }
  // An outcome is in the set unless the other one has the share that is drawn alone.
  _inside(log_q) {
    const [modal, tail] = log_q.map(Math.exp);
    return [tail < this._share || tail <= modal, modal < this._share];
  }
}
"""

BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.BitAnd: "&&", ast.BitOr: "||"}
NAMED = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Lt: "less"}
NAMED |= {ast.Gt: "greater"}
COMPARED = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!=="}
FUNCTIONS = {"float": "Number", "max": "Math.max", "min": "Math.min", "abs": "Math.abs"}
DROPPED = ("xp", "numpy")


class _Compiler:
    """Compiles the functions of one module; ``names`` are those of the module, which stand in its namespace."""

    def __init__(self, space: str, names: set[str], imported: dict[str, str]) -> None:
        self.space, self.names, self.imported = space, names, imported
        self.pairs, self.local = False, set[str]()

    def function(self, node: ast.FunctionDef, head: str) -> str:
        """Return a function or a method; ``head`` stands before its arguments."""
        outer = self.pairs, self.local
        arguments = [one.arg for one in node.args.args if one.arg not in (*DROPPED, "self")]
        own = sorted(_assigned(node).difference(arguments))
        self.pairs, self.local = self.pairs or node.name in PAIRED, self.local.union(own, arguments, _functions(node))
        declared = [f"let {', '.join(own)};"] if own else []
        body = [*declared, *(line for part in node.body for line in self.statement(part))]
        self.pairs, self.local = outer
        arrow = "" if head.startswith("  ") else " =>"
        end = "}" if head.startswith("  ") else "};"
        inside = "\n".join(f"  {line}" for line in body)
        return f"{head}({', '.join(arguments)}){arrow} {{\n{inside}\n{end}"

    def statement(self, node: ast.stmt) -> Iterator[str]:
        """Yield the lines of one statement."""
        match node:
            case ast.Expr(value=ast.Constant()):
                return
            case ast.Return(value=value) if value is not None:
                yield f"return {_bare(self.expr(value))};"
            case ast.Assign(targets=[target], value=value):
                yield f"{self.target(target)} = {_bare(self.expr(value))};"
            case ast.AnnAssign(target=target, value=value) if value is not None:
                yield f"{self.target(target)} = {_bare(self.expr(value))};"
            case ast.FunctionDef():
                yield from self.function(node, f"const {node.name} = ").splitlines()
            case ast.If(test=test, body=body, orelse=[]):
                yield f"if ({_bare(self.expr(test))}) {{"
                yield from self.block(body)
            case ast.For(iter=ast.Call(func=ast.Name(id="range"), args=[count]), body=body):
                yield f"for (let round = 0; round < {self.expr(count)}; round++) {{"
                yield from self.block(body)
            case ast.With(body=body):
                for part in body:
                    yield from self.statement(part)
            case _:
                raise NotImplementedError(ast.unparse(node))

    def block(self, body: list[ast.stmt]) -> Iterator[str]:
        """Yield the lines of a block and its end."""
        for part in body:
            yield from (f"  {line}" for line in self.statement(part))
        yield "}"

    def target(self, node: ast.expr) -> str:
        """Return what is assigned to."""
        if isinstance(node, ast.Tuple):
            return f"[{', '.join('' if _is_dummy(one) else self.expr(one) for one in node.elts)}]"
        return self.expr(node)

    def expr(self, node: ast.expr) -> str:
        """Return an expression."""
        match node:
            case ast.Constant(value=value):
                return json.dumps(value)
            case ast.Name(id=name):
                return self.name(name)
            case ast.Attribute(value=ast.Name(id="math"), attr="inf"):
                return "Infinity"
            case ast.Attribute(value=value, attr=name):
                return f"{self.expr(value)}.{name}"
            case ast.Tuple(elts=elts) | ast.List(elts=elts):
                return f"[{', '.join(map(self.expr, elts))}]"
            case ast.Starred(value=value):
                return f"...{self.expr(value)}"
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return f"({self.expr(test)} ? {self.expr(body)} : {self.expr(orelse)})"
            case ast.BoolOp(op=op, values=values):
                return f"({(' && ' if isinstance(op, ast.And) else ' || ').join(map(self.expr, values))})"
            case ast.UnaryOp() | ast.BinOp() | ast.Compare():
                return self.operation(node)
            case ast.Call():
                return self.call(node)
            case _:
                raise NotImplementedError(ast.unparse(node))

    def name(self, name: str) -> str:
        """Return a name: a function of this module or of another one in its namespace, or a local name."""
        if name == "self" or name in self.local:
            return name.replace("self", "this")
        if name in self.imported:
            return self.imported[name]
        return f"{self.space}.{name}" if name in self.names else name

    def operation(self, node: ast.UnaryOp | ast.BinOp | ast.Compare) -> str:
        """Return an operation on numbers, or on pairs."""
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"np.negative({self.expr(operand)})" if self.pairs else f"(-{self.expr(operand)})"
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return f"(!{self.expr(operand)})"
            case ast.BinOp(op=ast.FloorDiv(), left=left, right=right):
                return f"Math.floor({self.expr(left)} / {self.expr(right)})"
            case ast.BinOp(op=op, left=left, right=right):
                pass
            case ast.Compare(ops=[ast.Is()], comparators=[ast.Constant(value=None)], left=left):
                return f"({self.expr(left)} === null)"
            case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)], left=left):
                return f"({self.expr(left)} !== null)"
            case ast.Compare(ops=[op], left=left, comparators=[right]):
                pass
            case _:
                raise NotImplementedError(ast.unparse(node))
        one, other = self.expr(left), self.expr(right)
        if self.pairs and type(op) in NAMED:
            return f"np.{NAMED[type(op)]}({one}, {other})"
        return f"({one} {(BINARY | COMPARED)[type(op)]} {other})"

    def call(self, node: ast.Call) -> str:
        """Return a call, without the namespace ``xp`` among the arguments."""
        given = [one for one in node.args if not (isinstance(one, ast.Name) and one.id in DROPPED)]
        match node.func:
            case ast.Attribute(value=ast.Name(id="xp"), attr="isnan"):
                function = "Number.isNaN"
            case ast.Attribute(value=ast.Name(id="xp" | "math"), attr=name):
                function = f"Math.{name}"
            case ast.Attribute(value=ast.Name(id="np"), attr="stack"):
                return self.expr(given[0])
            case ast.Attribute(value=ast.Name(id="bernoulli"), attr=name) if name not in CHOSEN["bernoulli"]:
                function = f"regimes.{name}"
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                function = f"super.{name}"
            case ast.Attribute(value=value, attr="sum"):
                return f"np.sum({self.expr(value)})"
            case ast.Attribute(value=value, attr=name):
                function = f"{self.expr(value)}.{name}"
            case ast.Name(id=name):
                function = FUNCTIONS.get(name) or self.name(name)
            case _:
                raise NotImplementedError(ast.unparse(node))
        return f"{function}({', '.join(_bare(self.expr(one)) for one in given)})"


def _bare(text: str) -> str:
    """The text without the parentheses around all of it."""
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth and at < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text


def _functions(node: ast.FunctionDef) -> set[str]:
    return {one.name for one in node.body if isinstance(one, ast.FunctionDef)}


def _is_dummy(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "_"


def _assigned(node: ast.FunctionDef) -> set[str]:
    """The names that a function assigns to, without those of the functions inside it."""

    def own(part: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(part):
            if not isinstance(child, ast.FunctionDef):
                yield child
                yield from own(child)

    stored = (one for one in own(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
    return {one.id for one in stored if one.id != "_"}


def _module(space: str) -> Iterator[str]:
    """Yield the parts of one module."""
    tree = ast.parse((ROOT / "lambda_star" / SOURCES[space]).read_text(encoding="utf-8"))
    functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
    chosen = CHOSEN.get(space, [name for name in functions if name != "known"])
    constants = [
        (one.targets[0].id, one.value.value)
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and isinstance(one.value, ast.Constant)
    ]
    names = {*chosen, *(name for name, value in constants if isinstance(value, (int, float)))}
    compiler = _Compiler(space, names, dict(_imported(tree)))
    yield f"const {space} = {{}};"
    yield from (f"{space}.{name} = {json.dumps(value)};" for name, value in constants if name in names)
    for name in chosen:
        yield compiler.function(functions[name], f"{space}.{name} = ")
    classes = (one for one in tree.body if isinstance(one, ast.ClassDef) and space not in ("rule", "bernoulli"))
    yield from (_class(compiler, one) for one in classes if space in ("ratios", "advantages", "weights", "sets"))


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the functions of other compiled modules that a module imports, with their names in JavaScript."""
    spaces = {path.removesuffix(".py").replace("/", "."): space for space, path in SOURCES.items()}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            space = spaces.get(node.module.removeprefix("lambda_star."))
            for one in node.names:
                if space and one.name in CHOSEN.get(space, []):
                    yield one.name, f"{space}.{one.name}"


def _class(compiler: _Compiler, node: ast.ClassDef) -> str:
    """Return the class of a rule: its fields, its summary, and the methods for two outcomes."""
    parts = [f"class {node.name} extends {ast.unparse(node.bases[0])} {{"]
    fields = {name: {"kind": kind, "value": value} for name, kind, value in _fields(node)}
    if not node.name.startswith("_") and node.name != "Exact":
        parts.append(f"  static fields = {json.dumps(fields)};")
        parts.append(f"  static summary = {json.dumps(RULES[node.name].summary, ensure_ascii=False)};")
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name in METHODS and not _has(one, "abstractmethod"):
            getter = "get " if _has(one, "property") else ""
            parts.extend(f"  {line}" for line in compiler.function(one, f"  {getter}{one.name}")[2:].splitlines())
    return "\n".join([*parts, "}"])


def _has(node: ast.FunctionDef, decorator: str) -> bool:
    return any(isinstance(one, ast.Name) and one.id == decorator for one in node.decorator_list)


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, object]]:
    """Yield the name, the type and the default of each argument of a rule."""
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.target.id != "summary":
            value = one.value
            if isinstance(value, ast.Call):
                value = next((word.value for word in value.keywords if word.arg == "default"), None)
            yield one.target.id, ast.unparse(one.annotation), value.value if isinstance(value, ast.Constant) else None


def compiled() -> str:
    """Return the text of ``formulas.js``."""
    parts = [part for space in SOURCES for part in _module(space)]
    exported = ", ".join(("formulas", "bernoulli", "regimes", "flows", "budget", "rules"))
    rules = f"const rules = {{ {', '.join(RULES)} }};"
    return "\n".join([PRELUDE.rstrip(), *parts, rules, f"return {{ {exported} }};", "})();", ""])


def main() -> None:
    """Write ``formulas.js``."""
    TARGET.write_text(compiled(), encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(compiled().splitlines())} lines")


if __name__ == "__main__":
    main()
