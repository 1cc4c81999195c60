"""Write the explorer's formulas: ``python -m benchmarks.explorer`` compiles Python's own kernels to JavaScript.

The page ``site/explorer`` computes with the functions that ``lambda_star.bernoulli`` and ``lambda_star.updates``
compute with for single floats, translated statement by statement from their source, so that a formula is written once.
Only what those functions take from Python and NumPy stands in JavaScript, in ``PRELUDE``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
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
const exponent_range = () => [1022, 2 ** Math.floor(1022 / 5)];
const positive = (value) => value;
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
    const log_q = rule._outcomes(theta), log_t = rule._split(p), log_b = rule._split(b);
    const [modal, tail] = this._forces(log_q, log_t, log_b, lam, rule._outcomes(drawn));
    return { modal, tail };
  }
  // An outcome is in the set unless the other one has the share that is drawn alone.
  _inside(log_q) {
    const [modal, tail] = log_q.map(Math.exp);
    return [tail < this._share || tail <= modal, modal < this._share];
  }
}
"""

SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.BitAnd: "&&",
    ast.BitOr: "||",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "===",
    ast.Is: "===",
    ast.IsNot: "!==",
}
NAMED: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Lt: "less",
    ast.Gt: "greater",
}
FUNCTIONS = {"float": "Number", "max": "Math.max", "xp.isnan": "Number.isNaN"}
SPACES = {"xp": "Math", "math": "Math", "super()": "super"}
DROPPED = ("xp", "numpy")


