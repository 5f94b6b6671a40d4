"""Settings of `evaluate`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from hbt_ray.config.base import Section
from hbt_ray.config.encoding import DUPLICATES, Duplicates, EncodingConfig
from hbt_ray.config.train import EncoderConfig
from hbt_ray.config.uris import ModelName, OutUri, Uri

Setting = Literal["monolingual", "cross-lingual", "multilingual"]


class EvaluatedEncoder(EncoderConfig):
    """Settings of the encoder that is evaluated. bf16 costs accuracy: all-MiniLM-L6-v2 has a mAP of .7941 on XQuAD-R in
    English in fp32, and .7928 in bf16."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of the forward pass")


class EvaluateConfig(Section):
    """Settings of `evaluate`: a model (bm25: search by words), or a run, on a task in its settings."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "task", "data", "model", "out", "cache", "settings", "run", "corpus", "language", "gpus_per_actor",
        "precision",
    )  # fmt: skip

    task: str = Field(
        description="xquad-r, mlqa-r, xquad, mlqa, tydiqa, miracl, mrtydi, msmarco, mmarco, mkqa, neuclir, pooled,"
        " belebele, xpqa, world-facts, or beir:URI for any folder in BEIR's layout"
    )
    data: Uri | None = Field(None, description="folder with the task's files [URI]; unset: where the task is published")
    corpus: Uri | None = Field(
        None, description="documents of a task that has them apart, as encode reads them [URI]; unset: as published"
    )
    language: str | None = Field(
        None, description="of files that do not tell it [tag]; a BEIR folder has en when unset"
    )
    out: OutUri = Field(
        description="folder for results.json, run.trec, qrels.trec, and what of the embeddings is not shared [URI]"
    )
    cache: OutUri | None = Field(
        None,
        description="folder of collections, shared by all that name it: what is encoded there is not encoded again"
        " [URI]; unset: in --out",
    )
    collection: OutUri | None = Field(
        None, description="the documents' own collection, made by encode or here [URI]; unset: in --cache"
    )
    text: Literal["sentence", "sentence+context"] = Field(
        "sentence", description="what a candidate's text is in xquad-r and mlqa-r"
    )
    settings: tuple[Setting, ...] = Field((), description="settings to evaluate; unset: the task's own")
    depth: int = Field(
        100, ge=1, description="length of each list in run.trec, or more where the task's measures see more [documents]"
    )
    streaming: bool = Field(
        False, description="search the embeddings where they lie, for a corpus larger than memory: slower, no index"
    )
    missing_documents: Literal["error", "count"] = Field(
        "error", description="judged documents that the corpus lacks: refuse, or count as relevant and never found"
    )
    missing_queries: Literal["error", "skip"] = Field(
        "error", description="judged queries without text: refuse, or leave out, as BEIR and MTEB do, and count them"
    )
    duplicates: Duplicates = Field("error", description=DUPLICATES)
    identical_ids: Literal["ignore", "keep"] | None = Field(
        None,
        description="documents with the id of a query: no results of it, as BEIR's evaluator has it, or results like"
        " others; unset: the task's own rule, which is to ignore them in beir:, msmarco and mmarco",
    )
    run: Uri | None = Field(
        None, description="TREC run to evaluate [URI]; nothing is encoded then, and --model is only its name"
    )
    encoder: EvaluatedEncoder
    encoding: EncodingConfig = EncodingConfig(dtype="float32")

    @field_validator("encoder", mode="before")
    @classmethod
    def _evaluated(cls, encoder: Any) -> Any:
        """Settings that were made for training or encoding: what they leave unset is as here."""
        made = isinstance(encoder, EncoderConfig) and not isinstance(encoder, EvaluatedEncoder)
        return encoder.model_dump(exclude_unset=True) if made else encoder


class CompareConfig(Section):
    """Settings of `compare`: finished evaluations of one task, each system against the first."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("runs", "out", "measures")

    runs: tuple[str, ...] = Field(
        description="systems, the baseline first; each NAME=FOLDER or FOLDER, with runs of several seeds as "
        "FOLDER,FOLDER [URIs of folders written by evaluate]"
    )
    out: OutUri = Field(description="folder for compare.json, compare.md and the plot [URI]")
    measures: tuple[str, ...] = Field(
        ("map", "rank_distance"), min_length=1, description="columns of per_query.parquet; map is its ap"
    )
    permutations: int = Field(10_000, ge=99, description="sign flips of all items, and as many bootstrap samples")
    seed: int = Field(0, ge=0, description="seed of both")


class CheckConfig(Section):
    """Settings of `check`: evaluations whose scores are known, run again."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("data", "models", "out")

    expected: Uri | None = Field(None, description="YAML file of expected scores [URI]; unset: that of this package")
    data: dict[str, Uri] = Field({}, description="folder of a task's files, as xquad-r=URI; unset: as published")
    models: dict[str, ModelName] = Field(
        {}, description="folder of a model, as org/name=URI; unset: its name is a hub id"
    )
    out: OutUri = Field(description="folder for check.json and the evaluations [URI]")
