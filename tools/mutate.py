"""Breaks one place of a file at a time and runs its tests: what no test notices, no test proves.

  python tools/mutate.py model/evaluation/bootstrap.py
  python tools/mutate.py model/conservation/*.py --sample 12        (12 places a file, drawn with seed 0)

Works in a copy of the checkout. Tests draw 10 examples a property (HYPOTHESIS_PROFILE=few).
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "workspace", "docs", "__pycache__", ".*_cache", ".hypothesis"
)
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
# Tests beside those of the unit itself.
LAWS = ("tests/laws/test_projection_laws.py", "tests/laws/test_projection_ways.py")
ALSO = {f"model/conservation/{name}.py": LAWS for name in ("laws", "problem", "solver", "refine")} | {
    "model/conservation/solver_numba.py": LAWS,
    "model/conservation/solver_torch.py": LAWS,
    "model/conservation/torch_layer.py": ("tests/laws/test_law_layer.py",),
}


class Mutant(NamedTuple):
    """Source with one place broken, and what was done there."""

    line: int
    before: str
    after: str
    text: str


def broken(node: ast.AST) -> Iterator[ast.AST]:
    """The node's broken forms: comparisons flipped, arithmetic swapped, constants moved, conditions negated."""
    other = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and isinstance(other, ast.Compare) and type(node.ops[0]) in OTHER:
        other.ops[0] = OTHER[type(node.ops[0])]()
        yield other
    elif isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in OTHER:
        other.op = OTHER[type(node.op)]()  # type: ignore[attr-defined]
        yield other
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield ast.Constant(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield ast.UnaryOp(ast.Not(), node.test)


def mutants(text: str) -> Iterator[Mutant]:
    """Every place of a source, outside of annotations and type aliases, broken in turn."""
    tree = ast.parse(text)
    hints = {id(part) for hint in _hints(tree) for part in ast.walk(hint)}
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for node in ast.walk(tree):
        if id(node) in hints:
            continue
        for other in broken(node):
            place = node.test if isinstance(node, ast.If | ast.IfExp | ast.While) else node
            start = sum(map(len, lines[: place.lineno - 1])) + place.col_offset
            end = sum(map(len, lines[: place.end_lineno - 1])) + place.end_col_offset
            source, after = text.encode(), ast.unparse(other)
            # In brackets, so that precedence stays; a statement has none.
            shown = after if isinstance(other, ast.Return) else f"({after})"
            before = source[start:end].decode()
            yield Mutant(
                place.lineno, before, after, (source[:start] + shown.encode() + source[end:]).decode()
            )


def _hints(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if hint is not None:
                yield hint


def tests_of(name: str) -> list[str]:
    """The unit's own tests, or those of its room where it has none, and what ALSO names."""
    path = Path(name)
    own = Path("tests/unit") / path.parent / f"test_{path.name}"
    found = [own.as_posix()] if (ROOT / own).exists() else []
    return found + list(ALSO.get(name, ())) or [own.parent.as_posix()]


def is_noticed(folder: Path, tests: list[str], seconds: float) -> bool:
    """True = a test fails, or hangs."""
    run = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    run += ["-k", "not gpu", "-W", "ignore"]
    facts = os.environ | {"PYTHONPATH": str(folder), "HYPOTHESIS_PROFILE": "few", "OMP_NUM_THREADS": "1"}
    try:
        return (
            subprocess.run(run, cwd=folder, env=facts, capture_output=True, timeout=seconds).returncode != 0
        )
    except subprocess.TimeoutExpired:
        return True


def main() -> int:
    """Prints a line for each file and each survivor; ends with 1 where the unbroken tests already fail."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", help="paths below the root of the checkout")
    parser.add_argument("--tests", nargs="+", help="instead of those of the unit")
    parser.add_argument("--sample", type=int, help="places a file, drawn with seed 0; all of them by default")
    parser.add_argument("--seconds", type=float, default=120.0, help="after which a run counts as noticed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "house"
        shutil.copytree(ROOT, copied, ignore=LEFT_OUT)
        for name in asked.files:
            text = (ROOT / name).read_text(encoding="utf-8")
            every, tests = list(mutants(text)), asked.tests or tests_of(name)
            if is_noticed(copied, tests, asked.seconds):
                print(f"{name}: the tests fail unbroken: {' '.join(tests)}")
                return 1
            chosen = random.Random(0).sample(every, min(asked.sample or len(every), len(every)))
            left = []
            for mutant in sorted(chosen):
                (copied / name).write_text(mutant.text, encoding="utf-8")
                if not is_noticed(copied, tests, asked.seconds):
                    left.append(mutant)
                    print(f"  {name}:{mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)
            (copied / name).write_text(text, encoding="utf-8")
            told = f"{len(chosen) - len(left)} of {len(chosen)} noticed ({len(every)} places)"
            print(f"{name}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
