"""Settings of `encode`, `index`, `search` and `mine`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.data import InputConfig
from hbt_ray.config.encoding import DUPLICATES, Duplicates, EncodingConfig
from hbt_ray.config.train import EncoderConfig
from hbt_ray.config.uris import ModelName, OutUri, Uri

Recall = Literal["0.90", "0.95", "0.99"]


class EncodeConfig(Section):
    """Settings of `encode`: a corpus to a collection."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "corpus", "model", "out", "role", "language", "dtype", "actors", "gpus_per_actor", "batch_tokens",
        "tokens",
    )  # fmt: skip

    corpus: Uri = Field(
        description="parquet with id, lang, text, optional title, or BEIR's or MIRACL's JSONL: file, folder, glob [URI]"
    )
    language: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]+$", description="language of files that do not tell it, such as BEIR's [BCP-47]"
    )
    duplicates: Duplicates = Field("error", description=DUPLICATES)
    out: OutUri = Field(description="collection that is made, or updated to the corpus [URI]")
    tokens: OutUri | None = Field(
        None, description="folder where texts' tokens are kept, for any model with this tokenizer [URI]"
    )
    role: Literal["passage", "query"] = Field("passage", description="whose prefix and length limit applies")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig()


class IndexConfig(Section):
    """Settings of `index`: a collection to FAISS shards, one or more a language."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("embeddings", "out", "factory", "shard_rows", "queries")

    embeddings: Uri = Field(description="collection: a folder written by encode, or one of its versions [URI]")
    out: OutUri = Field(description="folder of the new index [URI]")
    shard_rows: int = Field(1_000_000, ge=1, description="largest shard, all of one language [vectors]")
    factory: str = Field("Flat", description="FAISS factory string; Flat is exact, as IVF4096,Flat or HNSW32 are not")
    train_rows: int = Field(
        200_000, ge=1, description="sample that an approximate index is trained on, of all languages [vectors]"
    )
    queries: Uri | None = Field(
        None, description="collection of queries to measure an approximate index with; unset: not measured [URI]"
    )
    recall_queries: int = Field(200, ge=1, description="sample of --queries, of all their languages [queries]")
    recall_k: int = Field(10, ge=1, description="best documents that count in recall [documents]")


class AskingEncoder(EncoderConfig):
    """Settings of the encoder of queries; what is unset is as the documents were encoded, if `model` is unset too."""

    model: ModelName = Field("", description="hub id or folder; unset: the index's own")


class SearchConfig(Section):
    """Settings of `search`: the passages of an index, or of a running server, that answer queries."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("index", "model", "query", "languages", "k", "server", "token_file")

    index: Uri | None = Field(None, description="folder written by index [URI]")
    server: str | None = Field(
        None, pattern="^https?://", description="address of a running serve, which is asked in place of an index [URL]"
    )
    token_file: Uri | None = Field(None, description="file with the token of --server [URI]")
    collections: tuple[str, ...] = Field((), description="of --server: what is searched; none named: all")
    query: str | None = Field(None, description="text to search for; unset: each line of stdin")
    encoder: AskingEncoder = AskingEncoder()
    languages: tuple[str, ...] = Field((), description="only passages in these; none named: all [BCP-47]")
    k: int = Field(10, ge=1, description="length of the list [passages]")
    recall: Recall = Field("0.95", description="approximate index: what was measured to be found [share of the best]")
    gpus_per_actor: float = Field(0, ge=0, description="GPUs that an actor spreads its exact shards over; 0: on CPU")

    @model_validator(mode="after")
    def _one_is_asked(self) -> SearchConfig:
        if (self.index is None) == (self.server is None):
            raise ValueError("--index, --server: one of them says what is asked")
        if self.server is None and (self.token_file is not None or self.collections):
            raise ValueError("--token-file and --collections are about --server, which is not given")
        own = {"recall", "gpus_per_actor"} & self.model_fields_set
        if self.server is not None and (own or self.encoder.model_fields_set):
            raise ValueError("--server: it has its own settings of the model and the search: leave these out")
        return self


class MineConfig(InputConfig):
    """Settings of `mine`: hard negatives for pairs, from an index of passages."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "source", "input", "index", "model", "out", "negatives", "share", "depth", "negatives_in",
    )  # fmt: skip

    index: Uri = Field(description="folder written by index; its collection must still be there [URI]")
    out: OutUri = Field(description="folder for pairs/*.parquet, which prepare reads as pairs, and audit.json [URI]")
    negatives: int = Field(4, ge=1, description="hard negatives of each pair, at most [passages]")
    depth: int = Field(50, ge=1, description="best passages of each query that are looked at [passages]")
    share: float = Field(
        0.95, gt=0, description="a negative scores below this share of the positive's [cosine / cosine]"
    )
    negatives_in: Literal["passage", "query"] = Field("passage", description="whose language the negatives are in")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig(dtype="float32")
