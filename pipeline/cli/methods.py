"""What `pipeline methods` prints: each method in a line, or one with its options, its needs and its source."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from model.ground.errors import UsageError
from model.methods import METHODS
from model.methods.row import MethodRow


def table() -> Iterator[str]:
    """A line a method."""
    width = max(map(len, METHODS))
    for name, row in METHODS.items():
        missing = "" if row.installed else f" (the extra `{row.extra}` is not installed)"
        yield f"{name:{width}}  {row.summary}{missing}"
    yield ""
    yield "pipeline methods NAME tells the options of one; train.method chooses it"


def page(name: str) -> Iterator[str]:
    """Everything about one method.

    Raises: UsageError (exit 2) when the table has no such name.
    """
    if name not in METHODS:
        raise UsageError(
            "pipeline methods", f"no method {name!r}", f"one of {', '.join(METHODS)}", "check the name"
        )
    row = METHODS[name]
    yield f"{name}: {row.summary}"
    yield ""
    yield f"when to use:  {row.when}"
    yield f"published:    {row.source}"
    yield f"needs:        {', '.join(('totals', *row.needs()))}"
    yield f"learns:       {_learns(row)}"
    yield ""
    yield from _options(name, row)


def _learns(row: MethodRow) -> str:
    if row.trained_on is None:
        return "takes no training steps; of `train` it hears method, seed and years"
    shown = "the totals alone" if row.trained_on == "totals" else "pairs of coarse and fine fields"
    begins = "; may begin with the networks of another run (`train.pretrained`)" if row.pretrained else ""
    return f"in steps, from {shown}{begins}"


def _options(name: str, row: MethodRow) -> Iterator[str]:
    fields = row.options_class().model_fields
    if not fields:
        yield f"options: none; write `method: {name}`"
        return
    yield f"options, written as `method: {{name: {name}, {next(iter(fields))}: ...}}`:"
    for option, field in fields.items():
        values = _values(field.annotation)
        yield f"  {option}: {_shown(field.default)}"
        yield f"      {field.description}{f' ({values})' if values else ''}"


def _values(annotation: Any) -> str:
    """What may be chosen among; empty where it is a number, a truth or a text."""
    if get_origin(annotation) is not None and get_origin(annotation).__name__ == "Literal":
        return ", ".join(str(value) for value in get_args(annotation))
    return ", ".join(filter(None, (_values(inner) for inner in get_args(annotation))))


def _shown(value: Any) -> str:
    """A default as YAML spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "null" if value is None else str(value)
