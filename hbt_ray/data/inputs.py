"""The inputs of `prepare`: which files they have, in which format, which version of them, and how they can be cut."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import ray

from hbt_ray import languages, storage
from hbt_ray.config import Input, InputConfig, UserError
from hbt_ray.data.pieces import FilePiece, InputFile
from hbt_ray.data.sources import SOURCES, look, parquet, source_of, tabular
from hbt_ray.data.sources import named as data_sets
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.splits import of_split
from hbt_ray.storage import Listed

REQUESTS = 32  # at once
FOOTERS = 256  # read by one task
EXPANDED = 4  # what a byte of compressed text is taken for [bytes]
NO_DATA = ("README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
C = TypeVar("C", bound=InputConfig)
log = logging.getLogger(__name__)


class Found(NamedTuple, Generic[C]):
    """What the inputs are.

    Attributes:
        config: the settings, with a name and a format for each input.
        files: the files of all inputs, in order of name and path.
        fingerprint: hash of the versions of the files.
        licenses: name of an input to its licence, of data sets that are known by name.
    """

    config: C
    files: list[InputFile]
    fingerprint: str
    licenses: dict[str, str]


def find(config: C, part_bytes: int) -> Found[C]:
    """List the inputs, and look into the first file of those whose format is not named.

    Raises:
        UserError: no input is named, or nothing is there; its format is not known; it has several splits, and none is
            named; or a language tag names none.
    """
    asked = config.inputs()
    if not asked:
        raise UserError("--input: name what is to be read, or --source world-facts for the built-in facts")
    settled: list[Input] = []
    listed: dict[tuple[str, str, str], tuple[Listed, int]] = {}  # by name, path and URI
    licenses: dict[str, str] = {}
    for one in asked:
        _check(one, named=bool(config.input))
        for part in _published(one, licenses):
            files, source = _list(part)
            listed.update({(str(one.name), file.path, file.uri): (file, len(settled)) for file in files})
            settled.append(part.model_copy(update={"source": source}))
    chosen = [listed[key] for key in sorted(listed)]
    config = config.model_copy(update={"input": tuple(settled)})
    weighed = _weighed(settled, part_bytes, chosen)
    versions = storage.fingerprint([file.version for file, _ in chosen])
    return Found(config, _limited(weighed, settled), versions, licenses)


def layout_of(asked: Input) -> Layout:
    """What a reader is told of an input."""
    return Layout(
        str(asked.name),
        asked.query_language or asked.language,
        asked.passage_language or asked.language,
        asked.columns,
        asked.split,
    )


def _check(asked: Input, named: bool) -> None:
    for flag in ("language", "query_language", "passage_language"):
        tag = getattr(asked, flag)
        if tag is not None and languages.normalize(tag) is None:
            raise UserError(f"--{flag.replace('_', '-')} {tag} is no known language tag")
    if asked.source is None or (asked.uri is None and asked.source in data_sets.named()):
        return
    if asked.uri is None and named and asked.source not in SOURCES:
        place, known = storage.absolute(asked.source), ", ".join(data_sets.named())
        raise UserError(f"no input at {place}, and no data set is called {asked.source}; known: {known}")
    source = source_of(asked.source)
    if asked.uri is None and source.suffixes:
        raise UserError(f"--input: source {asked.source} needs files")
    if asked.uri is not None and not source.suffixes:
        raise UserError(f"--input {asked.uri}: source {asked.source} is built in and has no files")


def _published(asked: Input, licenses: dict[str, str]) -> list[Input]:
    """The input as files, where it is a data set known by name. Its licence is said, and noted in `licenses`."""
    if asked.uri is not None or asked.source is None or asked.source not in data_sets.named():
        return [asked]
    about = data_sets.named()[asked.source]
    log.info(data_sets.license_line(asked.source))
    if about.license is not None:
        licenses[str(asked.name)] = about.license
    known = {"source": about.reader, "columns": {**about.columns, **asked.columns}, "config": ()}
    return [asked.model_copy(update={"uri": uri, **known}) for uri in data_sets.uris(asked.source, asked.config)]


def _list(asked: Input) -> tuple[list[Listed], str]:
    """The files of an input, and its format."""
    if asked.uri is None:
        return [Listed(str(asked.source), "", 0, "")], str(asked.source)
    source = SOURCES[asked.source] if asked.source is not None else None
    files = storage.find(asked.uri, source.suffixes if source else tabular.SUFFIXES)
    files = [file for file in files if file.path.rsplit("/", 1)[-1] not in NO_DATA] or files
    files = _of_config(asked, files)
    if source is None or not source.reads_splits:
        files = of_split(asked.uri, files, asked.split)
    if source is None or asked.source in tabular.TABULAR:
        _refuse_kinds(asked.uri, files)
    name = asked.source or look.format_of(files[0].uri, layout_of(asked), _constants(files[0], None), SOURCES)
    if source is None:
        log.info("%s: %d files of %s, as the first one looks", asked.name, len(files), name)
    return files, name


def _of_config(asked: Input, files: list[Listed]) -> list[Listed]:
    if not asked.config:
        return files
    folders = {file.uri: set(file.path.split("/")[:-1]) for file in files}
    if missing := sorted(set(asked.config) - set().union(*folders.values())):
        there = sorted({file.path.partition("/")[0] for file in files if "/" in file.path})
        raise UserError(f"{asked.uri} has no folder {missing[0]}, which config names; it has {', '.join(there)}")
    return [file for file in files if folders[file.uri] & set(asked.config)]


def _refuse_kinds(uri: str, files: Sequence[Listed]) -> None:
    """Of a data set that is there in two kinds of files, both would be read."""
    kinds = Counter(next((kind[0] for kind in tabular.KINDS if file.uri.endswith(kind)), "other") for file in files)
    if len(kinds) > 1:
        told = " and ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise UserError(f"{uri} has {told} files: name those of one kind by a glob with *{next(iter(kinds))}")


def _constants(file: Listed, source: Source | None) -> dict[str, str]:
    """The columns that the file's folders tell."""
    told = source.path_columns(file.path) if source is not None and source.path_columns is not None else {}
    return {**storage.partition_columns(file.uri), **told}


