"""Faults of a document in one line: the file, the field, what was found, what was expected, the nearest valid name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from benchmark.errors import UserError, cut, nearest, shown

Model = TypeVar("Model", bound=BaseModel)


def check_fields(where: str, values: dict[str, Any], schema: type[Model]) -> Model:
    """Validate `values`, raising UserError lines whose field names begin with `where`."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, schema, prefix=where)) from None


def explain(error: ValidationError, schema: type[BaseModel], prefix: str = "") -> str:
    """Put the first fault of a pydantic error in one line: field, what was found, what was expected.

    An unknown field comes before a missing one: a misspelt name is both, and only the first says what to do.
    """
    faults = error.errors()
    fault = next((item for item in faults if item["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in fault["loc"]]
    field = ".".join([prefix, *path] if prefix else path) or "document"
    if fault["type"] == "extra_forbidden":
        return f"field '{field}' is not known{nearest(path[-1], _field_names(schema, path[:-1]))}"
    if fault["type"] == "missing":
        return f"field '{field}' is missing"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    said = f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
    return f"field '{field}': found {shown(fault['input'])}, {cut(said)}{more}"


def _field_names(schema: Any, path: list[str]) -> list[str]:
    """Return the valid names at `path` inside a schema; list positions and union tags are passed over."""
    candidates: list[Any] = [schema]
    for part in [*path, None]:
        models = []
        while candidates:
            item = candidates.pop()
            if isinstance(item, type) and issubclass(item, BaseModel):
                models.append(item)
            else:
                candidates.extend(get_args(item))
        if part is None or not models:
            return sorted({name for model in models for name in model.model_fields})
        found = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        candidates = list(found) if found else list(models)
    return []


def validated(schema: type[Model], document: dict[str, Any], path: Path) -> Model:
    """Return the document as `schema` has it; errors name `path`."""
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path.as_posix()}: {explain(error, schema)}") from None
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Name the recipe in errors about its fields that only show with the data or the model at hand."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith(("field ", "unknown dataset ")):
            raise
        raise UserError(f"{path.as_posix()}: {error}") from None
