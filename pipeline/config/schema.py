"""Walks the types of a section along the keys of a file: which keys exist, which texts are paths."""

import os
import types
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel

from model.methods import METHODS
from model.methods.choice import MethodChoice
from model.options import REMOTE, SourcePath
from pipeline.config.yaml_source import YamlValue

PATH_MARK = get_args(SourcePath)[1]


def keys_at(cls: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand at a place of a section.

    Args:
      cls: the section.
      path: keys and positions that lead to the place; empty for the section itself.
    Returns: in the order of the fields, those of every member of a union; none where no keys may stand.
    """
    kinds: list[object] = [cls]
    for key in path:
        kinds = list(chain.from_iterable(_inside(kind, key) for kind in kinds))
    known: dict[str, None] = {}  # an ordered set
    for section in chain.from_iterable(map(_models, kinds)):
        known.update(dict.fromkeys(section.model_fields))
    return list(known)


def choices(cls: type[BaseModel]) -> list[str]:
    """The keys of a section that hold a method and its options."""
    return [name for name, field in cls.model_fields.items() if field.annotation is MethodChoice]


def rebase(data: YamlValue, kind: object, folder: Path) -> YamlValue:
    """The same data with every relative input path made absolute from the folder.

    Args:
      data: as the file says it.
      kind: the type it is read into, an annotation or a section.
    """
    if isinstance(data, dict):
        return {key: _rebased(value, _inside(kind, key), folder) for key, value in data.items()}
    if isinstance(data, list):
        return [_rebased(value, _inside(kind, index), folder) for index, value in enumerate(data)]
    if isinstance(data, str) and _is_path(kind) and data.strip() and not REMOTE.match(data):
        expanded = os.path.expanduser(data)
        return os.path.normpath(folder / expanded)
    return data


def _rebased(data: YamlValue, kinds: Iterable[object], folder: Path) -> YamlValue:
    for kind in kinds:
        data = rebase(data, kind, folder)
    return data


def _inside(kind: object, key: str | int) -> list[object]:
    """Types a value may have that lies under the key of a value of this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _inside(arguments[0], key)
    if origin in (Union, types.UnionType):
        return list(chain.from_iterable(_inside(member, key) for member in arguments))
    if kind is MethodChoice:
        options = dict.fromkeys(row.options_class() for row in METHODS.values())
        return list(chain.from_iterable(_inside(each, key) for each in options))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(key))
        return [] if field is None else [_marked(field.annotation, field.metadata)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [arguments[1]]
    if origin in (list, tuple, set, frozenset):
        return [member for member in arguments if member is not Ellipsis]
    return []


def _marked(annotation: object, metadata: Sequence[object]) -> object:
    """Pydantic takes the outermost Annotated apart; it is put together again."""
    return Annotated[annotation, *metadata] if metadata else annotation


def _is_path(kind: object) -> bool:
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        return PATH_MARK in marks or _is_path(inner)
    if get_origin(kind) in (Union, types.UnionType):
        return any(map(_is_path, get_args(kind)))
    return False


def _models(kind: object) -> list[type[BaseModel]]:
    if get_origin(kind) is Annotated:
        return _models(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return list(chain.from_iterable(map(_models, get_args(kind))))
    return [kind] if isinstance(kind, type) and issubclass(kind, BaseModel) else []
