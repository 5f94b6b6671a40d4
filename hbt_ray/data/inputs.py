"""The input files of `prepare`: which they are, which version of them, and how they can be cut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from hbt_ray import storage
from hbt_ray.config import InputConfig, UserError
from hbt_ray.data.pieces import Input
from hbt_ray.data.sources import Source, source_of

REQUESTS = 32  # at once
EXPANDED = 4  # what a byte of compressed text is taken for [bytes]


def find(config: InputConfig, part_bytes: int) -> tuple[list[Input], str]:
    """The input files, sorted, and a fingerprint of their versions.

    Raises:
        UserError: no file is named, or none is there.
    """
    source = source_of(config.source)
    if not source.suffixes:
        if config.input:
            raise UserError(f"--input {config.input[0]}: source {config.source} is built in and has no files")
        return [Input(config.source, 0)], storage.fingerprint([])
    if not config.input:
        raise UserError(f"--input: source {config.source} needs files")
    files = sorted({file for uri in config.input for file in storage.expand(uri, source.suffixes)})
    with ThreadPoolExecutor(REQUESTS) as pool:
        versions = list(pool.map(storage.version_of, files))
        inputs = list(pool.map(partial(_weigh, source=source, part_bytes=part_bytes), versions))
    return inputs, storage.fingerprint(versions)


def _weigh(version: list[Any], source: Source, part_bytes: int) -> Input:
    uri, size, _ = version
    if uri.endswith((".gz", ".xz")):
        return Input(uri, size * EXPANDED)
    if source.row_groups is None or size <= part_bytes:
        return Input(uri, size)
    try:
        return Input(uri, size, source.row_groups(uri))
    except UserError:
        return Input(uri, size)  # a bad file is met where it is read
