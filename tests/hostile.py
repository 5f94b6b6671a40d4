"""JSON as a stranger may have made it: a good value with one thing in it replaced, taken away or out of all bounds."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

from hbt_ray import storage
from hbt_ray.config import UserError

LONG = "ab" * 100_000
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**31, 2**63, 2**70, 1e308, "", "x", "..", "../../x", "/etc/passwd", "a\0b", LONG,
    [], {}, [[]], [None], [LONG], {"a": {"b": []}},
)  # fmt: skip
GONE = object()


def mutants(tree: Any, count: int, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """What was done, and the value with it done, always the same ones."""
    chance, places = random.Random(seed), [place for place in _places(tree) if place]
    for _ in range(count):
        place, value = chance.choice(places), chance.choice((*VALUES, GONE))
        found = copy.deepcopy(tree)
        *above, last = place
        inside = found
        for key in above:
            inside = inside[key]
        if value is GONE:
            del inside[last]
        else:
            inside[last] = value
        yield f"{'.'.join(map(str, place))} = {'gone' if value is GONE else repr(value)[:40]}", found


def forged(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the checksum that fits it."""
    body = {key: value for key, value in manifest.items() if key != "checksum"}
    return {**body, "checksum": storage.fingerprint(body)}


def assert_clear(error: UserError, what: str = "") -> None:
    """Assert that the error is one short line."""
    line = str(error)
    assert line, what
    assert len(line) < 1500, (what, len(line))
    assert line.isprintable(), (what, line)


def _places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree[:2]) if isinstance(tree, list) else ()
    for key, value in inside:
        if key != "checksum":
            yield from _places(value, (*above, key))
