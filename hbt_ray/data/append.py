"""Adding to a finished store: what a driver does before and after the stages of `prepare`.

What the store has is neither written anew nor moved. The work is done in `<out>/append`; the new manifest, which
replaces the old one at once, is a function of the old one, the inputs and the settings. So a run that was killed goes
on, also after the manifest, which it would write again as it is. `<out>/appended` has a file for each run that is done.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hbt_ray import storage
from hbt_ray.config import PrepareConfig, UserError
from hbt_ray.data import vocabulary
from hbt_ray.data.existing import Existing
from hbt_ray.data.streams import StreamStore
from hbt_ray.model import tokenizer

OWNS = ("work",)
log = logging.getLogger(__name__)


class Appending(NamedTuple):
    """A run that adds to a store.

    Attributes:
        root: folder of its stages [URI].
        quarantine: folder of its bad rows [URI].
        existing: what the store had before.
    """

    root: str
    quarantine: str
    existing: Existing


def settled(config: PrepareConfig) -> PrepareConfig:
    """The settings with those that the store in `out` was prepared with.

    Raises:
        UserError: there is no finished store, or other such settings are asked for.
    """
    store, uri = StreamStore(config.out), storage.join(config.out, "run.json")
    if not storage.exists(uri):
        raise UserError(f"--append: {config.out} has no run.json, which says how it was prepared")
    told = storage.read_json(uri)
    for name in sorted(config.SETTLED & config.model_fields_set):
        asked = getattr(config, name)
        if asked != told[name] and not (name == "tokenizer" and asked is not None and _same_tokenizer(asked, store)):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(
                f"--append: {config.out} was prepared with {flag} {told[name]}, and so is what is added to it;"
                f" {flag} {asked} needs a store of its own"
            )
    return config.model_copy(update={**{name: told[name] for name in config.SETTLED}, "tokenizer": store.tokenizer_uri})


@contextlib.contextmanager
def at_work(out: str, run: Mapping[str, Any], plan: Sequence[Any]) -> Iterator[Appending | None]:
    """Be the only one who adds to the store `out`; None when this `run` is done already.

    Args:
        run: what is added, as JSON.
        plan: how it is cut into parts, as JSON: what an earlier run committed is kept if it is the same.

    Raises:
        UserError: another process is adding to the store.
    """
    name, root = storage.fingerprint(run), storage.join(out, "append")
    with storage.claimed(root, "append", {}, OWNS):
        if storage.exists(_done(out, name)):
            log.info("%s has this already", out)
            yield None
        else:
            existing = _take_up(out, root, {"run": name, "plan": storage.fingerprint([name, *plan])})
            yield Appending(root, _quarantine(out, name), existing)
            _note_done(out, name)
            storage.clear(storage.join(root, "work"))


def note_streams(root: str, names: Sequence[str]) -> None:
    """Leave a note of the streams that are about to be written."""
    storage.write_json(storage.join(root, "work", "streams.json"), list(names))


def _take_up(out: str, root: str, told: Mapping[str, str]) -> Existing:
    """What the store had when this run began; what another run began and did not end is cleared."""
    work, store = storage.join(root, "work"), StreamStore(out)
    uri, written = storage.join(work, "plan.json"), storage.join(work, "streams.json")
    if storage.exists(uri):
        before = storage.read_json(uri)
        if {key: before[key] for key in told} == told:
            log.info("going on with what an earlier run committed")
            return Existing(out, before["manifest"])
        if before["manifest"]["checksum"] != store.identity:  # its manifest was its last but one act
            _note_done(out, before["run"])
        else:
            storage.clear(_quarantine(out, before["run"]))
            for name in storage.read_json(written) if storage.exists(written) else []:
                storage.clear(storage.join(out, "streams", name))
    storage.clear(work)
    storage.write_json(uri, {**told, "manifest": store.manifest})
    return Existing(out, store.manifest)


def _done(out: str, run: str) -> str:
    return storage.join(out, "appended", f"{run}.json")


def _note_done(out: str, run: str) -> None:
    storage.write_json(_done(out, run), {"run": run})


def _quarantine(out: str, run: str) -> str:
    return storage.join(out, "quarantine", f"append-{run}")


def _same_tokenizer(asked: str, store: StreamStore) -> bool:
    if vocabulary.pieces_of(asked) is not None:
        return False
    return tokenizer.tokenizer_fingerprint(tokenizer.load_tokenizer(asked)) == store.tokenizer_fingerprint
