"""Walks the types of a section along the keys of a file: which keys exist, which texts are paths."""

import os
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from model.methods import METHODS
from model.methods.choice import MethodChoice
from model.options import REMOTE, SourcePath

PATH_MARK = get_args(SourcePath)[1]


def keys_at(cls: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """The keys that may stand at a place of a section."""
    kinds: list[Any] = [cls]
    for key in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, key)]
    sections = [section for kind in kinds for section in _models(kind)]
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def choices(cls: type[BaseModel]) -> list[str]:
    """The keys of a section that hold a method and its options."""
    return [name for name, field in cls.model_fields.items() if field.annotation is MethodChoice]


def rebase(data: Any, kind: Any, folder: Path) -> Any:
    """The same data with every relative input path made absolute from the folder."""
    if isinstance(data, Mapping):
        return {key: _rebased(value, _inside(kind, key), folder) for key, value in data.items()}
    if isinstance(data, list):
        return [_rebased(value, _inside(kind, index), folder) for index, value in enumerate(data)]
    if isinstance(data, str) and _is_path(kind) and data.strip() and not REMOTE.match(data):
        expanded = os.path.expanduser(data)
        return os.path.normpath(folder / expanded)
    return data


def _rebased(data: Any, kinds: Iterable[Any], folder: Path) -> Any:
    for kind in kinds:
        data = rebase(data, kind, folder)
    return data


def _inside(kind: Any, key: str | int) -> list[Any]:
    """Types a value may have that lies under the key of a value of this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _inside(arguments[0], key)
    if origin in (Union, types.UnionType):
        return [inner for member in arguments for inner in _inside(member, key)]
    if kind is MethodChoice:
        options = [row.options_class() for row in METHODS.values()]
        return [inner for each in dict.fromkeys(options) for inner in _inside(each, key)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(key))
        return [] if field is None else [_marked(field.annotation, field.metadata)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [arguments[1]]
    if origin in (list, tuple, set, frozenset):
        return [member for member in arguments if member is not Ellipsis]
    return []


def _marked(annotation: Any, metadata: list[Any]) -> Any:
    """Pydantic takes the outermost Annotated apart; it is put together again."""
    return Annotated[annotation, *metadata] if metadata else annotation


def _is_path(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return PATH_MARK in kind.__metadata__ or _is_path(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return any(_is_path(member) for member in get_args(kind))
    return False


def _models(kind: Any) -> list[type[BaseModel]]:
    if get_origin(kind) is Annotated:
        return _models(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [section for member in get_args(kind) for section in _models(member)]
    return [kind] if isinstance(kind, type) and issubclass(kind, BaseModel) else []
