"""Measures the joints of the house: what passes between its rooms, how full they are, which way imports run.

  python tools/house.py              prints each value beside its goal
  python tools/house.py --strict     ends with 1 where a goal is missed

Goals come from the same counts in Aurora, xarray-beam, WeatherBench-X, odc-geo and xarray-regrid. Rules that may not
be broken, and counts that may only fall, are kept by tests/contracts/test_house_contract.py.
"""

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "model", "hectare")
OPEN_DICTIONARIES = ("dict[str, Any]", "Mapping[str, Any]")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file: its path below the root, its dotted name, its text and its tree."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Everything in its tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """All of them, methods and inner ones too."""
        return [node for node in self.nodes if isinstance(node, Function)]


@dataclass(frozen=True)
class Goal:
    """A measured value and the goal; `most` where less is better, else at least."""

    what: str
    value: float
    goal: float
    most: bool = True

    @property
    def is_met(self) -> bool:
        """True = on the right side of the goal."""
        return self.value <= self.goal if self.most else self.value >= self.goal


def sources(root: Path = ROOT) -> list[Source]:
    """Every Python file of the packages."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            text, inner = path.read_text(encoding="utf-8"), path.relative_to(root)
            name = ".".join(inner.with_suffix("").parts).removesuffix(".__init__")
            found.append(Source(inner, name, text, ast.parse(text)))
    return found


def open_dictionaries(source: Source) -> int:
    """Parameters and results of functions typed as a dictionary of anything."""
    count = 0
    for function in source.functions:
        hints = [parameter.annotation for parameter in _parameters(function)] + [function.returns]
        for hint in hints:
            told = ast.unparse(hint) if hint is not None else ""
            count += any(kind in told for kind in OPEN_DICTIONARIES)
    return count


def any_parameters(source: Source) -> int:
    """Parameters typed plain Any."""
    count = 0
    for function in source.functions:
        for parameter in _parameters(function):
            hint = parameter.annotation
            count += isinstance(hint, ast.Name) and hint.id == "Any"
    return count


def attributes_by_name(source: Source) -> int:
    """Calls of getattr and hasattr."""
    calls = [node.func for node in source.nodes if isinstance(node, ast.Call)]
    return sum(isinstance(call, ast.Name) and call.id in ("getattr", "hasattr") for call in calls)


def comprehensions(source: Source) -> int:
    """Of lists, sets and dictionaries, and generators in brackets."""
    return sum(isinstance(node, COMPREHENSIONS) for node in source.nodes)


def files_by_folder(every: list[Source]) -> Counter[str]:
    """How many Python files lie in each folder."""
    return Counter(source.path.parent.as_posix() for source in every)


def imports(every: list[Source]) -> dict[str, set[str]]:
    """By file the files it imports, those that functions import too."""
    known = {source.name for source in every}
    found: dict[str, set[str]] = {}
    for source in every:
        targets = {target for target in _imported(source.nodes, known) if target in known}
        found[source.name] = targets - {source.name}
    return found


def _imported(nodes: Iterable[ast.AST], known: set[str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of files each of which reaches all others of its group by imports."""
    reach = {name: _reached(name, graph) for name in graph}
    groups: set[tuple[str, ...]] = set()
    for name in graph:
        group = {other for other in reach[name] if name in reach[other]}
        if len(group) > 1:
            groups.add(tuple(sorted(group)))
    return [list(group) for group in sorted(groups)]


def _reached(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for target in graph.get(todo.pop(), set()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def docstring_lines(source: Source) -> list[int]:
    """Of each public function and method that has one."""
    lines = []
    for function in source.functions:
        docstring = ast.get_docstring(function)
        if docstring and not function.name.startswith("_"):
            lines.append(len(docstring.splitlines()))
    return lines


def _parameters(function: Function) -> list[ast.arg]:
    return function.args.posonlyargs + function.args.args + function.args.kwonlyargs


def measured(every: list[Source], root: Path = ROOT) -> list[Goal]:
    """Every value with its goal."""
    functions = sum(len(source.functions) for source in every)
    lines = sum(source.text.count("\n") for source in every)
    folder, files = files_by_folder(every).most_common(1)[0]
    told = [count for source in every for count in docstring_lines(source)]
    return [
        Goal("dict[str, Any] per 100 functions", 100 * sum(map(open_dictionaries, every)) / functions, 2.0),
        Goal("plain Any per 100 functions", 100 * sum(map(any_parameters, every)) / functions, 1.0),
        Goal("comprehensions per 100 lines", 100 * sum(map(comprehensions, every)) / lines, 2.0),
        Goal("getattr per 1000 lines", 1000 * sum(map(attributes_by_name, every)) / lines, 0.5),
        Goal(f"files in {folder}", files, 15),
        Goal("import circles", len(circles(imports(every))), 0),
        Goal("median lines of a public docstring", median(told), 3, most=False),
        Goal("lines of README.md", len((root / "README.md").read_text(encoding="utf-8").splitlines()), 150),
    ]


def main() -> int:
    """Prints the table; returns 1 under --strict where a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true", help="end with 1 where a goal is missed")
    strict = parser.parse_args().strict
    every = sources()
    found = measured(every)
    for goal in found:
        bound = "at most" if goal.most else "at least"
        missed = "" if goal.is_met else "  missed"
        print(f"{goal.what:<40} {goal.value:8.1f}   goal {bound} {goal.goal:g}{missed}")
    for group in circles(imports(every)):
        print("circle: " + " -> ".join(group))
    return int(strict and not all(goal.is_met for goal in found))


if __name__ == "__main__":
    sys.exit(main())
