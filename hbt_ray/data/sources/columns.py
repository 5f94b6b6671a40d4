"""Which column of a file is which of ours: named by the user, called as ours, or as sentence-transformers call them.

The three forms are those of `hbt_ray.data.records`: *pairs*, *parallel* and *bitext*. Bitext may also have a column for
each language, `text.de`, which `--columns text.de=german` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.sources.layout import Layout

Form = Literal["pairs", "parallel", "bitext"]
NEEDED: dict[Form, tuple[str, ...]] = {
    "pairs": records.PAIRS,
    "parallel": records.PARALLEL,
    "bitext": records.BITEXT,
}
OPTIONAL = ("negatives", "scores", "group", "source")
ALIASES = {
    "query": ("anchor", "question", "sentence1"),
    "passage": ("positive", "answer", "sentence2"),
    "query_lang": ("lang", "language"),
    "passage_lang": ("lang", "language"),
    "lang": ("language",),
    "negatives": ("negative", "negative_*"),
}
LANGUAGE_OF = {"query_lang": "query_language", "passage_lang": "passage_language", "lang": "query_language"}
TEXT = "text."  # before the language, in names of columns of one language
LABELS = ("label", "score", "similarity")  # which say how much alike two sentences are


class WrongColumns(UserError):
    """Columns that are missing, or could be several.

    Attributes:
        reason: the rest of a line that begins with the name of the file.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)  # all of them, so that it can be sent from a task
        self.reason = reason


@dataclass(frozen=True)
class Columns:
    """What is ours in a file.

    Attributes:
        form: what a row is.
        theirs: our column to those of the file that are it: one, or of `negatives` also several, in order.
        fixed: our column to the value that all rows have, which folders or settings tell.
        expected: our column of languages to the tag that settings name, which all its rows must have.
    """

    form: Form
    theirs: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, str]
    expected: Mapping[str, str]

    @property
    def read(self) -> list[str]:
        """The columns of the file that are read."""
        return sorted({name for names in self.theirs.values() for name in names})

    @property
    def texts(self) -> dict[str, str]:
        """Language to column, of bitext with a column for each language."""
        return {name.removeprefix(TEXT): one[0] for name, one in self.theirs.items() if name.startswith(TEXT)}


def form_of(names: Sequence[str], layout: Layout) -> Form | None:
    """The form that rows with columns of these names have, by what they are called; None when it is none."""
    ours = {*names, *layout.columns}
    if any(name.startswith(TEXT) for name in ours) or ("text" in ours and {"lang", "language"} & ours):
        return "bitext"
    sides = [name in ours or any(alias in ours for alias in ALIASES[name]) for name in ("query", "passage")]
    if not all(sides):
        return None
    return "parallel" if {"group", "lang"} <= ours and not {"query_lang", "passage_lang"} & ours else "pairs"


def resolve(where: str, names: Sequence[str], form: Form, layout: Layout, constants: Mapping[str, str]) -> Columns:
    """Find our columns among those of a file.

    Args:
        where: how a line names the file.
        names: the columns of the file.
        constants: columns that its folders tell.

    Raises:
        UserError: one is missing or could be several, or a setting says another language than a folder.
    """
    if form != "pairs" and layout.query_language != layout.passage_language:
        raise UserError(f"{where}: a row of {form} is in one language; say --language, not one for queries or passages")
    theirs: dict[str, tuple[str, ...]] = {}
    fixed: dict[str, str] = {}
    expected: dict[str, str] = {}
    there = [*names, *(name for name in constants if name not in names)]
    wide = [name for name in dict.fromkeys((*layout.columns, *names)) if name.startswith(TEXT)]
    needed = wide if wide and form == "bitext" else NEEDED[form]
    if unknown := [name for name in layout.columns if name not in (*needed, *OPTIONAL)]:
        raise UserError(f"--columns {unknown[0]}=…: {form} have no column of that name; they have {', '.join(needed)}")
    for name in dict.fromkeys((*needed, *OPTIONAL)):
        found = _named(where, name, there, layout)
        given = getattr(layout, LANGUAGE_OF[name]) if name in LANGUAGE_OF else None
        if name == "scores" and not found and {"score", "negative_scores"} <= set(names):
            found = ["score", "negative_scores"]  # as `mine` writes them
        if len(found) == 1 and found[0] not in names:
            fixed[name] = constants[found[0]]
            _refuse_other(where, found[0], fixed[name], given)
        elif found:
            theirs[name] = tuple(found)
            if name in LANGUAGE_OF and (tag := given or constants.get(found[0])):
                expected[name] = tag
        elif given:
            fixed[name] = given
    if missing := [name for name in needed if name not in theirs and name not in fixed]:
        raise WrongColumns(where, _missing(missing, there))
    if "query" not in layout.columns and theirs.get("query") == ("sentence1",):
        _refuse_labels(where, names)
    return Columns(form, theirs, fixed, expected)


def _named(where: str, name: str, there: Sequence[str], layout: Layout) -> list[str]:
    """The columns of the file that are ours of this name; none, one or, of a name with `*`, several in numeric order.

    Raises:
        UserError: one that the user names is not there, or several could be meant.
    """
    if (theirs := layout.columns.get(name)) is not None:
        found = _matching(theirs, there)
        if not found or (len(found) > 1 and name != "negatives"):
            reason = f"has no column {theirs}" if not found else f"has several columns {theirs}"
            raise WrongColumns(where, f" {reason}, which --columns {name}={theirs} names; it has {', '.join(there)}")
        return found
    if name in there:
        return [name]
    aliases = ALIASES.get(name, ())
    if name == "negatives":
        return next((found for found in (_matching(alias, there) for alias in aliases) if found), [])
    found = [alias for alias in aliases if alias in there]
    if len(found) > 1:
        both = " and ".join(found)
        raise WrongColumns(where, f": {both} could both be the {name}: say which, as --columns {name}={found[0]}")
    return found


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    if "*" not in pattern:
        return [pattern] if pattern in names else []
    return sorted((name for name in names if fnmatchcase(name, pattern)), key=_numeric)


def _numeric(name: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _refuse_other(where: str, column: str, told: str, given: str | None) -> None:
    if given and languages.normalize(told) != languages.normalize(given):
        raise UserError(f"{where}: its folder says {column}={told}, and the settings say {given}; leave that out")


def _refuse_labels(where: str, names: Sequence[str]) -> None:
    if found := [name for name in LABELS if name in names]:
        raise UserError(
            f"{where}: column {found[0]} says how much alike the sentences of a row are, so not every row is a pair:"
            " keep those that are, and name the columns with --columns query=sentence1 passage=sentence2"
        )


def _missing(missing: Sequence[str], there: Sequence[str]) -> str:
    line = f" has no column {', '.join(missing)}; it has {', '.join(there) or 'none'}: name another with"
    line += f" --columns {missing[0]}=…"
    if all(name in LANGUAGE_OF for name in missing):
        line += ", or say the language of all rows with --language"
    return line
