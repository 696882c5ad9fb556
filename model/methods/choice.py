"""A method as a configuration names it: a short name, or a mapping of name and options, parsed by the table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from model.method import Method
from model.methods import METHODS
from model.methods.row import MethodRow
from model.options import MethodOptions
from model.training.options import TrainingOptions

UNKNOWN, UNHEARD = "unknown_method", "unheard_option"
# Options of version 0.1 of the program, and their names since.
RENAMED_OPTIONS = {"least": "reporting_threshold", "turns": "augment", "blocks": "residual_blocks"}


@dataclass(frozen=True)
class MethodChoice:
    """A method of the table and what it is told.

    In a configuration: `srgan`, which takes its defaults, or `{name: srgan, adversarial_weight: 1e-3}`.
    """

    name: str
    options: MethodOptions

    def __str__(self) -> str:
        return self.name

    @property
    def row(self) -> MethodRow:
        """What the table tells of it."""
        return METHODS[self.name]

    def make(self, training: TrainingOptions | None = None) -> Method:
        """The method itself, not yet prepared; heavy libraries load only now.

        Args:
          training: of the loop, of which its phases are made; None: the defaults.
        """
        return self.row.method_class()(self.options, training)

    def to_json(self) -> dict[str, Any]:
        """Name and every option, as they enter a fingerprint: what other methods may be told is not among them."""
        return {"name": self.name, **self.options.to_json()}

    def given(self) -> dict[str, Any]:
        """Name and the options that were set, as a configuration would state them, with whole paths."""
        chosen = {key: value for key, value in self.options if key in self.options.model_fields_set}
        return {"name": self.name, **chosen}

    @classmethod
    def parse(cls, value: Any, info: ValidationInfo | None = None) -> "MethodChoice":
        """The choice that a name or a mapping of name and options stands for.

        Raises: pydantic.ValidationError naming every option that is wrong, and for one that the method does not
          hear, the methods that do.
        """
        if isinstance(value, MethodChoice):
            return value
        told = (
            {"name": value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
        )
        name = told.pop("name", None)
        if not isinstance(name, str) or name not in METHODS:
            found = value if name is None and not isinstance(value, Mapping) else name
            raise _fault(("name",) if isinstance(value, Mapping) else (), found, UNKNOWN, _one_of_all(), {})
        kind = METHODS[name].options_class()
        unheard = [key for key in told if key not in kind.model_fields]
        if unheard:
            raise ValidationError.from_exception_data(
                "method", [_unheard(name, kind, str(key), told[key]) for key in unheard]
            )
        context = None if info is None else info.context
        if info is not None and info.mode == "json":  # in strict mode only a JSON list may become a tuple
            return cls(name, kind.model_validate_json(json.dumps(told), context=context))
        return cls(name, kind.model_validate(told, context=context))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda choice: choice.to_json()),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """For editors: a name, or for each method a mapping of its options."""
        names = [{"const": name, "description": row.summary} for name, row in METHODS.items()]
        return {"anyOf": [*names, *(_mapping_schema(name, row) for name, row in METHODS.items())]}


def heard_by(option: str) -> tuple[str, ...]:
    """Names of the methods that have an option of this name."""
    return tuple(name for name, row in METHODS.items() if option in row.options_class().model_fields)


def _mapping_schema(name: str, row: MethodRow) -> dict[str, Any]:
    kind: type[BaseModel] = row.options_class()
    own = kind.model_json_schema()
    properties = {"name": {"const": name}, **own.get("properties", {})}
    return {
        "type": "object",
        "description": row.summary,
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
    }


def _one_of_all() -> str:
    return f"one of {', '.join(METHODS)}"


def _unheard(name: str, kind: type[MethodOptions], key: str, value: Any) -> InitErrorDetails:
    known = tuple(kind.model_fields)
    new = RENAMED_OPTIONS.get(key)
    context = {
        "method": name,
        "known": known,
        "heard_by": heard_by(key),
        "renamed": new if new in known else None,
    }
    wanted = f"one of {', '.join(known)}" if known else f"no option: {name} has none"
    return {
        "type": PydanticCustomError(UNHEARD, "{wanted}", {**context, "wanted": wanted}),
        "loc": (key,),
        "input": value,
    }


def _fault(
    place: tuple[str, ...], found: Any, kind: str, wanted: str, context: dict[str, Any]
) -> ValidationError:
    error = PydanticCustomError(kind, "{wanted}", {**context, "wanted": wanted})
    return ValidationError.from_exception_data("method", [{"type": error, "loc": place, "input": found}])