def _weighed(inputs: Sequence[Input], part_bytes: int, listed: Sequence[tuple[Listed, int]]) -> list[InputFile]:
    """The files with what they can be cut into: of more than some, their footers are read in Ray tasks."""
    if len(listed) <= FOOTERS or not ray.is_initialized():
        return _weigh_some(inputs, part_bytes, listed)
    task = ray.remote(_weigh_some)
    some = (listed[first : first + FOOTERS] for first in range(0, len(listed), FOOTERS))
    waiting = [task.remote(inputs, part_bytes, files) for files in some]
    return [file for some in ray.get(waiting) for file in some]


def _weigh_some(inputs: Sequence[Input], part_bytes: int, listed: Sequence[tuple[Listed, int]]) -> list[InputFile]:
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(partial(_weigh, inputs, part_bytes), listed))


def _weigh(inputs: Sequence[Input], part_bytes: int, listed: tuple[Listed, int]) -> InputFile:
    file, number = listed
    asked = inputs[number]
    source = SOURCES[str(asked.source)]
    constants = tuple(sorted(_constants(file, source).items()))
    size = file.size * EXPANDED if file.uri.endswith((".gz", ".xz", ".zst")) else file.size
    whole = InputFile(file.uri, size, (), number, constants)
    if source.row_groups is None or size <= part_bytes or asked.limit is not None:
        return whole
    try:
        return whole._replace(row_groups=source.row_groups(file.uri))
    except UserError:
        return whole  # a bad file is met where it is read


def _limited(files: list[InputFile], inputs: Sequence[Input]) -> list[InputFile]:
    """The files that the limits leave, with what they leave of them."""
    left = {asked.name: asked.limit for asked in inputs if asked.limit is not None}
    found = []
    for file in files:
        asked = inputs[file.input]
        if (limit := left.get(asked.name)) is None:
            found.append(file)
        elif limit:
            rows = _rows(file, asked, limit)
            found.append(file._replace(limit=rows))
            left[asked.name] = limit - rows
    return found


def _rows(file: InputFile, asked: Input, most: int) -> int:
    """The number of rows of a file, counted up to `most`."""
    if file.uri.endswith(".parquet"):
        return min(parquet.rows(file.uri), most)
    piece, seen = FilePiece(file.uri, constants=file.constants), 0
    for table in SOURCES[str(asked.source)].read(piece, layout_of(asked)):
        seen = table["row"][-1].as_py() + 1 if table.num_rows else seen
        if seen >= most:
            return most
    return seen
