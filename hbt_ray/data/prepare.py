"""`prepare`: source files to a stream store: check, tokenise once, shuffle by seed, manifest last.

Three stages of fixed parts run on Ray Data and exchange over storage (`read`, `group`, `pack`; of large inputs also
`split`), so memory does not grow with the input. Each part is committed when it is done, and a run that is started
again does only the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import ray

from hbt_ray import storage
from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data import append, inputs, pieces, shuffle, summary, vocabulary
from hbt_ray.data.align import align
from hbt_ray.data.alignment import INDEX_FOLDER, index_fingerprint, index_uri
from hbt_ray.data.exclude import TaskItems
from hbt_ray.data.existing import Existing
from hbt_ray.data.group import GroupStage
from hbt_ray.data.manifest import Streams, by_language, by_source
from hbt_ray.data.pack import PackStage, files_of
from hbt_ray.data.pieces import Sizes
from hbt_ray.data.read import ReadStage
from hbt_ray.data.stage import Stage
from hbt_ray.data.streams import StreamStore
from hbt_ray.data.tally import card, joined_cards, refuse_bad, warn_of_texts
from hbt_ray.model import tokenizer
from hbt_ray.model.prefixes import needs_texts

# what it makes in its folder
OWNS = ("work", "quarantine", "streams", "tokenizer", INDEX_FOLDER, "append", "appended", "manifest.json")
SIZES = Sizes()
log = logging.getLogger(__name__)


def prepare(config: PrepareConfig, sizes: Sizes = SIZES, excluded: Sequence[TaskItems] = ()) -> dict[str, Any]:
    """Write the store, or with `append` add to it; returns `{"out", "streams", "rows", "quarantined"}`.

    A finished store is left as it is, and so is one that has what is to be added.

    Args:
        excluded: what `config.exclude` names, as `evaluation/task_items.py` reads it.

    Raises:
        UserError: an input is missing or not what the source says, a tag names no language (unless `on_error` is
            `skip`), too many rows are bad, nothing usable is left, or `out` holds another run. With `append`: `out`
            holds no finished store, one of other settings, or one that has rows of the same source and languages.
    """
    assert len(excluded) == len(config.exclude), "what is to be excluded has to be read first"
    storage.refuse_overlap(config.out, config.places)
    if config.append:
        _append(append.settled(config), sizes, excluded)
    else:
        _make(config, sizes, excluded)
    store = StreamStore(config.out)
    summary.show_store(store)
    counts = store.counts
    return {
        "out": config.out,
        "streams": len(store.streams),
        "rows": counts["kept"],
        "quarantined": sum(counts["quarantined"].values()),
    }


def _make(config: PrepareConfig, sizes: Sizes, excluded: Sequence[TaskItems]) -> None:
    """Write a store, unless it is finished."""
    named = vocabulary.named_tokenizer(config)
    found = inputs.find(config, sizes.part_bytes)
    run = _identity(config, found, excluded, config.FREE)
    with storage.claimed(config.out, "prepare", run, OWNS):
        if not storage.committed(config.out):
            work = pieces.bundle(found.files, sizes.part_bytes)
            partitions = config.partitions or pieces.partitions(found.files, sizes.part_bytes)
            chosen = tokenizer.tokenizer_fingerprint(named) if named is not None else None
            _take_up(config.out, [work, partitions, sizes, chosen])
            about = vocabulary.settle(found.config, work, named)
            place = Place(config.out, storage.join(config.out, "quarantine"))
            _write_store(found, sizes, partitions, about, place, Existing(), excluded)
        storage.clear(storage.join(config.out, "work"))


def _append(config: PrepareConfig, sizes: Sizes, excluded: Sequence[TaskItems]) -> None:
    """Add to a store, unless it has been done."""
    found = inputs.find(config, sizes.part_bytes)
    run = _identity(config, found, excluded, config.FREE | config.SETTLED)
    with append.at_work(config.out, run, [found.files, config.partitions, sizes]) as there:
        if there is not None:
            rows = sum(entry["rows"] for entry in there.existing.streams)
            needed = pieces.partitions(found.files, sizes.part_bytes, rows)
            place = Place(there.root, there.quarantine)
            about = there.existing.manifest["tokenizer"]
            _write_store(found, sizes, config.partitions or needed, about, place, there.existing, excluded)


def _identity(
    config: PrepareConfig,
    found: inputs.Found[PrepareConfig],
    excluded: Sequence[TaskItems],
    free: frozenset[str],
) -> dict[str, Any]:
    """What decides the result of a run, as JSON; the settings in `free` do not."""
    items = {"exclude": storage.fingerprint(list(excluded))} if excluded else {}
    return {**config.model_dump(exclude={*free, "exclude"}), "input files": found.fingerprint, **items}


class Place(NamedTuple):
    """Where the stages work: `root` is the folder of their parts, `quarantine` that of bad rows [URIs]."""

    root: str
    quarantine: str


def _write_store(
    found: inputs.Found[PrepareConfig],
    sizes: Sizes,
    partitions: int,
    about: dict[str, Any],
    place: Place,
    existing: Existing,
    excluded: Sequence[TaskItems],
) -> None:
    """Write the streams of the inputs, and the manifest of all.

    Args:
        about: what the manifest says of the tokenizer, which is written.
        existing: what the store has, which stays where it is.
    """
    config, files = found.config, found.files
    licenses = {**existing.licenses, **found.licenses, **config.licenses}
    there, known = ray.put(existing), ray.put(excluded) if excluded else None
    wide = shuffle.width(partitions, sizes)
    reading = Stage(place.root, "read", [part.pieces for part in pieces.bundle(files, sizes.part_bytes)])
    learned = tokenizer.load_tokenizer(storage.join(config.out, "tokenizer"))
    texts = "texts" in existing.manifest if existing.manifest else needs_texts(learned)
    told = about["fingerprint"]
    reading.run(
        ReadStage(
            config, reading.folder, partitions, wide, sizes.run_bytes, told, texts, place.quarantine, there, known
        )
    )
    blocks, tally, quarantined = shuffle.first_stage(reading, partitions, sizes)
    refuse_bad(tally, quarantined, config.max_bad_share, place.quarantine)
    if not blocks:
        raise _nothing_usable(config, place)
    grouping = Stage(place.root, "group", range(partitions))
    level = shuffle.divide(place.root, config.seed, sizes, partitions, blocks)
    uris = ray.put([file.uri for file in files])
    grouping.run(
        GroupStage(
            place.quarantine, grouping.folder, config.seed, config.drop_duplicates, sizes.largest, there, *level, uris
        )
    )
    streams = Streams(grouping.commits(), existing.streams)
    if not streams.entries:
        raise _nothing_usable(config, place)
    file_rows = sizes.file_row_groups * config.row_group_rows
    append.note_streams(place.root, [entry["name"] for entry in streams.entries])
    packing = Stage(place.root, "pack", files_of(streams.entries, file_rows, texts))
    packing.run(PackStage(config.out, grouping.folder, config.row_group_rows, ray.put(streams.segments())))
    had, had_rows = existing.index(config.row_group_rows)
    before = streams.renumbered(had), had_rows
    index, block_rows = align(place.root, grouping.folder, streams.keys, streams.matches, config.row_group_rows, before)
    told = index_fingerprint(index)
    storage.write_parquet(index_uri(config.out, told), index)
    counts = {
        "files": len(files),
        "read": sum(counts["rows"] for counts in tally.counts.values()),
        "kept": sum(by_source(streams.entries).values()),
        "duplicates": streams.duplicates,
        "excluded": {one.task: tally.excluded[one.task] for one in excluded},
        "by_language": by_language(streams.everything),
        "by_source": by_source(streams.everything),
    }
    storage.commit(
        config.out,
        "stream store",
        {
            "inputs": joined_cards(existing.inputs, card(config.inputs(), files, licenses, tally)),
            "seed": config.seed,
            "row_group_rows": config.row_group_rows,
            "alignment": {"block_rows": block_rows, "fingerprint": told},
            "tokenizer": about,
            **({"texts": {"max_tokens": config.max_tokens}} if texts else {}),
            **({"licenses": licenses} if licenses else {}),
            "counts": existing.with_counts(counts, quarantined + streams.quarantined),
            "streams": streams.with_files(packing.commits()),
        },
    )
    warn_of_texts(tally, config.max_tokens)


def _nothing_usable(config: PrepareConfig, place: Place) -> UserError:
    return UserError(f"no usable row in {', '.join(config.places) or 'the input'}; see {place.quarantine}")


def _take_up(out: str, plan: list[Any]) -> None:
    """Keep what an earlier run of the same parts committed; without one, or with other parts, begin anew."""
    uri = storage.join(out, "work", "plan.json")
    told = {"plan": storage.fingerprint(plan)}
    if storage.exists(uri) and storage.read_json(uri) == told:
        log.info("going on with what an earlier run committed")
        return
    for folder in ("work", "quarantine", "streams"):
        storage.clear(storage.join(out, folder))
    storage.write_json(uri, told)
