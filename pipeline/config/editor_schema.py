"""The JSON schema of a whole configuration, by which editors complete keys and mark mistakes."""

from pydantic import JsonValue
from pydantic.json_schema import models_json_schema

from pipeline.config.load import TABLE

TEXT = {"type": "string"}


def editor_schema() -> dict[str, JsonValue]:
    """JSON schema (draft 2020-12): a section for each stage, and for each method a mapping of its own options."""
    bodies = {stage.name: stage.body().Config for stage in TABLE}
    parts, shared = models_json_schema([(cls, "validation") for cls in bodies.values()])
    sections = {name: parts[(cls, "validation")] for name, cls in bodies.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hectare configuration",
        "type": "object",
        "properties": {"name": TEXT, "extends": TEXT, **sections},
        "additionalProperties": False,
        "$defs": shared.get("$defs", {}),
    }
