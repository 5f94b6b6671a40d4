"""MS MARCO passage ranking and its translations mMARCO: a collection, queries and judgements as TSV.

The input is the collection, `collection.tsv` of MS MARCO or `german_collection.tsv` of mMARCO (`id<tab>text`). Beside
it lies `queries.train.tsv`, or beside it or in mMARCO's `queries/train/` lies `german_queries.train.tsv`. Beside it or
up to two folders above lies `qrels.train.tsv`, or else a file of ids, `triples.train.ids.small.tsv` (mMARCO) or
`qidpidtriples.train.full.2.tsv` (MS MARCO). So they are published at microsoft.github.io/msmarco and
huggingface.co/datasets/unicamp-dl/mmarco. `--columns queries=URI qrels=URI` names other files. Ids mean the same in all
languages, so that the translations of a query meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data import records
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import judged, rows
from hbt_ray.data.sources.layout import Layout, Source
from hbt_ray.data.sources.lines import Row
from hbt_ray.storage import text_files, trec

COLLECTION = re.compile(r"(?:^|/)(?:([a-z]+)_)?collection\.tsv(?:\.gz)?$")
TRIPLES = ("triples.train.ids.small.tsv", "qidpidtriples.train.full.2.tsv", "qidpidtriples.train.full.2.tsv.gz")
ENGLISH = "en"  # of files without a language's name, as MS MARCO is


def read_msmarco(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a query and relevant passage, made where the passage is read; the group is the query's id.

    Memory holds the queries and pairs of one language, see `judged`, and not the collection. The split is `train`
    unless the layout names another. The negatives that triples name may lie anywhere in the collection and are left
    out.

    Raises:
        UserError: a file is missing or truncated, or a line is of another format.
    """
    split = layout.split or "train"
    language = rows.languages_of(piece, layout, *_language(piece.uri))
    queries = judged.find(layout, "queries", piece.uri, _queries(piece.uri, split))
    pairs = judged.find(layout, "qrels", piece.uri, _pairs(piece.uri, split))
    known = judged.judge(((key, text) for _, key, text in trec.read_texts(queries)), trec.read_pairs(pairs))
    passages = ((number - 1, key, text) for number, key, text in trec.read_texts(piece.uri))
    return records.tables(judged.pairs(passages, known, layout.name, language))


def read_triples(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a line of `triples.train.small.tsv`: query, passage and one negative, as texts.

    Raises:
        UserError: the file is missing or truncated, or its first line has not three fields.
    """
    return records.tables(_triples(piece.uri, layout.name, rows.languages_of(piece, layout, default=ENGLISH)))


def _triples(uri: str, source: str, sides: tuple[str, str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text_files.read_lines(uri)):
        fields = line.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\t")
        if len(fields) != 3:
            if number == 0:
                raise UserError(f"{uri} line 1 has {len(fields)} fields, not query, passage and negative")
            yield rows.bad(Row(number, {}), f"wrong number of columns: {len(fields)}, not 3")
            continue
        yield {
            "row": number,
            "source": source,
            "query_lang": sides[0],
            "passage_lang": sides[1],
            "query": fields[0],
            "passage": fields[1],
            "negatives": [fields[2]],
        }


def _language(uri: str) -> tuple[str | None, str | None]:
    """The language that the file's name tells, and what it is where none is told."""
    match = COLLECTION.search(uri)
    if match is None:
        return None, None
    return (languages.named(match[1]), None) if match[1] else (None, ENGLISH)


def _queries(uri: str, split: str) -> list[str]:
    match = COLLECTION.search(uri)
    file = f"{match[1]}_queries.{split}.tsv" if match and match[1] else f"queries.{split}.tsv"
    return [f"{judged.above(uri)}/{file}", f"{judged.above(uri, 2)}/queries/{split}/{file}"]


def _pairs(uri: str, split: str) -> list[str]:
    files = [f"qrels.{split}.tsv", *(TRIPLES if split == "train" else ())]
    return [f"{judged.above(uri, level)}/{file}" for file in files for level in (1, 2, 3)]


MSMARCO = Source(read_msmarco, ("collection.tsv", "collection.tsv.gz"), reads_splits=True)
MSMARCO_TRIPLES = Source(read_triples, (".tsv", ".tsv.gz"))
