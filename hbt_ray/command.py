"""A command line to settings: `--config FILE.yaml` first, then flags over it.

A setting of a section is `--section.field`, or `--field` where nothing else in the job is called so (`--alpha` for
`--batches.alpha`). A list takes several values, and so does a flag that is given several times. A section that there is
one of several kinds of has `--section.kind` and the settings of all kinds; a file may have a list of them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hbt_ray.config import Section, UserError
from hbt_ray.config.base import quoted
from hbt_ray.parsing import parse_json, read_yaml

C = TypeVar("C", bound=Section)
IN_FULL = frozenset(["kind", "weight", "sources", "path", "options"])  # by themselves these say too little
YAML_WORDS = "quote it: YAML takes no, yes, on and off for false and true"
CONFIG = """YAML file of settings, which flags override [URI]; its sections are the flags' first parts:
{example}"""


class Flag(NamedTuple):
    """One setting as the command line has it.

    Attributes:
        path: section, if any, and field, as attributes of the settings.
        name: `--field`, or `--section.field` where another section has the field as well.
        kind: the type of one value: `str` also for a number, which the settings check; `bool`, `list` or `dict`.
    """

    path: tuple[str, ...]
    name: str
    kind: type
    field: FieldInfo


def parse(model: type[C], arguments: Sequence[str], program: str | None = None) -> C:
    """Build `model` from command-line `arguments`; `--config URI` names a YAML file they override.

    Raises:
        UserError: a value is missing, unknown or refused; the line names the flag.
        SystemExit: after `--help`.
    """
    flags = flags_of(model)
    parser = _parser(model, flags, program)
    given, others = parser.parse_known_args(list(arguments))
    if others:
        raise UserError(_unknown(others[0], list(arguments), flags))
    values: dict[str, Any] = _read_yaml(given.config) if given.config else {}
    for flag in flags:
        value = getattr(given, ".".join(flag.path))
        if value is not None:
            *sections, field_name = flag.path
            inner = values
            for section in sections:
                if inner.get(section) is None:
                    inner[section] = {}
                inner = _only(inner[section], flag.name)
            inner[field_name] = _pairs(flag.name, value) if flag.kind is dict else value
    return build(model, values, flags)


def build(model: type[C], values: dict[str, Any], flags: Sequence[Flag] = ()) -> C:
    """Build `model` from `values` as `--config` holds them; `flags` are the model's, where they are known already.

    Raises:
        UserError: a value is missing, unknown or refused; the line names the flag.
    """
    sections = [name for name, field in model.model_fields.items() if _is_section(field.annotation)]
    empty: dict[str, Any] = {
        name: {} for name in sections if values.get(name) is None
    }  # what is missing is named by its own flag
    try:
        return model.model_validate({**values, **empty})
    except ValidationError as error:
        raise UserError(validation_line(error, flags or flags_of(model))) from None


def flags_of(model: type[Section]) -> list[Flag]:
    """The flags of a job's settings, in the order of the settings."""
    leaves = list(_leaves(model, ()))
    uses = Counter(path[-1] for path, _ in leaves)
    found = []
    for path, field in leaves:
        short = path[-1:] if uses[path[-1]] == 1 and path[-1] not in IN_FULL else path
        found.append(Flag(path, _flag(short), _kind(field.annotation), field))
    return found


def validation_line(error: ValidationError, flags: Sequence[Flag] = ()) -> str:
    """All that a pydantic error says, as one line of `--flag: reason`."""
    names = {flag.path: flag.name for flag in flags}
    reasons = []
    for item in error.errors():
        place = tuple(str(part) for part in item["loc"])
        of_a_kind = (*place[:1], "kind") in names
        if of_a_kind:  # in a list of sections of several kinds: without the number and the kind
            place = (place[0], "kind") if item["type"] == "union_tag_invalid" else (place[0], *place[3:])
        known = next((place[:size] for size in range(len(place), 0, -1) if place[:size] in names), None)
        flag = names[known] if known else _flag(place) if len(place) > of_a_kind else ""
        text = item["msg"].removeprefix("Value error, ")
        if of_a_kind and item["type"] == "extra_forbidden":
            text = f"there is no such setting of --{place[0]}.kind {item['loc'][2]}"
        elif of_a_kind and item["type"] == "union_tag_invalid":
            text = f"there is no {item['ctx']['tag']}; there are {item['ctx']['expected_tags']}"
        elif item["type"] != "value_error":  # those are our own sentences, which say what they are about
            text = f"{text[0].lower()}{text[1:]}"
            text += "" if item["type"] == "missing" else f", not {quoted(item['input'])}"
            text += f"; {YAML_WORDS}" if isinstance(item["input"], bool) and item["type"] == "string_type" else ""
            text += _meant(place, flags) if item["type"] == "extra_forbidden" else ""
        reasons.append(f"{flag}: {text}" if flag else text)
    return "; ".join(reasons)


def _meant(place: tuple[str, ...], flags: Sequence[Flag]) -> str:
    """Which setting an unknown one at this place may be meant for: one of its section, or of that name in any."""
    beside = {flag.path[len(place) - 1]: flag.path for flag in flags if flag.path[: len(place) - 1] == place[:-1]}
    if near := get_close_matches(place[-1], beside, 1):
        path = beside[near[0]]
        return f"; is {_flag(path[: len(place)])} meant?"
    elsewhere = [flag.path for flag in flags if flag.path[-1] == place[-1]]
    return f"; is {_flag(elsewhere[0])} meant?" if elsewhere else ""


