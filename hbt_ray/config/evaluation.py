"""Settings of `evaluate`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.encoding import DUPLICATES, Duplicates, EncodingConfig
from hbt_ray.config.train import EncoderConfig
from hbt_ray.config.uris import ModelName, OutUri, Uri, absolute

BM25 = "bm25"  # what --model and --fuse call the ranking by words
RRF_K = 60  # of Cormack et al. 2009
RERANK_DEPTH = 100  # documents
Setting = Literal["monolingual", "cross-lingual", "multilingual"]


FusedRanking = Annotated[str, AfterValidator(lambda name: name if name == BM25 else absolute(name))]
"""`bm25`, or a TREC run file, of which a local path is made absolute."""


class EvaluatedEncoder(EncoderConfig):
    """Settings of the encoder that is evaluated. bf16 costs accuracy: all-MiniLM-L6-v2 has a mAP of .7941 on XQuAD-R in
    English in fp32, and .7928 in bf16."""

    precision: Literal["fp32", "bf16"] = Field("fp32", description="arithmetic of the forward pass")


class EvaluateConfig(Section):
    """Settings of `evaluate`: a model (bm25: search by words), or a run, on a task in its settings."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "task", "data", "model", "out", "cache", "settings", "run", "corpus", "language", "gpus_per_actor",
        "precision", "fuse", "fusion", "fusion_weights", "rerank", "rerank_depth",
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
    fuse: tuple[FusedRanking, ...] = Field(
        (), description="rankings to fuse with that of --model or --run: bm25, and TREC runs [URIs]"
    )
    fusion: Literal["rrf", "weighted"] = Field(
        "rrf", description="how: by reciprocal ranks, or by weights of scores that are scaled to 0..1 in each list"
    )
    fusion_weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        (), description="of --fusion weighted: the weight of --model or --run, then of each of --fuse"
    )
    rrf_k: int = Field(RRF_K, ge=0, description="of --fusion rrf: a document at rank r gets 1 / (k + r)")
    rerank: ModelName | None = Field(
        None, description="cross-encoder that ranks the first documents of every list anew [hub id or folder]"
    )
    rerank_depth: int = Field(RERANK_DEPTH, ge=1, description="how many it ranks of each list [documents]")
    encoder: EvaluatedEncoder
    encoding: EncodingConfig = EncodingConfig(dtype="float32")

    @field_validator("encoder", mode="before")
    @classmethod
    def _evaluated(cls, encoder: Any) -> Any:
        """Settings that were made for training or encoding: what they leave unset is as here."""
        made = isinstance(encoder, EncoderConfig) and not isinstance(encoder, EvaluatedEncoder)
        return encoder.model_dump(exclude_unset=True) if made else encoder

    @property
    def encodes(self) -> bool:
        """Whether a model encodes texts."""
        return self.run is None and self.encoder.model != BM25

    @model_validator(mode="after")
    def _fusible(self) -> EvaluateConfig:
        if not self.fuse and (self.fusion != "rrf" or self.fusion_weights or self.rrf_k != RRF_K):
            raise ValueError("--fuse names nothing to fuse, which --fusion, --fusion-weights and --rrf-k are about")
        if self.rerank is None and self.rerank_depth != RERANK_DEPTH:
            raise ValueError("--rerank-depth: --rerank names no model")
        rankings = [self.run or self.encoder.model, *self.fuse]
        if twice := next((name for name in self.fuse if rankings.count(name) > 1), None):
            raise ValueError(f"--fuse {twice}: it is among the fused rankings already")
        if self.fusion == "rrf" and self.fusion_weights:
            raise ValueError("--fusion-weights: --fusion rrf has none; --fusion weighted has")
        if self.fusion == "weighted" and self.rrf_k != RRF_K:
            raise ValueError("--rrf-k: --fusion weighted has none; --fusion rrf has")
        if self.fusion == "weighted" and len(self.fusion_weights) != len(rankings):
            raise ValueError(
                f"--fusion-weights: {len(rankings)} rankings want {len(rankings)} weights, that of"
                f" {'--run' if self.run else '--model'} first, not {len(self.fusion_weights)}"
            )
        return self


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
