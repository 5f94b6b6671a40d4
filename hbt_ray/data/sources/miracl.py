"""MIRACL: topics, judgements and passages of the Wikipedia in folders of each language.

As miracl/miracl-corpus and miracl/miracl have them on the hub: `miracl-corpus-v1.0-fi/docs-0.jsonl.gz` of `{"docid",
"title", "text"}`, `miracl-v1.0-fi/topics/topics.miracl-v1.0-fi-train.tsv` and
`miracl-v1.0-fi/qrels/qrels.miracl-v1.0-fi-train.tsv`.

The input is the corpus. The folder of topics and judgements is found beside the corpus's folder, or in `miracl/` beside
the corpus's data set, which is where the hub and `git clone` have it. `--columns queries=URI qrels=URI` names other
files, for a corpus of one language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from hbt_ray.config import UserError
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import judged
from hbt_ray.data.sources.layout import Layout, Source

FOLDER = re.compile(r"(.*)/miracl-corpus-(v[0-9.]+-([a-z]+))/[^/]+$")


def read_miracl(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a query and relevant passage, made where the passage is read.

    Memory holds the queries and pairs of one language, see `judged`. The split is `train` unless the layout names
    another (German and Yoruba have `dev` only). Passages judged not relevant may lie in other files and are left out.
    The group is the query's id in its language: ids of another language mean other queries.

    Raises:
        UserError: a file is missing or truncated, or a line is of another format.
    """
    split = layout.split or "train"
    match = FOLDER.match(piece.uri)
    if not match:
        raise UserError(f"{piece.uri} lies in no folder such as miracl-corpus-v1.0-de, which would tell its language")
    above, version, language = match[1], match[2], match[3]
    folders = [f"{root}/miracl-{version}" for root in (above, f"{judged.above(above)}/miracl")]
    topics = [f"{folder}/topics/topics.miracl-{version}-{split}.tsv" for folder in folders]
    qrels = [f"{folder}/qrels/qrels.miracl-{version}-{split}.tsv" for folder in folders]
    return judged.read_corpus(piece, layout, language, topics, qrels)


MIRACL = Source(read_miracl, (".jsonl", ".jsonl.gz"), reads_splits=True)