class _OfFloats(ast.NodeTransformer):
    """Leaves out what kernels do for intervals, ``isinstance(xp, Exact)``, which no browser has."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if _is_of_intervals(node.test) else node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return node.orelse if _is_of_intervals(node.test) else node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        kept = [value for value in node.values if not _is_of_intervals(value)]
        return kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)


class _Compiler(ast.NodeVisitor):
    """Compiles the functions of one module; ``names`` are those of the module, which stand in its namespace."""

    def __init__(self, space: str, names: set[str], imported: dict[str, str]) -> None:
        self.space, self.names, self.imported = space, names, imported
        self.pairs, self.local = False, set[str]()

    def function(self, node: ast.FunctionDef, head: str) -> str:
        """Return a function or, with a head that is indented, a method; the head stands before the arguments."""
        outer = self.pairs, self.local
        arguments = [one.arg for one in node.args.args if one.arg not in (*DROPPED, "self")]
        own = sorted(_assigned(node).difference(arguments))
        self.pairs, self.local = self.pairs or node.name in PAIRED, self.local.union(own, arguments, _functions(node))
        declared = [f"let {', '.join(own)};"] if own else []
        body = [*declared, *self.block(node.body)]
        self.pairs, self.local = outer
        arrow, end = ("", "}") if head.startswith("  ") else (" =>", "};")
        return "\n".join([f"{head}({', '.join(arguments)}){arrow} {{", *(f"  {line}" for line in body), end])

    def block(self, body: list[ast.stmt]) -> Iterator[str]:
        """Yield the lines of statements."""
        for part in body:
            yield from self.visit(part)

    def generic_visit(self, node: ast.AST) -> str:
        raise NotImplementedError(ast.unparse(node))

    # Statements, each a list of lines.

    def visit_Expr(self, node: ast.Expr) -> list[str]:
        return [] if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # type: ignore[return-value]

    def visit_Return(self, node: ast.Return) -> list[str]:
        return [f"return {self.bare(node.value)};"]

    def visit_Assign(self, node: ast.Assign) -> list[str]:
        (target,) = node.targets
        return [f"{self.visit(target)} = {self.bare(node.value)};"]

    def visit_AnnAssign(self, node: ast.AnnAssign) -> list[str]:
        return [f"{self.visit(node.target)} = {self.bare(node.value)};"]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> list[str]:
        return self.function(node, f"const {node.name} = ").splitlines()

    def visit_If(self, node: ast.If) -> list[str]:
        return [f"if ({self.bare(node.test)}) {{", *(f"  {line}" for line in self.block(node.body)), "}"]

    def visit_For(self, node: ast.For) -> list[str]:
        count = ast.unparse(node.iter).removeprefix("range(").removesuffix(")")
        head = f"for (let round = 0; round < {self.name(count)}; round++) {{"
        return [head, *(f"  {line}" for line in self.block(node.body)), "}"]

    def visit_With(self, node: ast.With) -> list[str]:
        return list(self.block(node.body))

    # Expressions, each a text.

    def bare(self, node: ast.expr | None) -> str:
        """Return an expression without the parentheses around all of it."""
        return _bare(self.visit(node)) if node is not None else "undefined"

    def visit_Constant(self, node: ast.Constant) -> str:
        return json.dumps(node.value)

    def visit_Name(self, node: ast.Name) -> str:
        return self.name(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> str:
        return "Infinity" if ast.unparse(node) == "math.inf" else f"{self.visit(node.value)}.{node.attr}"

    def visit_List(self, node: ast.List) -> str:
        return self.listed(node.elts)

    def visit_Tuple(self, node: ast.Tuple) -> str:
        return self.listed(node.elts)

    def listed(self, values: list[ast.expr]) -> str:
        """Return a list of values, or of names to assign to, where ``_`` leaves a place out."""
        return f"[{', '.join('' if _is_dummy(one) else self.visit(one) for one in values)}]"

    def visit_Starred(self, node: ast.Starred) -> str:
        return f"...{self.visit(node.value)}"

    def visit_IfExp(self, node: ast.IfExp) -> str:
        return f"({self.visit(node.test)} ? {self.visit(node.body)} : {self.visit(node.orelse)})"

    def visit_BoolOp(self, node: ast.BoolOp) -> str:
        sign = " && " if isinstance(node.op, ast.And) else " || "
        return f"({sign.join(map(self.visit, node.values))})"

    def visit_UnaryOp(self, node: ast.UnaryOp) -> str:
        sign = "-" if isinstance(node.op, ast.USub) else "!"
        value = self.visit(node.operand)
        return f"np.negative({value})" if self.pairs and sign == "-" else f"({sign}{value})"

    def visit_BinOp(self, node: ast.BinOp) -> str:
        one, other = self.visit(node.left), self.visit(node.right)
        return f"Math.floor({one} / {other})" if isinstance(node.op, ast.FloorDiv) else self.joined(one, node.op, other)

    def visit_Compare(self, node: ast.Compare) -> str:
        (operator,), (right,) = node.ops, node.comparators
        return self.joined(self.visit(node.left), operator, self.visit(right))

    def visit_Call(self, node: ast.Call) -> str:
        given = [one for one in node.args if not (isinstance(one, ast.Name) and one.id in DROPPED)]
        called = ast.unparse(node.func)
        if called == "np.stack":
            return self.bare(given[0])
        if isinstance(node.func, ast.Attribute) and node.func.attr == "sum":
            return f"np.sum({self.visit(node.func.value)})"
        space, _, name = called.rpartition(".")
        if called in FUNCTIONS:
            function = FUNCTIONS[called]
        elif space in SPACES:
            function = f"{SPACES[space]}.{name}"
        elif space == "bernoulli" and name not in CHOSEN["bernoulli"]:
            function = f"regimes.{name}"
        else:
            function = self.visit(node.func)
        return f"{function}({', '.join(map(self.bare, given))})"

    def name(self, name: str) -> str:
        """Return a name: a local one, or a function of this module or of another one in its namespace."""
        if name == "self" or name in self.local:
            return name.replace("self", "this")
        if name in self.imported:
            return self.imported[name]
        return f"{self.space}.{name}" if name in self.names else name

    def joined(self, one: str, operator: ast.AST, other: str) -> str:
        """Return an operation on two numbers, or on pairs."""
        if self.pairs and type(operator) in NAMED:
            return f"np.{NAMED[type(operator)]}({one}, {other})"
        return f"({one} {SIGNS[type(operator)]} {other})"


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


def _is_of_intervals(node: ast.AST) -> bool:
    return ast.unparse(node) == "isinstance(xp, Exact)"


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
    tree = _OfFloats().visit(ast.parse((ROOT / "lambda_star" / SOURCES[space]).read_text(encoding="utf-8")))
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
