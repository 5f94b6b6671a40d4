"""What cells share, each made once: stores, the hard negatives in them, and the files of built-in tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, Grid, IndexConfig, InputConfig, MineConfig, Mined, PrepareConfig, Sample
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.encode.encode import encode_corpus
from hbt_ray.evaluation.task_items import task_items
from hbt_ray.job import user_error
from hbt_ray.search.build import build_index
from hbt_ray.search.mine import mine
from hbt_ray.study.grid.cell import is_sample
from hbt_ray.study.grid.cells import MINE, SAMPLE, Cell, store_id, store_settings
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.sample import prepare_sample, sample_languages

log = logging.getLogger(__name__)


def prepare_shared(grid: Grid, cells: Sequence[Cell], folder: StudyFolder) -> dict[str, str]:
    """Make what these cells use and nobody has made yet.

    Returns: the stores that cannot be made, each with the line that says why.
    """
    failed = {}
    for name in dict.fromkeys(name for cell in cells for name in cell.stores):
        identity = store_id(grid.stores[name], name)
        if storage.committed(folder.store(identity)):
            continue
        log.info("study %s: prepare %s", grid.name, name)
        try:
            _prepare(grid.stores[name], name, identity, folder)
        except Exception as error:
            reason = user_error(error)
            if reason is None:
                raise
            failed[name] = f"store {name}: {reason}"
    for task in grid.tasks:
        if is_sample(task) and not storage.exists(storage.join(folder.task(task), "queries.parquet")):
            world_facts.write_task(folder.task(task), task.languages or sample_languages(Sample()))
    return failed


def _prepare(store: Mapping[str, Any], name: str, identity: str, folder: StudyFolder) -> None:
    kind, settings = store_settings(store, name)
    if kind == SAMPLE:
        facts = storage.join(folder.out, "facts", f"{identity}.parquet")
        prepare_sample(Sample.model_validate(settings), folder.store(identity), facts)
        return
    own = {key: value for key, value in store.items() if key != MINE}
    if kind == MINE:
        mined = mined_pairs(Mined.model_validate(store[MINE]), own, folder.mined(identity))
        own = {key: value for key, value in own.items() if key not in InputConfig.model_fields or key == "on_error"}
        own |= {"source": "pairs", "input": [mined]}
    config = PrepareConfig.model_validate({**own, "out": folder.store(identity)})
    prepare(config, excluded=task_items(config.exclude))


def mined_pairs(mined: Mined, store: Mapping[str, Any], out: str) -> str:
    """The pairs of a store with hard negatives: encode the corpus, index it, and search; returns their folder [URI].

    Raises:
        UserError: the corpus, the pairs or the model cannot be used.
    """
    vectors, index, pairs = (storage.join(out, name) for name in ("vectors", "index", "mined"))
    common: dict[str, Any] = {"encoder": mined.encoder, "encoding": mined.encoding}
    encode_corpus(EncodeConfig(corpus=mined.corpus, language=mined.language, out=vectors, role="passage", **common))
    build_index(IndexConfig(embeddings=vectors, out=index))
    which = {key: value for key, value in store.items() if key in InputConfig.model_fields}
    asked = mined.model_dump(include={"negatives", "depth", "share"})
    mine(MineConfig.model_validate({**which, **asked, **common, "index": index, "out": pairs}))
    return storage.join(pairs, "pairs")
