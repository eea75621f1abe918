"""The base of every configuration, light enough for commands that only list."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer


class Strict(BaseModel):
    """Base of every configuration: a misspelt field is an error that names it; nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Since(Enum):
    """Marks of fields, by when they came."""

    LATER = "after the first records were made"


LATER = Since.LATER
"""Marks a field of a `Grown` configuration: `momentum: Annotated[float | None, LATER] = None`."""


class Grown(Strict):
    """A configuration that has fields from after the first records: dumps leave them out at their defaults.

    So older records still belong to their recipes, and runs are called what they were.
    """

    @model_serializer(mode="wrap")
    def _without_later(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        document, fields = dump(self), type(self).model_fields
        later = {name for name, field in fields.items() if LATER in field.metadata}
        return {
            name: value
            for name, value in document.items()
            if name not in later or getattr(self, name) != fields[name].default
        }


LARGEST_SEED = 2**32 - 1
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""A seed that every generator takes."""
