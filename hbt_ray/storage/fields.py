"""What a JSON file has to hold, as a typed description: whoever reads one may have one that a stranger made."""

from __future__ import annotations

import posixpath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hbt_ray.config import UserError
from hbt_ray.config.base import NO_TEXT, first_reason, quoted


class Shape(BaseModel):
    """Base of all descriptions: the fields that readers use, of these very types; others may stand beside them."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def _below(name: str) -> str:
    leads_out = name.startswith(("/", "../")) or name in ("", ".", "..") or "\\" in name
    if leads_out or posixpath.normpath(name) != name or NO_TEXT.search(name):
        raise ValueError(f"{quoted(name)} is no path within the folder")
    return name


Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**31)]
Below = Annotated[str, AfterValidator(_below)]
"""The path of a file below the folder of the one that names it."""
Hash = Annotated[str, Field(pattern="^[0-9a-f]{1,64}$")]
"""Of a content, which may be part of a name."""


def check(value: Any, shape: type[Shape], what: str) -> None:
    """Check that a JSON value has the fields of a shape.

    Args:
        what: what it is, as an error begins.

    Raises:
        UserError: a field is missing, or of another type; the line names the first.
    """
    try:
        shape.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{what}: {first_reason(error)}") from None
