"""Writes the reference pages of the site from the code: every key of a configuration, every method and its options.

Run it before mkdocs: python tools/reference_pages.py [FOLDER]
"""

import ast
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from model.methods import METHODS  # noqa: E402
from pipeline.config.load import TABLE  # noqa: E402

PLAIN = {
    NoneType: "null",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "any value",
}
FOLDER = ROOT / "docs" / "reference" / "generated"


def configuration() -> str:
    """Every key of every section, in the chain's order, then every part that keys refer to."""
    lines = ["# Configuration", "", "Written from the code by `python tools/reference_pages.py`.", ""]
    seen: list[type[BaseModel]] = []
    for stage in TABLE:
        section = stage.body().Config
        lines += [f"## {stage.name}", "", first_line(section), "", *table(section), ""]
        for part in parts(section):
            if part not in seen:
                seen.append(part)
    lines += ["## Parts", "", "What the keys above hold.", ""]
    for part in seen:
        lines += [f"### {part.__name__}", "", first_line(part), "", *table(part), ""]
    return "\n".join(lines)


def methods() -> str:
    """Each method of the table: when to use it, where it is published, what it needs, its options."""
    lines = ["# Methods and their options", "", "`pipeline methods NAME` prints the same.", ""]
    for name, row in METHODS.items():
        needs = ", ".join(("totals", *row.needs()))
        lines += [
            f"## {name}",
            "",
            f"{row.summary}.",
            "",
            f"* When: {row.when}",
            f"* Published: {row.source}",
        ]
        lines += [f"* Needs: {needs}", f"* Idea and formula: [{name}](../../methods/{name}.md)", ""]
        if row.options_class().model_fields:
            lines += [*table(row.options_class()), ""]
    return "\n".join(lines)


def table(section: type[BaseModel]) -> list[str]:
    """A row for each key: name, type, default, meaning."""
    told = comments(section)
    lines = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in section.model_fields.items():
        meaning = field.description or told.get(name, "")
        cells = (f"`{field.alias or name}`", spelled(field.annotation), default(field), meaning)
        lines.append("| " + " | ".join(escaped(cell) for cell in cells) + " |")
    return lines


def spelled(annotation: Any) -> str:
    """An annotation in words: choices by `or`, lists as lists, what only validates left out."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return spelled(inner[0])
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin in (Union, UnionType):
        return " or ".join(spelled(choice) for choice in inner)
    if origin in (tuple, list) and Ellipsis in inner:
        return f"list of ({spelled(inner[0])})"
    if inner:
        return f"{origin.__name__} of {', '.join(spelled(part) for part in inner)}"
    return PLAIN.get(annotation, annotation.__name__ if isinstance(annotation, type) else str(annotation))


def default(field: FieldInfo) -> str:
    """The default as YAML would show it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    plain = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return f"`{plain[value]}`"
    return f"`{value}`" if str(value) else "empty"


def escaped(text: str) -> str:
    """As one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def first_line(section: type[BaseModel]) -> str:
    """What the section is for."""
    return (inspect.getdoc(section) or "").split("\n\n")[0]


def parts(section: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Models that the fields of a section hold, those within them too."""
    for field in section.model_fields.values():
        for part in models_in(field.annotation):
            yield part
            yield from parts(part)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def comments(section: type[BaseModel]) -> dict[str, str]:
    """Field -> the comment above it or beside it, in the section and what it is made of."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        if cls.__module__.split(".")[0] in ("model", "stages", "pipeline"):
            found |= comments_of(textwrap.dedent(inspect.getsource(cls)))
    return found


def comments_of(source: str) -> dict[str, str]:
    """The same of one class's source."""
    notes: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            notes[token.start[0]] = token.string.lstrip("# ")
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    found: dict[str, str] = {}
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno:
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            words = [notes[line] for line in range(first, node.end_lineno + 1) if line in notes]
            found[node.target.id] = "; ".join(words)
    return found


def main(folder: Path) -> None:
    """Writes both pages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration.md").write_text(configuration() + "\n", "utf-8")
    (folder / "methods.md").write_text(methods() + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
