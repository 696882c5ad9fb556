"""Turns a YAML file into frozen sections, one a stage, and reports every mistake at once with its place."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError

from model.ground.errors import HectareError, UsageError, raise_together
from pipeline.config import schema
from pipeline.config.explain import hint, mistakes, place_of
from pipeline.config.yaml_source import Document, KeyPath, Place, YamlValue, parse, read, spell
from stages import EVALUATE, STAGES, Stage
from stages.contract.section import Section, safe_name

TABLE = (*STAGES, EVALUATE)
OWN_KEYS = ("name", "extends")
Checked = TypeVar("Checked", bound=Section)


@dataclass(frozen=True)
class RunConfig:
    """What one run is to do.

    Attributes:
      name: of the run; its folder under runs/.
      file: the configuration file.
      sections: stage name -> its checked section.
      overrides: the `--set` words that were applied.
    """

    name: str
    file: Path
    sections: Mapping[str, Section]
    overrides: tuple[str, ...]
    table: tuple[Stage, ...]

    @property
    def folder(self) -> Path:
        """Paths in the file are relative to it."""
        return self.file.parent

    def __getitem__(self, stage: str) -> Section:
        return self.sections[stage]

    def changed(self, *overrides: str) -> "RunConfig":
        """The same file with more `--set` words, checked like the first."""
        return load(self.file, [*self.overrides, *overrides], self.table)


def load(path: Path, overrides: Sequence[str] = (), table: Sequence[Stage] = TABLE) -> RunConfig:
    """Reads, merges and checks a configuration.

    Raises: UsageError or HectareErrors (exit 2) naming everything that is wrong.
    """
    file = Path(path).absolute()
    classes: dict[str, type[Section]] = {stage.name: stage.body().Config for stage in table}
    document = _read_with_bases(file, str(path), classes, ())
    chosen = _choices(classes)
    for word in overrides:
        _override(document, word, chosen)
    faults = list(document.faults)
    name = _run_name(document, file, faults)
    _refuse_unknown_sections(document, classes, faults)
    sections = {stage: _section(stage, cls, document, file.parent, faults) for stage, cls in classes.items()}
    raise_together(faults)
    checked = {stage: section for stage, section in sections.items() if section is not None}
    raise_together(list(_clashes(checked, document, table)))
    return RunConfig(name, file, MappingProxyType(checked), tuple(overrides), tuple(table))


def section_of(path: Path, cls: type[Checked]) -> Checked:
    """A file that holds one section and nothing else.

    Raises: UsageError or HectareErrors (exit 2) with every mistake.
    """
    document = read(path, str(path))
    whole = Document({"it": document.data}, {("it", *keys): place for keys, place in document.places.items()})
    faults = list(document.faults)
    section = _section("it", cls, whole, path.parent, faults)
    raise_together(faults)
    assert section is not None
    return section


def _read_with_bases(
    file: Path, shown: str, classes: Mapping[str, type[Section]], seen: tuple[Path, ...]
) -> Document:
    """The file laid over what it extends: mappings are merged, everything else is replaced."""
    document = read(file, shown)
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise UsageError(shown, "not a mapping", "sections such as `ingest:`", "write `key: value` lines")
    _spell_out(document, _choices(classes))
    extends = document.data.pop("extends", None)
    if extends is None:
        return document
    where = f"{document.places.get(('extends',), shown)}: extends"
    if not isinstance(extends, str) or not extends.strip() or "\0" in extends:
        raise UsageError(where, f"{extends!r}", "the path of one other configuration", "name one YAML file")
    base_file = (file.parent / extends).resolve()
    if base_file in (*seen, file.resolve()):
        loop = " -> ".join(step.name for step in (*seen, file, base_file))
        raise UsageError(where, f"a loop: {loop}", "a chain that ends", "remove one `extends:`")
    base = _read_with_bases(base_file, str(Path(shown).parent / extends), classes, (*seen, file.resolve()))
    if base_file.parent != file.parent.resolve():
        for stage, cls in classes.items():
            base.data[stage] = schema.rebase(base.data.get(stage), cls, base_file.parent)
    base.data.pop("name", None)  # a run that extends another is another run
    base.places.pop(("name",), None)
    for stage, key in _choices(classes):
        _begin_anew(base.data.get(stage), key, document.data.get(stage))
    return _merge(base, document)


def _choices(classes: Mapping[str, type[Section]]) -> list[tuple[str, str]]:
    """Section and key of everything that is a method and its options."""
    return [(stage, key) for stage, cls in classes.items() for key in schema.choices(cls)]


def _spell_out(document: Document, chosen: Sequence[tuple[str, str]]) -> None:
    """`method: srgan` becomes `method: {name: srgan}`, so that options can be laid beside it."""
    for stage, key in chosen:
        section = document.data.get(stage)
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = {"name": section[key]}
            if (place := document.places.get((stage, key))) is not None:
                document.places[(stage, key, "name")] = place


def _begin_anew(section: YamlValue, key: str, over: YamlValue) -> None:
    """Where another method is named, options of the one below are forgotten: it begins with its defaults."""
    old = section.get(key) if isinstance(section, dict) else None
    new = over.get(key) if isinstance(over, dict) else None
    if (
        isinstance(section, dict)
        and isinstance(old, dict)
        and isinstance(new, dict)
        and new.get("name", old.get("name")) != old.get("name")
    ):
        section[key] = {}


def _merge(base: Document, over: Document) -> Document:
    base.faults.extend(over.faults)
    base.places[()] = over.places[()]
    base.data = _laid_over(base, over, base.data, over.data, ())
    return base


def _laid_over(base: Document, over: Document, old: YamlValue, new: YamlValue, path: KeyPath) -> YamlValue:
    if isinstance(old, dict) and isinstance(new, dict):
        merged = dict(old)
        for key, value in new.items():
            here = (*path, key)
            merged[key] = _laid_over(base, over, old[key], value, here) if key in old else value
            if key not in old or not isinstance(value, dict):
                _take_places(base, over, here)
        return merged
    return new


def _take_places(base: Document, over: Document, path: KeyPath) -> None:
    inside = len(path)
    for known in list(base.places):
        if known[:inside] == path:
            del base.places[known]
    for known, place in over.places.items():
        if known[:inside] == path:
            base.places[known] = place


def _override(document: Document, word: str, chosen: Sequence[tuple[str, str]]) -> None:
    """Lays one `a.b=5` over the document; faults are noted, not raised.

    Args: chosen: section and key of methods, where `train.method.name=X` is the same as `train.method=X`.
    """
    shown = f"--set {word}"
    keys, equals, text = word.partition("=")
    if not equals or not all(keys.split(".")):
        document.faults.append(UsageError(shown, f"`{word}`", "KEY=VALUE", "write --set train.epochs=5"))
        return
    if keys == "extends":
        document.faults.append(
            UsageError(shown, "`extends`", "a setting", "write `extends:` into the file itself")
        )
        return
    try:
        value = parse(text, shown, one_line=True)
    except UsageError as fault:
        document.faults.append(fault)
        return
    document.faults.extend(value.faults)
    if keys.endswith(".name") and tuple(keys.removesuffix(".name").split(".")) in chosen:
        keys = keys.removesuffix(".name")
    holder: Any = document.data
    path: KeyPath = ()
    for number, key in enumerate(parts := keys.split(".")):
        step: str | int = int(key) if isinstance(holder, list) and key.isdecimal() else key
        path = (*path, step)
        reached = isinstance(holder, dict) or (isinstance(holder, list) and step in range(len(holder)))
        if not reached:
            document.faults.append(
                UsageError(shown, f"`{spell(path)}` cannot be reached", "keys of the file", "check the key")
            )
            return
        if number == len(parts) - 1:
            holder[step] = value.data
        elif isinstance(holder, dict):
            if holder.get(step) is None:  # not there, or an empty section
                holder[step] = {}
            holder = holder[step]
        else:
            holder = holder[step]
    inside = len(path)
    for known in list(document.places):
        if known[:inside] == path:
            del document.places[known]
    document.places[path] = Place(shown)
    _spell_out(document, chosen)


def _run_name(document: Document, file: Path, faults: list[HectareError]) -> str:
    name = document.data.pop("name", None)
    place = document.places.get(("name",), Place(file.name))
    if name is None:
        name = file.stem
    try:
        if not isinstance(name, str):
            raise ValueError("a name must be text")
        return safe_name(name)
    except ValueError as error:
        shown = repr(name) if len(str(name)) <= 90 else f"{str(name)[:80]!r}... ({len(str(name))} characters)"
        faults.append(UsageError(f"{place}: name", shown, str(error), "set a plain `name:` for the run"))
        return ""


def _refuse_unknown_sections(
    document: Document, classes: Mapping[str, type[Section]], faults: list[HectareError]
) -> None:
    known = [*OWN_KEYS, *classes]
    for key in document.data:
        if key in classes:
            continue
        faults.append(
            UsageError(
                f"{place_of(document, (key,))}: {key}",
                f"unknown key `{key}`",
                "one of " + ", ".join(known),
                hint(key, known, classes, ()),
            )
        )


def _section(
    stage: str, cls: type[Checked], document: Document, folder: Path, faults: list[HectareError]
) -> Checked | None:
    data = document.data.get(stage)
    data = {} if data is None else data
    try:
        # Why through JSON: in strict mode only a JSON list may become a tuple.
        return cls.model_validate_json(json.dumps(data), context={"folder": folder})
    except ValidationError as error:
        faults.extend(mistakes(stage, cls, document, error))
    except HectareError as fault:  # a section may say all four parts itself
        faults.append(fault)
    return None


def _clashes(
    sections: Mapping[str, Section], document: Document, table: Sequence[Stage]
) -> Iterator[HectareError]:
    """What bodies say of settings in different sections that cannot work together (CFG-05)."""
    factor = next(
        (found for section in sections.values() if (found := getattr(section, "known_factor", None))), None
    )
    for stage in table:
        if factor is None:
            continue
        for clash in stage.body().clashes(sections[stage.name], factor):
            yield clash.fault(stage.name, str(place_of(document, (stage.name, clash.key))))
