"""Mr. TyDi: topics, judgements and passages of the Wikipedia in folders of each language.

As castorini/mr-tydi-corpus and castorini/mr-tydi have them on the hub: `mrtydi-v1.1-thai/corpus.jsonl.gz` of `{"docid",
"title", "text"}`, and `mrtydi-v1.1-thai/ir-format-data/topics.train.txt` and `qrels.train.txt`. Or as its archives have
it: `mrtydi-v1.1-thai/collection/docs.jsonl.gz` of `{"id", "contents"}`, `topic.train.tsv` and `qrels.train.txt`.

The input is the corpus. Topics and judgements are found in the same folder, or in `mr-tydi/` beside the corpus's data
set, which is where the hub and `git clone` have them. `--columns queries=URI qrels=URI` names other files, for a corpus
of one language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from hbt_ray import languages
from hbt_ray.config import UserError
from hbt_ray.data.pieces import FilePiece
from hbt_ray.data.sources import judged
from hbt_ray.data.sources.layout import Layout, Source

FOLDER = re.compile(r"(.*)/(mrtydi-v[0-9.]+-([a-z]+))/(?:collection/)?[^/]+$")
FILES = ("corpus.jsonl", "corpus.jsonl.gz", "docs.jsonl", "docs.jsonl.gz")


def read_mrtydi(piece: FilePiece, layout: Layout) -> Iterator[pa.Table]:
    """One record a query and relevant passage, made where the passage is read.

    Memory holds the queries and pairs of one language, see `judged`. The split is `train` unless the layout names
    another. The group is the query's id in its language: ids of another language mean other queries.

    Raises:
        UserError: a file is missing or truncated, or a line is of another format.
    """
    split = layout.split or "train"
    match = FOLDER.match(piece.uri)
    language = languages.named(match[3]) if match else None
    if match is None or language is None:
        raise UserError(f"{piece.uri} lies in no folder such as mrtydi-v1.1-thai, which would tell its language")
    above, folder = match[1], match[2]
    beside = [f"{root}/{folder}/ir-format-data" for root in (above, f"{judged.above(above)}/mr-tydi")]
    topics = [f"{place}/topics.{split}.txt" for place in beside] + [f"{above}/{folder}/topic.{split}.tsv"]
    qrels = [f"{place}/qrels.{split}.txt" for place in (*beside, f"{above}/{folder}")]
    return judged.read_corpus(piece, layout, language, topics, qrels)


MRTYDI = Source(read_mrtydi, FILES, reads_splits=True)
