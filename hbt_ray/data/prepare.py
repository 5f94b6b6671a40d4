"""`prepare`: source files to a stream store: check, tokenise once, shuffle by seed, manifest last.

Three stages of fixed parts run on Ray Data and exchange over storage (`read`, `group`, `pack`), so memory does not grow
with the input. Each part is committed when it is done, and a run that is started again does only the others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from hbt_ray import storage
from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data import inputs, pieces, summary, vocabulary
from hbt_ray.data.align import align
from hbt_ray.data.alignment import INDEX_FILE, index_fingerprint
from hbt_ray.data.group import GroupStage, Runs
from hbt_ray.data.manifest import Streams, by_language, by_source
from hbt_ray.data.pack import PackStage, files_of
from hbt_ray.data.pieces import InputFile, Sizes
from hbt_ray.data.read import ReadStage
from hbt_ray.data.stage import Stage, stage_file
from hbt_ray.data.streams import StreamStore
from hbt_ray.data.tally import Tally, card, refuse_bad, warn_of_texts
from hbt_ray.model import tokenizer
from hbt_ray.model.prefixes import needs_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OWNS = ("work", "quarantine", "streams", "tokenizer", INDEX_FILE, "manifest.json")  # what it makes in its folder
SIZES = Sizes()
log = logging.getLogger(__name__)


def prepare(config: PrepareConfig, sizes: Sizes = SIZES) -> dict[str, Any]:
    """Write the store; returns `{"out", "streams", "rows", "quarantined"}`. A finished store is left as it is.

    Raises:
        UserError: an input is missing or not what the source says, a tag names no language (unless `on_error` is
            `skip`), too many rows are bad, nothing usable is left, or `out` holds another run.
    """
    storage.refuse_overlap(config.out, config.places)
    named = tokenizer.load_tokenizer(config.tokenizer) if vocabulary.pieces_of(config.tokenizer) is None else None
    found = inputs.find(config, sizes.part_bytes)
    run = {**config.model_dump(exclude=set(config.FREE)), "input files": found.fingerprint}
    with storage.claimed(config.out, "prepare", run, OWNS):
        if not storage.committed(config.out):
            licenses = {**found.licenses, **config.licenses}
            _write_store(found.config.model_copy(update={"licenses": licenses}), sizes, found.files, named)
        storage.clear(storage.join(config.out, "work"))
    store = StreamStore(config.out)
    summary.show_store(store)
    counts = store.manifest["counts"]
    return {
        "out": config.out,
        "streams": len(store.streams),
        "rows": counts["kept"],
        "quarantined": sum(counts["quarantined"].values()),
    }


def _write_store(
    config: PrepareConfig, sizes: Sizes, files: Sequence[InputFile], named: PreTrainedTokenizerBase | None
) -> None:
    work = pieces.bundle(files, sizes.part_bytes)
    partitions = config.partitions or pieces.partitions(files, sizes.part_bytes)
    _take_up(
        config.out, [work, partitions, sizes, tokenizer.tokenizer_fingerprint(named) if named is not None else None]
    )
    about = vocabulary.settle(config, work, named)
    texts = needs_texts(tokenizer.load_tokenizer(storage.join(config.out, "tokenizer")))
    reading = Stage(config.out, "read", [part.pieces for part in work])
    reading.run(ReadStage(config, reading.folder, partitions, sizes.run_bytes, about["fingerprint"], texts))
    runs, tally, quarantined = _read(reading, files, partitions)
    refuse_bad(tally, quarantined, config.max_bad_share, storage.join(config.out, "quarantine"))
    grouping = Stage(config.out, "group", range(partitions))
    grouping.run(GroupStage(config.out, grouping.folder, config.seed, config.drop_duplicates, ray.put(runs)))
    streams = Streams(grouping.commits())
    if not streams.entries:
        raise UserError(f"no usable row in {', '.join(config.places) or 'the input'}; see {config.out}/quarantine")
    file_rows = sizes.file_row_groups * config.row_group_rows
    packing = Stage(config.out, "pack", files_of(streams.entries, file_rows, texts))
    packing.run(PackStage(config.out, grouping.folder, config.row_group_rows, ray.put(streams.segments())))
    index, block_rows = align(config.out, grouping.folder, streams.keys, streams.shared(), config.row_group_rows)
    storage.write_parquet(storage.join(config.out, INDEX_FILE), index)
    kept = by_source(streams.entries)
    storage.commit(
        config.out,
        "stream store",
        {
            "inputs": card(config.inputs(), files, config.licenses, tally),
            "seed": config.seed,
            "row_group_rows": config.row_group_rows,
            "alignment": {"block_rows": block_rows, "fingerprint": index_fingerprint(index)},
            "tokenizer": about,
            **({"texts": {"max_tokens": config.max_tokens}} if texts else {}),
            **({"licenses": config.licenses} if config.licenses else {}),
            "counts": {
                "files": len(files),
                "read": sum(counts["rows"] for counts in tally.counts.values()),
                "kept": sum(kept.values()),
                "duplicates": streams.duplicates,
                "quarantined": dict((quarantined + streams.quarantined).most_common()),
                "by_language": by_language(streams.entries),
                "by_source": kept,
            },
            "streams": streams.with_files(packing.commits()),
        },
    )
    warn_of_texts(tally, config.max_tokens)


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


def _read(reading: Stage, files: Sequence[InputFile], partitions: int) -> tuple[Runs, Tally, Counter[str]]:
    """What the first stage wrote, what it counted of the inputs, and how many records it quarantined, by reason."""
    uris: list[str] = []
    offsets = [np.empty((0, partitions + 1), dtype=np.int64)]
    quarantined: Counter[str] = Counter()
    tally = Tally()
    for number, commit in enumerate(reading.commits()):
        uris += [stage_file(reading.folder, number, ".arrows")] * len(commit["offsets"])
        offsets.append(np.array(commit["offsets"], dtype=np.int64).reshape(-1, partitions + 1))
        quarantined.update(commit["quarantined"])
        tally.add_commit(commit["inputs"])
    return Runs([file.uri for file in files], uris, np.concatenate(offsets)), tally, quarantined
