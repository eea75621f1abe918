"""The base of every configuration, light enough for commands that only list."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base of every configuration: a misspelt field is an error that names it; nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
