"""The format of a file that nobody has named: found by its columns, or by the keys of its first line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hbt_ray.config import UserError
from hbt_ray.data.sources import jsonl, tabular
from hbt_ray.data.sources.columns import form_of
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.storage.text_files import opened

HEAD_BYTES = 2**16  # that tell SQuAD JSON from JSON lines


def format_of(uri: str, layout: Layout, constants: Mapping[str, str], sources: Mapping[str, Source]) -> str:
    """The name of the format of a file.

    Args:
        constants: columns that the file's folders tell.

    Raises:
        UserError: it is missing or damaged, empty, or of no format that can be told by its columns.
    """
    if _is_squad_json(uri):
        return "squad"
    names = tabular.names(uri, layout)
    if not names:
        raise UserError(f"{uri} has no rows, so what it holds cannot be told: name its --source")
    there = [*names, *constants]
    fits = {
        name: len(source.keys)
        for name, source in sources.items()
        if source.keys and uri.endswith(source.suffixes) and set(source.keys) <= set(there)
    }
    if uri.endswith(jsonl.JSONL.suffixes):
        forms = [keys for keys in (jsonl.PASSAGE, jsonl.TRANSLATIONS) if set(keys) <= set(there)]
        fits |= {"jsonl": len(forms[0])} if forms else {}
    found = max(fits, key=lambda name: fits[name]) if fits and not layout.columns else form_of(there, layout)
    if found is None:
        raise UserError(_unknown(uri, there))
    return found


def _is_squad_json(uri: str) -> bool:
    if ".json" not in uri.rsplit("/", 1)[-1] or uri.endswith((".jsonl", ".ndjson")):
        return False
    with opened(uri) as file:
        head = file.read(HEAD_BYTES).decode(errors="replace").lstrip("\ufeff \t\r\n")
    return head.startswith("{") and '"paragraphs"' in head and '"qas"' in head


def _unknown(uri: str, names: Sequence[str]) -> str:
    return (
        f"{uri}: columns {', '.join(names)} are of no known format: map them, as --columns query={names[0]} passage=…"
        f" (or lang=… text=… for bitext), or name its --source"
    )
