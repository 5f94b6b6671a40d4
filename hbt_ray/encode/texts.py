"""The texts of documents that are known by id: from the collection that holds them, or from a corpus."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from hbt_ray import storage
from hbt_ray.config import Duplicates, UserError
from hbt_ray.encode import collection, embeddings, ledger
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode.documents import hash_strings
from hbt_ray.encode.spans import Part, Texts, Titled
from hbt_ray.languages import canonical_id

FOLDER = "texts"
TITLE = "title"
GROUP_ROWS = 256  # texts that are read for one
TOGETHER = 16  # files that are read at once
PART_ROWS = 65536  # of what a task reads of a corpus


def write(folder: str, found: Texts) -> str:
    """Write the texts of a part into a collection, under a name that they give; returns the sha256 of the file.

    Columns are `id`, `text` and, where a document has a title, `title`: how much of each text it is [characters].
    """
    data = io.BytesIO()
    table = pa.table({"id": pa.array(found.ids, pa.string()), "text": pa.array(found.texts, pa.string())})
    if any(found.titles):
        table = table.append_column(TITLE, pa.array(found.titles, pa.int32()))
    pq.write_table(table, data, row_group_size=GROUP_ROWS, compression="zstd")
    name = hashlib.sha256(data.getvalue()).hexdigest()
    storage.write_bytes(_uri(folder, name), data.getvalue())
    return name


def of(source: str, ids: Collection[str]) -> dict[str, str]:
    """The text of each document, title in front, as it was encoded, by id.

    A look-up reads a stretch of the ledgers and one of the part's texts. Of folders that were made before collections
    held texts, the corpus is read through, in the languages of `ids`.

    Args:
        source: a collection [URI].
        ids: the documents (`lang:docid`).

    Raises:
        UserError: the collection, or that corpus, is not there any more, or does not have all of `ids`.
    """
    manifest = collection.manifest_of(source)
    if "documents" not in manifest:
        if "corpus" not in manifest:
            raise UserError(f"{source} does not say where its texts are")
        about = manifest["corpus"]
        uri = storage.named_by(source, about["uri"])
        return of_corpus(uri, about["language"], ids, about.get("duplicates", "error"))
    known = held(source, manifest, ids)
    if missing := [key for key in ids if key not in known]:
        raise UserError(f"{source} has no document {min(missing)}")
    return {key: known[key].text for key in ids}


def held(source: str, manifest: Mapping[str, Any], ids: Collection[str]) -> dict[str, Titled]:
    """The texts, by id, of those documents (`lang:docid`) that a collection holds, which has ledgers.

    Args:
        manifest: the collection's.
    """
    ours = {key: canonical_id(key) for key in ids}
    known = _known(collection.folder_of(source), manifest, sorted(set(ours.values())))
    return {key: known[document] for key, document in ours.items() if document in known}


def of_part(source: str, part: Mapping[str, Any]) -> pa.StringArray:
    """The texts of one entry of the manifest's parts, title in front, string [rows], as `read_part` has its rows.

    Raises:
        UserError: the file is missing or not what the manifest says of it, or the collection was made before
            collections held texts.
    """
    if "texts" not in part:
        raise UserError(f"{source} holds no texts: encode its corpus again, into another folder")
    uri = _uri(collection.folder_of(source), part["texts"])
    table = embeddings.read_table(uri, part["texts"])
    return embeddings.column(embeddings.living(table, part, uri), "text", uri)


def of_corpus(uri: str, language: str | None, ids: Collection[str], duplicates: Duplicates = "error") -> dict[str, str]:
    """The text of each document, as `of` gives it, from the corpus at `uri`; one pass over the languages of `ids`.

    Args:
        language: language of files that do not tell it.
        duplicates: what is done about ids that occur twice, as `scan_corpus` has it.

    Raises:
        UserError: the corpus is not usable, or does not have all of `ids`.
    """
    corpus = corpora.scan_corpus(uri, PART_ROWS, language, duplicates)
    ours = {key: canonical_id(key) for key in ids}  # embeddings may be of a time when tags were kept as they were
    languages = {key.partition(":")[0] for key in ours.values()}
    groups = corpora.groups([part for part in corpus.parts if part.language in languages])
    wanted = ray.put(frozenset(ours.values()))
    task = ray.remote(_chosen)
    found: dict[str, str] = {}
    for texts in ray.get([task.remote(group, wanted) for group in groups]):
        found |= texts
    if missing := set(ours.values()) - found.keys():
        raise UserError(f"{uri} has no document {min(missing)}: it is another corpus, or has changed since")
    return {key: found[document] for key, document in ours.items()}


def _chosen(group: list[Part], wanted: frozenset[str]) -> dict[str, str]:
    return {
        key: text
        for texts in corpora.read_texts(group)
        for key, text in zip(texts.ids, texts.texts, strict=True)
        if key in wanted
    }


def _known(folder: str, manifest: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Titled]:
    """The texts, by id, of those wanted documents that are there."""
    keys, asked = hash_strings(wanted), set(wanted)
    by_number = {part["number"]: part for part in manifest["parts"]}
    rows: dict[int, list[int]] = defaultdict(list)
    for entry in manifest["documents"]:
        found = ledger.find(folder, entry, keys)
        for number, row in zip(found.parts.tolist(), found.rows.tolist(), strict=True):
            if number in by_number:
                rows[number].append(row)

    def read(number: int) -> dict[str, Titled]:
        part, some = by_number[number], np.array(sorted(rows[number]), dtype=np.int64)
        removed = embeddings.removed_rows(part)
        living = some[some < len(removed)]
        living = living[~removed[living]]
        return _texts_at(_uri(folder, part["texts"]), living)

    known: dict[str, Titled] = {}
    with ThreadPoolExecutor(TOGETHER) as pool:
        for texts in pool.map(read, sorted(rows)):
            known |= {key: text for key, text in texts.items() if key in asked}  # others have the hash of one
    return known


def _texts_at(uri: str, rows: np.ndarray) -> dict[str, Titled]:
    """The texts of these rows of a file, by id; only their row groups are read.

    Raises:
        UserError: the file is missing or no parquet.
    """
    fs, path = storage.arrow_filesystem(uri)
    texts: dict[str, Titled] = {}
    with storage.parquet_errors(uri), pq.ParquetFile(path, filesystem=fs) as file:
        for group in np.unique(rows // GROUP_ROWS).tolist():
            some = rows[rows // GROUP_ROWS == group] - group * GROUP_ROWS
            table = file.read_row_group(group).take(pa.array(some))
            titles = table[TITLE].to_pylist() if TITLE in table.column_names else [0] * len(table)
            found = map(Titled, table["text"].to_pylist(), titles)
            texts |= dict(zip(table["id"].to_pylist(), found, strict=True))
    return texts


def _uri(folder: str, name: str) -> str:
    return storage.join(folder, FOLDER, f"{name}.parquet")
