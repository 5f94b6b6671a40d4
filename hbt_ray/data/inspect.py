"""A first look at the inputs of `prepare`: how each would be read, with its first rows. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from hbt_ray.config import Input, PrepareConfig
from hbt_ray.data import append, inputs
from hbt_ray.data.pieces import FilePiece, InputFile, Sizes
from hbt_ray.data.read import checked_records
from hbt_ray.data.sources import tabular
from hbt_ray.data.sources.columns import resolve
from hbt_ray.data.vocabulary import named_tokenizer
from hbt_ray.terminal import console, table

CUT = " ✂"  # behind a text that is cut at the limit
CHARACTERS = 300  # of a text that are shown


def inspect(config: PrepareConfig) -> dict[str, Any]:
    """Show the inputs and the first `config.inspect` rows of each; returns what was found of each input.

    Raises:
        UserError: an input is missing, its format is not known, or its first rows are not what it says.
    """
    config = append.settled(config) if config.append else config
    found = inputs.find(config, Sizes().part_bytes)
    cut = _cutter(config)
    about = []
    for number, asked in enumerate(found.config.inputs()):
        files = [file for file in found.files if file.input == number]
        if not files:
            continue  # all of them are named twice
        rows = list(islice(_rows(found.config, files), config.inspect))
        about.append(_show(asked, files, rows, cut))
    return {"inputs": about}


def _rows(config: PrepareConfig, files: Sequence[InputFile]) -> Iterator[dict[str, Any]]:
    """Good and bad rows in the order of the files; a bad one has a `reason`."""
    for file in files:
        piece = FilePiece(file.uri, input=file.input, constants=file.constants, limit=file.limit)
        for checked in checked_records(piece, config):
            both = [*checked.good.to_pylist(), *checked.bad.to_pylist()]
            yield from sorted(both, key=lambda row: -1 if row["row"] is None else row["row"])


def _show(
    asked: Input, files: Sequence[InputFile], rows: Sequence[dict[str, Any]], cut: Callable[[str], str]
) -> dict[str, Any]:
    languages = sorted({row[side] for row in rows if "reason" not in row for side in ("query_lang", "passage_lang")})
    columns, size = _columns(asked, files[0]), sum(file.size for file in files)
    told = {
        "name": asked.name,
        "source": asked.source,
        "split": asked.split,
        "files": len(files),
        "columns": columns,
        "languages": languages,
    }
    screen = console()
    lines = [
        ["read as", f"{asked.source}{f', split {asked.split}' if asked.split else ''}"],
        ["files", f"{len(files):,} of {size / 1e6:,.1f} MB unpacked, from {files[0].uri}"],
        [
            "columns",
            ", ".join(f"{ours} = {theirs}" for ours, theirs in columns.items()) or "as the format has them",
        ],
        ["languages", ", ".join(languages) or "none yet"],
    ]
    screen.print(table(["input", str(asked.name)], lines, reads=[1]))
    if rows:
        names = ["row", "languages", "query", "passage", "negatives", "group"]
        screen.print(table(names, [_line(row, cut) for row in rows], reads=range(len(names))))
    return told


def _line(row: dict[str, Any], cut: Callable[[str], str]) -> list[str]:
    if "reason" in row:
        return [str(row["row"]), "bad", ": ".join(filter(None, [row["reason"], row["value"]])), "", "", ""]
    sides = (row["query_lang"], row["passage_lang"])
    return [
        str(row["row"]),
        sides[0] if sides[0] == sides[1] else " → ".join(sides),
        cut(row["query"]),
        "(bitext)" if row["bitext"] else cut(row["passage"]),
        "\n".join(map(cut, row["negatives"])),
        row["group"] or "",
    ]


def _columns(asked: Input, file: InputFile) -> dict[str, str]:
    """Our columns to theirs, and to the values that settings or folders tell, of a table."""
    form = next((form for form in tabular.FORMS if form == asked.source), None)
    if form is None:
        return {}
    layout = inputs.layout_of(asked)
    found = resolve(file.uri, tabular.names(file.uri, layout), form, layout, dict(file.constants))
    return {
        **{ours: " ".join(theirs) for ours, theirs in found.theirs.items()},
        **{ours: f"“{value}”" for ours, value in found.fixed.items()},
    }


def _cutter(config: PrepareConfig) -> Callable[[str], str]:
    """A function that shows a text as it is kept: cut at the limit, where the tokenizer is there already."""
    named = named_tokenizer(config)

    def cut(text: str) -> str:
        kept = text
        if named is not None:
            options = {"add_special_tokens": False, "truncation": True, "max_length": config.max_tokens}
            spans = named(text, return_offsets_mapping=True, **options)["offset_mapping"]
            if spans and text[spans[-1][1] :].strip():
                kept = text[: spans[-1][1]] + CUT
        return kept if len(kept) <= CHARACTERS else f"{kept[:CHARACTERS]} … ({len(kept):,} characters)"

    return cut