class _Parser(argparse.ArgumentParser):
    """Mistakes are the user's, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "))


def _parser(model: type[Section], flags: Sequence[Flag], program: str | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description=model.__doc__,
        usage="%(prog)s [--config URI] [--flag VALUE …]",
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
        epilog="A flag that belongs to a section may be given with it, as --section.flag.",
    )
    first = parser.add_argument_group("most used")
    first.add_argument("--config", metavar="URI", help=CONFIG.format(example=_example(flags)))
    groups: dict[str, Any] = {}
    order = {_flag([name]): place for place, name in enumerate(model.MOST_USED)}
    for flag in sorted(flags, key=lambda flag: order.get(flag.name, len(order))):
        section = flag.path[0] if len(flag.path) > 1 else ""
        group = first if flag.name in order else groups.get(section)
        if group is None:
            group = groups[section] = parser.add_argument_group(section or "others")
        long = _flag(flag.path)
        options: dict[str, Any] = {"dest": ".".join(flag.path), "default": None, "help": _help(flag)}
        if flag.kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif flag.kind in (list, dict):
            options |= {"nargs": "+", "action": "extend", "metavar": "VALUE"}
        else:
            options["metavar"] = _choices(flag.field.annotation) or "VALUE"
        group.add_argument(flag.name, **options)
        if long != flag.name:  # understood, and not shown a second time
            parser.add_argument(long, **options | {"help": argparse.SUPPRESS})
    return parser


def _help(flag: Flag) -> str:
    default = flag.field.get_default(call_default_factory=True)
    if flag.field.is_required():
        said = "(required)"
    elif default in (None, (), {}):
        said = ""
    else:
        said = f"(default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
    return f"{flag.field.description or ''} {said}".strip().replace("%", "%%")


def _choices(annotation: Any) -> str:
    """The values of a literal type, as help shows them; none of another type."""
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_choices, get_args(annotation))), "")
    return "|".join(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ""


def _example(flags: Sequence[Flag]) -> str:
    lines, section = [], ""
    for flag in [flag for flag in flags if len(flag.path) == 1][:2] + [flag for flag in flags if len(flag.path) > 1][
        :2
    ]:
        if len(flag.path) > 1 and flag.path[0] != section:
            section = flag.path[0]
            lines.append(f"    {section}:")
        lines.append(f"    {'  ' if len(flag.path) > 1 else ''}{flag.path[-1]}: …")
    return "\n".join(lines)


def _unknown(argument: str, arguments: list[str], flags: Sequence[Flag]) -> str:
    if argument.startswith("--"):
        name = argument.partition("=")[0]
        near = get_close_matches(name, [flag.name for flag in flags], 1)
        return f"{name}: there is no such flag{f'; is {near[0]} meant?' if near else ''}"
    before = [one for one in arguments[: arguments.index(argument)] if one.startswith("--")]
    if not before:
        return f"{argument}: a flag is missing before it"
    values = arguments[len(arguments) - arguments[::-1].index(before[-1]) :]
    several = " ".join(values[: next((i for i, one in enumerate(values) if one.startswith("--")), len(values))])
    return f"{before[-1]}: takes one value, not {several}"


def _pairs(name: str, given: Sequence[str]) -> dict[str, str]:
    """The pairs in `key=value` texts or JSON objects."""
    found: dict[str, str] = {}
    for one in given:
        if one.startswith("{"):
            try:
                pairs = parse_json(one)
            except ValueError as error:
                raise UserError(f"{name}: {quoted(one)} {error}") from None
        else:
            key, equals, value = one.partition("=")
            if not equals:
                raise UserError(f"{name}: {quoted(one)} is neither key=value nor a JSON object")
            pairs = {key: value}
        if twice := next((key for key in pairs if key in found), None):
            raise UserError(f"{name}: {twice} is there twice")
        found.update(pairs)
    return found


def _read_yaml(uri: str) -> dict[str, Any]:
    values = read_yaml(uri, "--config")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"--config: {uri} holds no settings")
    return values


def _only(section: Any, flag: str) -> dict[str, Any]:
    """The settings of a section, also of one in a list."""
    if isinstance(section, list) and len(section) > 1:
        raise UserError(f"{flag}: --config has several of these: say it there")
    found: dict[str, Any] = section[0] if isinstance(section, list) else section
    return found


def _leaves(model: type[Section], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Path and field of every setting."""
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            yield from _leaves(field.annotation, (*above, name))  # type: ignore[arg-type]
        elif kinds := kinds_of(field.annotation):
            names = tuple(kind.model_fields["kind"].default for kind in kinds)
            said = " ".join(f"{one}: {kind.__doc__}" for one, kind in zip(names, kinds, strict=True))
            kind_field = FieldInfo(default=names[0], description=said)
            kind_field.annotation = Literal[names]  # type: ignore[assignment]
            yield (*above, name, "kind"), kind_field
            fields: dict[str, FieldInfo] = {}
            for kind in kinds:
                fields |= {inner: about for inner, about in kind.model_fields.items() if inner not in fields}
            yield from (((*above, name, inner), about) for inner, about in fields.items() if inner != "kind")
        else:
            yield (*above, name), field


def _kind(annotation: Any) -> type:
    """What the command line takes for a type."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(one for one in get_args(annotation) if one is not type(None))
    origin = get_origin(annotation) or annotation
    return {tuple: list, dict: dict, bool: bool}.get(origin, str)


def _flag(path: Sequence[str]) -> str:
    return "--" + ".".join(path).replace("_", "-")


def kinds_of(annotation: Any) -> tuple[type[Section], ...]:
    """The sections that a setting, or each in a list, is one of, told apart by `kind`; none of another setting."""
    if get_origin(annotation) is tuple:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    return kinds if kinds and all(_is_section(kind) and "kind" in kind.model_fields for kind in kinds) else ()


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
