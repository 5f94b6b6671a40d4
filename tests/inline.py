"""The encoding of a corpus in this process, without Ray: the same tasks and actors, one after the other.

As a script, `inline.py CONFIG.yaml SEED` is one of several drivers of a collection; it says how many texts it encoded,
and which version has them.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from hbt_ray.config import EncodeConfig
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode.encode import Identity, about, identify, manifest_body, tokenize_task
from hbt_ray.encode.part_encoder import PartEncoder
from hbt_ray.encode.update import Update, plan


def planned(config: EncodeConfig, identity: Identity, among_others: bool = False) -> Update:
    rows = config.encoding.part_rows
    found = corpora.scan_corpus(config.corpus, rows, config.language, config.duplicates, True)
    return plan(config.out, about(identity, config.role, config.encoding.dtype), found, rows, among_others)


def encode_missing(config: EncodeConfig, identity: Identity, update: Update, wait: Callable[[], None]) -> int:
    """Encode what is missing, with a pause before each part; returns how many texts count of it."""
    missing = update.missing()
    if not missing:
        return 0
    task = tokenize_task(config, identity)
    with logging_as_it_was():
        encoder = PartEncoder(config, update.commits)
    encoded = 0
    for group in corpora.groups(missing):
        for row in task(pa.table({"group": [[part._asdict() for part in group]]})):
            wait()
            result = {name: value for name, (value,) in encoder(row).items()}
            assert not result["error"], result["error"]
            encoded += result["encoded"]
    return encoded


@contextlib.contextmanager
def logging_as_it_was() -> Iterator[None]:
    """An actor has a process of its own, whose log it sets up."""
    root, ours = logging.getLogger(), logging.getLogger("hbt_ray")
    kept, levels = root.handlers[:], (root.level, ours.level)
    root.handlers.clear()  # which would be closed
    yield
    root.handlers[:] = kept
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def encode_here(config: EncodeConfig, identity: Identity, among_others: bool = False) -> dict[str, Any]:
    """As `encode_corpus`."""
    update = planned(config, identity, among_others)
    encoded = encode_missing(config, identity, update, lambda: None)
    version = update.commit(manifest_body(config, identity, update.corpus))
    return {"collection": version, "encoded": encoded, "removed": update.changes.gone}


if __name__ == "__main__":
    settings = EncodeConfig.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))
    chance = random.Random(sys.argv[2])
    whose = identify(settings.encoder)
    work = planned(settings, whose)
    count = encode_missing(settings, whose, work, lambda: time.sleep(chance.random() / 20))
    sys.stdout.write(f"{count} {work.commit(manifest_body(settings, whose, work.corpus))}\n")
