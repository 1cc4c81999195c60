"""Measure the house: lines, lengths, arrows and circles, as `make figures` prints them and a test bounds them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lambda_star"

WINGS = (
    "_core",
    "bernoulli",
    "contract",
    "dynamics",
    "categorical",
    "sequence",
    "updates",
    "verified",
    "calibration",
    "rehearsal",
    "verdict",
    "lint",
    "torch",
    "cliff",
    "ledger",
    "plotting",
    "cli",
)
"""Every wing imports from those before it; ``symbolic`` stands beside them, and ``cli/symbolic.py`` alone uses it."""


class Module(NamedTuple):
    """One file of the package."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def wing(self) -> str:
        """The folder of the package that the file is in, or its own name."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @property
    def symbolic(self) -> bool:
        """Whether the file belongs to the proofs."""
        return self.wing == "symbolic"


def modules() -> list[Module]:
    """Read every file of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(Module(".".join(parts).removesuffix(".__init__"), path, ast.parse(text), text.count("\n")))
    return found


def imports(module: Module, top: bool = False) -> Iterator[tuple[str, str]]:
    """The pairs (module, name) that a file imports from the package; only those at its top level if asked."""
    nodes = ast.iter_child_nodes(module.tree) if top else ast.walk(module.tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lambda_star":
            yield from ((node.module or "", alias.name) for alias in node.names)


def wrong_arrows(found: list[Module]) -> list[str]:
    """The imports that go up the wings, and the names with an underscore that cross a folder."""
    wrong = []
    for module in found:
        for home, name in imports(module):
            parts = f"{home}.{name}".split(".")[1:]
            target = parts[0]
            if module.wing in {"__init__", "_deprecated"} or target in {"__version__", "_deprecated"}:
                continue
            beside = module.name == "lambda_star.cli.symbolic" if target == "symbolic" else module.symbolic
            if target != module.wing and not beside:
                down = target in WINGS and module.wing in WINGS and WINGS.index(target) < WINGS.index(module.wing)
                if not down:
                    wrong.append(f"{module.name} → {home}.{name}")
            if target != module.wing and any(part.startswith("_") for part in parts[1:]):
                wrong.append(f"{module.name} → {home}.{name}")
    return wrong


def circles(found: list[Module]) -> list[str]:
    """The modules that import themselves over others, counting imports at the top level; a package is its files."""
    names = {module.name for module in found}
    edges: dict[str, set[str]] = {}
    for module in found:
        targets = set()
        for home, name in imports(module, top=True):
            whole = f"{home}.{name}"
            # A file that takes a sibling module out of its own package does not need the package's own names.
            targets.add(whole if whole in names else home)
        edges[module.name] = targets & names - {module.name}
    return sorted(name for name in names if name in _reachable(edges, name))


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(edges[start])
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += edges[here]
    return seen


def bodies(module: Module) -> Iterator[tuple[str, int]]:
    """The lines of each function without its signature and docstring; functions inside one count with it and alone."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield f"{module.name}.{node.name}", length


def figures() -> dict[str, int | str]:
    """The figures of the house by name."""
    found = modules()
    numeric = [module for module in found if not module.symbolic]
    symbolic = [module for module in found if module.symbolic]
    longest = max(found, key=lambda module: module.lines)
    name, body = max((pair for module in numeric for pair in bodies(module)), key=lambda pair: pair[1])
    return {
        "lines of the package without symbolic": sum(module.lines for module in numeric),
        "lines of symbolic, Python": sum(module.lines for module in symbolic),
        "longest module": longest.lines,
        "longest module is": longest.name,
        "longest function body": body,
        "longest function body is": name,
        "root modules": sum(1 for path in PACKAGE.glob("*.py")),
        "import circles": len(circles(found)),
        "arrows that go the wrong way": len(wrong_arrows(found)),
    }


def main() -> None:
    """Print the figures."""
    from lambda_star import __all__ as door

    for name, value in {**figures(), "public names at the door": len(door)}.items():
        print(f"{name:42} {value}")
    for fault in (*wrong_arrows(modules()), *circles(modules())):
        print(f"  {fault}")


if __name__ == "__main__":
    main()
