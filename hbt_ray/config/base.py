"""What all settings share."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class UserError(ValueError):
    """A mistake in what the user gave. Jobs print its one line, without a traceback, and exit with 2."""


class Section(BaseModel):
    """Base of all settings: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    MOST_USED: ClassVar[tuple[str, ...]] = ()
    """Settings of a job that most of its users give, which `--help` shows first."""
