"""Whose vectors a teacher's collections hold: the keys of their texts, made as the store made the keys of its own.

A text that the store cut is found by what is left of it. Keys are made once a run, by tasks, and lie in its folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import ray
from tokenizers import Tokenizer

from hbt_ray import storage
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import Wanted, column_of, kept_cutter, tokenised
from hbt_ray.config import TeacherConfig, TrainConfig, UserError
from hbt_ray.data import lengths
from hbt_ray.data.stores import Stores
from hbt_ray.data.stream import Role
from hbt_ray.encode import collection, texts
from hbt_ray.model.prefixes import tokenize_with
from hbt_ray.train import keys

FOLDER = "teacher"
CHECKED_ROWS = 65536  # of a stream, by one task
WHOLE = 2**30  # longer than any text [tokens]
log = logging.getLogger(__name__)


class Recipe(NamedTuple):
    """How the texts of one role are told apart.

    Attributes:
        tokenizer, fingerprint: of the store: its folder [URI], and what tells it from others.
        prefixes: what the run's texts are tokenised with; None: with nothing.
        limits: where the store may have cut a text [tokens].
    """

    tokenizer: str
    fingerprint: str
    prefixes: tuple[str | None, ...]
    limits: tuple[int, ...]


class Indexed(NamedTuple):
    """One collection, and where the keys of its texts are.

    Attributes:
        uri: the version of the collection [URI].
        manifest: that version's.
        keys: parquet with `key`, int64, in ascending order, and `row`, int64, in the order of the collection [URI].
    """

    uri: str
    manifest: dict[str, Any]
    keys: str


def teacher_of(config: TrainConfig) -> TeacherConfig | None:
    """The run's loss that follows a teacher, if there is one."""
    return next((one for one in config.loss if isinstance(one, TeacherConfig)), None)


def pinned(config: TrainConfig) -> TrainConfig:
    """The settings with the newest version of each of the teacher's collections, which may grow meanwhile.

    Raises:
        UserError: one is no collection.
    """
    found: list[Any] = list(config.loss)
    for number, one in enumerate(found):
        if isinstance(one, TeacherConfig):
            for uri in one.collections:
                collection.manifest_of(uri)
            versions = tuple(map(collection.pinned, one.collections))
            found[number] = one.model_copy(update={"collections": versions})
    return config.model_copy(update={"loss": tuple(found)})


def indexes(config: TrainConfig, store: Stores, read: Wanted) -> dict[str, list[Indexed]]:
    """The teacher's collections for `query` and for `passage`: those of the role, or all where none has it.

    Args:
        config: as `pinned` gives it.
        read: what the run reads of each pair.

    Raises:
        UserError: one is no collection, or they have vectors of several widths.
    """
    teacher = teacher_of(config)
    assert teacher is not None
    manifests = {uri: collection.manifest_of(uri) for uri in teacher.collections}
    widths = sorted({manifest["width"] for manifest in manifests.values()})
    if len(widths) > 1:
        raise UserError(f"--loss.collections: vectors of {widths[0]} and of {widths[1]} dimensions: name one teacher's")
    found = {}
    for role in ("query", "passage"):
        of_role = [uri for uri, manifest in manifests.items() if manifest["role"] == role] or list(manifests)
        recipe = recipe_of(role, store, read)
        about = recipe[1:]
        places = [storage.fingerprint([manifests[uri]["checksum"], *about]) for uri in of_role]
        found[role] = [
            Indexed(uri, manifests[uri], storage.join(config.out, FOLDER, f"{place}.parquet"))
            for uri, place in zip(of_role, places, strict=True)
        ]
    return found


def recipe_of(role: str, store: Stores, read: Wanted) -> Recipe:
    """How texts of this role are told apart in the run."""
    prefixes = {read.prefix(role, stream.source) for stream in store.streams}
    limits: set[int] = set()
    for one in store.stores:
        if one.has_texts:
            limits |= {stream.text_tokens or WHOLE for stream in one.streams}
        elif any(about.get("cut", 0) for about in one.manifest.get("inputs", {}).values()):
            bins = max(len(counts) for stream in one.streams for counts in stream.lengths)
            limits |= set(range(int(lengths.edges[bins - 1]), int(lengths.edges[bins])))  # it does not say which
        else:
            limits.add(WHOLE)
    told = store.tokenizer_uri, store.tokenizer_fingerprint
    return Recipe(*told, tuple(sorted(prefixes, key=str)), tuple(sorted(limits)))


def build(config: TrainConfig, store: Stores, plan: Plan, read: Wanted) -> None:
    """Make the keys that no earlier driver of the run has made, and check that each text of the store is among them.

    Args:
        config: as `pinned` gives it.
        read: what the run reads of each pair.

    Raises:
        UserError: a text has no vector, or a file of a collection or of the store is damaged.
    """
    of_role = indexes(config, store, read)
    for role, some in of_role.items():
        recipe = recipe_of(role, store, read)
        for one in some:
            if not storage.exists(one.keys):
                log.info("finding the texts of %s (%d)", one.uri, one.manifest["rows"])
                storage.write_parquet(one.keys, _table(one, recipe))
    _check(config, store, plan, read, of_role)


