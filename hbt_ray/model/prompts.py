"""Which text is put before queries and passages: what was asked for, else the model's own, else its family's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from hbt_ray import terminal
from hbt_ray.config import EncoderConfig
from hbt_ray.model.encoder import ROLES, Role
from hbt_ray.model.files import ModelFiles
from hbt_ray.model.shapes import SIZES

OURS: dict[Role, str] = {"query": "query: ", "passage": "passage: "}  # of plain transformers encoders
SILENT = {"query", "document"}  # names that sentence-transformers writes, with empty texts, when it was told nothing
# Names of prompts, in any case, with "-", "." or " " for "_"; those of passages in sentence-transformers' order.
NAMES: dict[Role, tuple[str, ...]] = {
    "query": ("query", "queries", "search_query", "retrieval_query", "web_search_query", "s2p_query", "question"),
    "passage": (
        "document", "passage", "corpus", "documents", "passages", "search_document", "search_passage",
        "retrieval_document", "retrieval_passage", "s2p_document", "doc", "context",
    ),
}  # fmt: skip


class Prompts(NamedTuple):
    """What goes before texts.

    Attributes:
        prefixes: role to the text put before it.
        notes: lines that tell the user what is not as they may expect.
    """

    prefixes: dict[Role, str]
    notes: tuple[str, ...] = ()


def find_prompts(config: EncoderConfig) -> Prompts:
    """The prompts of the model that the settings name; its weights are not read.

    Raises:
        UserError: the model's settings cannot be read.
    """
    given = zip(ROLES, (config.query_prefix, config.passage_prefix), strict=True)
    asked = {role: text for role, text in given if text is not None}
    flags = {f"--{role}-prefix": text for role, text in asked.items()}
    notes = _line_breaks({**flags, **{f"--instructions {name}": text for name, text in config.instructions.items()}})
    if len(asked) == len(ROLES) or config.model in SIZES:
        return Prompts({**OURS, **asked}, notes)
    own, note = _of_model(ModelFiles.of(config))
    return Prompts({**own, **asked}, (*notes, *([note] if note else [])))


def _of_model(files: ModelFiles) -> tuple[dict[Role, str], str]:
    """The model's own prompts or its family's, and a line when neither are known."""
    about = files.settings("config_sentence_transformers.json") if files.modules else {}
    prompts = {name: text or "" for name, text in (about.get("prompts") or {}).items()}
    said = {name: text for name, text in prompts.items() if text or name not in SILENT}
    if named := _named(said):
        return named, ""
    default = about.get("default_prompt_name")
    if default in said:
        return dict.fromkeys(ROLES, said[default]), ""
    if files.family and not files.family.base:
        return {"query": files.family.query, "passage": files.family.passage}, ""
    flags = "--query-prefix and --passage-prefix"
    if said:
        names = ", ".join(map(repr, said))
        line = f"its prompts are {names}, and none is known to be for queries or passages: none is used; say {flags}"
        return dict.fromkeys(ROLES, ""), f"{files.name}: {line}"
    if files.modules:
        line = f"names no prompts, and none are used; if it wants any, say {flags}"
        return dict.fromkeys(ROLES, ""), f"{files.name} {line}"
    line = f"{OURS['query']!r} goes before queries and {OURS['passage']!r} before passages; for others say {flags}"
    return dict(OURS), f"{files.name} names no prompts: {line}"


def _named(prompts: Mapping[str, str]) -> dict[Role, str] | None:
    """The prompts of both roles by their names, "" for one that has none; None: neither role has one."""
    plain = {re.sub("[-. ]", "_", name.lower()): text for name, text in prompts.items()}
    found = {role: [plain[name] for name in names if name in plain] for role, names in NAMES.items()}
    if not any(found.values()):
        return None
    return {role: next(filter(None, texts), "") for role, texts in found.items()}


def _line_breaks(texts: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each prefix that holds the two characters of an escaped line break or tab."""
    found = ((name, re.search(r"\\([nrt])", text)) for name, text in texts.items())
    return tuple(
        f"{name} holds a backslash and an {escape[1]}, which stay as they are; for a line break or a tab a shell wants"
        f" $'…\\{escape[1]}…', and YAML \"…\\{escape[1]}…\""
        for name, escape in found
        if escape
    )


def tell(notes: Iterable[str]) -> None:
    """Print each note once in a process."""
    for note in notes:
        _tell(note)


@cache
def _tell(note: str) -> None:
    terminal.warn(note)
