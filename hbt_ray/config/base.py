"""What all settings share, and what errors say of wrong ones."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, field_validator

HEAD, TAIL = 1000, 400  # characters of an error that are kept where it is longer
NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")  # ends a line, steers a terminal, or is no text
_quotes = reprlib.Repr()
_quotes.maxstring = _quotes.maxother = 100


class UserError(ValueError):
    """A mistake in what the user gave. Jobs print its one line, without a traceback, and exit with 2.

    What the line quotes may be as long as it likes and hold anything: a line too long is cut in the middle.
    """

    def __str__(self) -> str:
        line = NO_TEXT.sub(" ", "".join(map(str, self.args)))
        return line if len(line) <= HEAD + TAIL else f"{line[:HEAD]} … {line[-TAIL:]}"


def quoted(value: object) -> str:
    """A value as an error shows it: its beginning and end where it is long."""
    return _quotes.repr(value)


def first_reason(error: ValidationError) -> str:
    """What pydantic has against the first of the values that are wrong, and where that is: `a.0.b: …, not …`."""
    return told(error.errors(include_url=False)[0])


def told(first: Mapping[str, Any]) -> str:
    """What pydantic has against one value, an item of its errors, as `first_reason` says it."""
    place, text = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] not in ("missing", "value_error"):
        text = f"{text[0].lower()}{text[1:]}, not {quoted(first['input'])}"
    return f"{place}: {text}" if place else text


class Section(BaseModel):
    """Base of all settings: frozen, an unknown field is an error, and so is a value that no file or seed can hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    MOST_USED: ClassVar[tuple[str, ...]] = ()
    """Settings of a job that most of its users give, which `--help` shows first."""

    @field_validator("*")
    @classmethod
    def _can_be_held(cls, value: Any) -> Any:
        refuse_unusable(value)
        return value


def refuse_unusable(value: Any) -> None:
    """Check that a value, or each in a list or mapping, can be written and reckoned with.

    Raises:
        ValueError: a whole number has more than 64 bits, another is not finite, or a text cannot be one of a file.
    """
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= character <= "\udfff" for character in value)):
        raise ValueError(f"{quoted(value)} has a character that no text can have")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number cannot have more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    for one in value if isinstance(value, list | tuple) else ():
        refuse_unusable(one)


def _always_so_many(value: Any) -> Any:
    """One number, also as the command line has it, is both."""
    numbers = value if isinstance(value, list | tuple) else [value]
    return [*numbers, *numbers] if len(numbers) == 1 else value


def _fewest_and_most(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1]:
        raise ValueError("the fewest is at least 1 and the most no less")
    return value


FewestAndMost = Annotated[tuple[int, int], BeforeValidator(_always_so_many), AfterValidator(_fewest_and_most)]
"""How many processes there are, fewest and most, as there is work; one number is both."""