def keys_of(found: pa.StringArray, recipe: Recipe) -> np.ndarray:
    """The keys of texts, int64 [keys, texts]: one for each prefix, and each length, that the run may have them with."""
    cutter = kept_cutter(recipe.tokenizer, recipe.fingerprint)
    side = (cutter.truncation or {})["direction"]
    made = []
    for prefix in recipe.prefixes:
        tokens = tokenize_with(cutter, prefix or "", found, recipe.limits[-1])
        of_prefix = prefix_ids(cutter, prefix)
        longest = int(np.diff(tokens.offsets.to_numpy()).max(initial=0))
        for limit in sorted({min(limit + len(of_prefix), longest) for limit in recipe.limits}):
            cut = _cut(tokens, limit, side)
            made.append(keys.of_lists(cut, keys.tokens_shared(cut, of_prefix)))
    return np.stack(made)


def prefix_ids(cutter: Tokenizer, prefix: str | None) -> list[int]:
    """The token ids of a prefix, which keys leave out."""
    return tokenize_with(cutter, "", pa.array([prefix or ""]), WHOLE)[0].as_py()


def _cut(tokens: pa.ListArray, limit: int, side: str) -> pa.ListArray:
    """At most `limit` tokens of each text, with those of this side cut off."""
    offsets = tokens.offsets.to_numpy().astype(np.int64)
    taken = np.minimum(np.diff(offsets), limit)
    starts = offsets[:-1] if side == "right" else offsets[1:] - taken
    ends = np.cumsum(taken)
    place = np.arange(taken.sum()) + np.repeat(starts - (ends - taken), taken)
    return pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), tokens.values.take(pa.array(place)))


def _table(one: Indexed, recipe: Recipe) -> pa.Table:
    parts = one.manifest["parts"]
    task = ray.remote(_keys_of_part)
    found = ray.get([task.remote(one.uri, part, recipe) for part in parts])
    begins = np.cumsum([0, *(part["rows"] for part in parts)])
    made = [
        (key.reshape(-1), begin + np.tile(np.arange(key.shape[1]), len(key)))
        for key, begin in zip(found, begins, strict=False)
    ]
    key, row = (np.concatenate(values) for values in zip(*made, strict=True)) if made else (np.zeros(0, np.int64),) * 2
    order = np.argsort(key, kind="stable")
    return pa.table({"key": key[order], "row": row[order]})


def _keys_of_part(source: str, part: dict[str, Any], recipe: Recipe) -> np.ndarray:
    return keys_of(texts.of_part(source, part), recipe)


def _check(config: TrainConfig, store: Stores, plan: Plan, read: Wanted, of_role: dict[str, list[Indexed]]) -> None:
    """Check that the collections have a vector for every text that the loss is for.

    Raises:
        UserError: they have not.
    """
    teacher = teacher_of(config)
    assert teacher is not None
    known = {
        role: ray.put(np.unique(np.concatenate([storage.read_parquet(one.keys)["key"].to_numpy() for one in some])))
        for role, some in of_role.items()
    }
    task = ray.remote(_missing)
    pending = [
        (role, stream, first, task.remote(store.data, stream, role, range(first, stop), read, known[_side(role)]))
        for stream, role in _drawn(store, plan, read, teacher.sources)
        for first, stop in _ranges(store.streams[stream].rows)
    ]
    total = missing = 0
    example = ""
    for role, stream, first, reference in pending:
        asked, lacks, row = ray.get(reference)
        total, missing = total + asked, missing + lacks
        if lacks and not example:
            what = "negative" if role == "negatives" else role
            example = f"the {what} in row {first + row} of {store.streams[stream].name}"
    if missing:
        raise UserError(
            f"--loss.collections: {missing:,} of {total:,} texts of {store.uri} have no vector in"
            f" {', '.join(teacher.collections)}, the first {example}: encode the texts that were prepared, unchanged"
        )


def _side(role: Role) -> str:
    return "query" if role == "query" else "passage"


def _drawn(store: Stores, plan: Plan, read: Wanted, sources: Sequence[str]) -> list[tuple[int, Role]]:
    """The streams and roles whose texts are drawn, of these sources or of all."""
    members = [one for one in plan.members if not sources or store.streams[one.query].source in sources]
    found: set[tuple[int, Role]] = {(one.query, "query") for one in members}
    found |= {(one.passage, "passage") for one in members}
    if read.negatives:
        found |= {(one.passage, "negatives") for one in members if store.streams[one.passage].column("negatives")}
    return sorted(found)


def _ranges(rows: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + CHECKED_ROWS, rows)) for first in range(0, rows, CHECKED_ROWS))


def _missing(data: Any, stream: int, role: Role, rows: range, read: Wanted, known: np.ndarray) -> tuple[int, int, int]:
    """How many texts there are in these rows, how many of them are not known, and the first row with such a one."""
    store = Stores(data)
    about = store.streams[stream]
    prefix = read.prefix(role, about.source)
    stored = about.column(column_of(role, prefix))
    assert stored is not None
    values, place = store.read_each(stream, [(stored, np.arange(rows.start, rows.stop))])[0]
    if prefix is not None:
        values = tokenised(store, values, prefix, about.text_tokens)
    of_row = np.arange(len(values))
    if role == "negatives":
        of_row = np.repeat(of_row, np.diff(values.offsets.to_numpy()))
        values = values.flatten()
    cutter = kept_cutter(store.tokenizer_uri, store.tokenizer_fingerprint)
    skipped = keys.tokens_shared(values, prefix_ids(cutter, prefix))
    lacks = ~np.isin(keys.of_lists(values, skipped), known)
    first = np.flatnonzero(np.isin(place, of_row[lacks]))
    return len(values), int(lacks.sum()), int(first[0]) if len(first) else 0
