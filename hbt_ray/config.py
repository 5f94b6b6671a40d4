"""The settings of every component: one frozen pydantic model each, which checks itself when it is built."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Logger = Literal["mlflow", "wandb"]
Recall = Literal["0.90", "0.95", "0.99"]


class UserError(ValueError):
    """A mistake in what the user gave. Jobs print its one line, without a traceback, and exit with 2."""


class Section(BaseModel):
    """Base of all settings: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PrepareConfig(Section):
    """Settings of `prepare`: source files to a stream store."""

    source: str = Field(description="format of the input: pairs, parallel, squad, lareqa, jsonl or world-facts")
    input: tuple[str, ...] = Field((), description="files, folders or globs to read [URIs]")
    tokenizer: str = Field(description="hub id, folder, or train:N to learn a Unigram vocabulary of N pieces")
    out: str = Field(description="folder of the new stream store [URI]")
    language: str | None = Field(None, description="language of SQuAD files whose name does not tell it [BCP-47]")
    max_tokens: int = Field(512, ge=8, description="longest text kept, the rest is cut [tokens]")
    partitions: int | None = Field(
        None, ge=1, description="parts of the distributed shuffle; unset: one for every 32 MiB of input, at most 4096"
    )
    row_group_rows: int = Field(1024, ge=1, description="unit of reading and of reshuffling between passes [rows]")
    seed: int = Field(0, ge=0, description="seed of the shuffle")
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="a bad file or an unknown language tag: stop, or skip it into quarantine/"
    )


class PlanConfig(Section):
    """How global batches are composed (arXiv 2408.10536, section 3): the settings that make the plan hash."""

    strategy: Literal["x-x", "x-y", "hybrid"] = Field("hybrid", description="monolingual, cross-lingual or both")
    alpha: float = Field(0.5, ge=0, le=1, description="hybrid: share of monolingual batches [probability]")
    batch_size: int = Field(128, ge=2, description="global batch [pairs]")
    language_exponent: float = Field(0.0, ge=0, le=1, description="language weight is rows^t; 0 uniform [t]")
    cross_batches: Literal["mixed", "pair"] = Field(
        "mixed", description="cross-lingual batch: languages mixed by row, or one ordered pair a batch"
    )
    languages: tuple[str, ...] = Field((), description="only these languages; none named: all [BCP-47]")
    pairs: tuple[str, ...] = Field(
        (), description="only these cross-lingual pairs, as de:en for German queries and English passages; none: all"
    )
    seed: int = Field(0, ge=0, description="seed of the order, and of random initial weights")


class EncoderConfig(Section):
    """Which encoder, and how a text becomes one vector. Unset fields follow the model's own settings."""

    model: str = Field(description="hub id, folder, or a random-weight size: tiny, mini, small, base, large")
    pooling: Literal["mean", "cls", "last"] | None = Field(None, description="unset: the model's own, else mean")
    query_prefix: str | None = Field(None, description="unset: the model's own, else 'query: '")
    passage_prefix: str | None = Field(None, description="unset: the model's own, else 'passage: '")
    instructions: dict[str, str] = Field(
        {}, description="query prefix of pairs by their source, instead of query_prefix; become prompts of the model"
    )
    max_query_tokens: int | None = Field(None, ge=4, description="unset: the model's own limit, at most 512 [tokens]")
    max_passage_tokens: int | None = Field(None, ge=4, description="unset: the model's own limit, at most 512 [tokens]")
    dropout: float | None = Field(None, ge=0, lt=1, description="unset: the model's own [probability]")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="arithmetic of the forward pass; weights stay fp32")
    attention: Literal["auto", "varlen", "sdpa"] = Field(
        "auto", description="varlen leaves padding out; auto: varlen on CUDA in bf16 if the model allows it, else sdpa"
    )


class EngineConfig(Section):
    """How a global batch is computed: none of this decides what is learned."""

    zero_stage: int | None = Field(
        None, ge=0, le=3, description="DeepSpeed ZeRO stage; unset: that of --deepspeed, else 2"
    )
    deepspeed: str | None = Field(
        None, description="DeepSpeed's own settings, such as offload [URI of a JSON file]; the batch is ours"
    )
    chunk_tokens: int = Field(
        16384, ge=1, description="texts of like length encoded at once by a worker [tokens, padding included]"
    )
    gradcache: bool = Field(
        False,
        description="encode every chunk twice and keep the activations of one only: memory no longer grows "
        "with the batch (arXiv 2101.06983)",
    )
    activation_checkpointing: bool = Field(False, description="keep the inputs of layers only, compute the rest twice")
    compile: bool = Field(False, description="torch.compile the layers: slow to start, faster on GPU")


class LoraConfig(Section):
    """Low-rank adapters (arXiv 2106.09685) in all linear layers; the exported model has them merged."""

    lora_rank: int | None = Field(None, ge=1, description="train adapters of this rank only; unset: train all weights")
    lora_alpha: float = Field(16.0, gt=0, description="adapters are scaled by alpha / rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="of what goes into adapters [probability]")


class OptimizerConfig(Section):
    """AdamW with linear warm-up and linear decay, and the loss's temperature."""

    learning_rate: float = Field(3e-5, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    warmup: float = Field(0.1, ge=0, lt=1, description="warm-up [share of steps]")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping [L2 norm]")
    temperature: float = Field(0.02, gt=0, description="InfoNCE temperature (our choice: the paper states none)")
    hard_negatives: int = Field(0, ge=0, description="hard negatives used of each pair [passages]")


class EncodingConfig(Section):
    """How texts are encoded: the fixed parts, the batches and the actors."""

    part_rows: int = Field(4096, ge=1, description="largest part, all of one language [texts]")
    batch_tokens: int = Field(4096, ge=64, description="texts encoded at once [tokens, padding included]")
    actors: tuple[int, int] = Field(
        (1, 1), description="encoder actors, fewest and most, as the cluster has room; one number: so many [MIN MAX]"
    )
    gpus_per_actor: float = Field(0, ge=0, description="GPUs of each actor; 0 encodes on CPU")
    cpus_per_actor: float = Field(1, ge=0, description="CPUs reserved by each actor")
    tokenizers: int = Field(
        2,
        ge=1,
        description="tokenising tasks at once for each actor; they reserve no CPU, so that none can wait for it",
    )
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        "float16", description="number format of vectors on storage"
    )

    @field_validator("actors", mode="before")
    @classmethod
    def _always_so_many(cls, value: Any) -> Any:
        """One number, also as the command line has it, is both."""
        numbers = value if isinstance(value, list | tuple) else [value]
        return [*numbers, *numbers] if len(numbers) == 1 else value

    @field_validator("actors")
    @classmethod
    def _fewest_and_most(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError("the fewest is at least 1 and the most no less")
        return value


class ValidationConfig(Section):
    """A small retrieval evaluation of checkpoints while training goes on."""

    task: str | None = Field(None, description="task, as of evaluate; unset: no evaluation")
    data: str = Field("", description="folder with the task's files [URI]")
    every: int = Field(500, ge=1, description="distance of evaluations, each of a checkpoint [steps]")
    metric: Literal["monolingual", "cross-lingual", "multilingual", "mean"] = Field(
        "mean", description="whose mAP is the best checkpoint's, which becomes the model; mean: of the three"
    )
    patience: int | None = Field(None, ge=1, description="stop when this many evaluations in turn were not the best")
    encoding: EncodingConfig = EncodingConfig(dtype="float32", cpus_per_actor=0)


class TrainConfig(Section):
    """Settings of `train`: stream store to model."""

    data: str = Field(description="stream store written by prepare [URI]")
    out: str = Field(description="folder for model/, checkpoints/, metrics.jsonl, tensorboard/ [URI]")
    name: str = Field("run", pattern=r"^[A-Za-z0-9._-]+$", description="run name; the same name resumes the run")
    steps: int | None = Field(
        None, ge=0, description="length of the run; 0 exports the untrained model [global batches]"
    )
    epochs: float | None = Field(
        None, gt=0, description="length instead of --steps: as many pairs as this many passes over all strata have"
    )
    dry_run: bool = Field(
        False, description="print what the run would draw and the memory it would take, with warnings, and end"
    )
    gpu_memory: float | None = Field(
        None,
        gt=0,
        description="--dry-run: memory of a GPU, one for each worker; unset: not said whether the run fits [GiB]",
    )
    workers: int = Field(1, ge=1, description="training processes [Ray Train workers]")
    max_workers: int | None = Field(
        None, ge=1, description="elastic: between --workers and this many, as the cluster has room; unset: --workers"
    )
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of each worker; 0 trains on CPU")
    cpus_per_worker: float = Field(1, gt=0, description="CPUs reserved by each worker")
    checkpoint_every: int = Field(500, ge=1, description="distance of checkpoints [steps]")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints kept")
    report_every: int = Field(50, ge=1, description="distance of progress lines and TensorBoard points [steps]")
    loggers: tuple[Logger, ...] = Field(
        (), description="where TensorBoard's points also go: mlflow, wandb, set up by their own environment variables"
    )
    max_failures: int = Field(3, ge=0, description="worker-group restarts before the run gives up")
    encoder: EncoderConfig
    batches: PlanConfig = PlanConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    lora: LoraConfig = LoraConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("say either --steps or --epochs")
        if self.max_workers is not None and self.max_workers < self.workers:
            raise ValueError(f"--max-workers {self.max_workers} is less than --workers {self.workers}")
        if self.encoder.attention == "varlen" and not self.gpus_per_worker:
            raise ValueError("--attention varlen needs --gpus-per-worker")
        return self

    @property
    def length(self) -> int:
        """Steps of the run, once `train` has turned epochs into steps."""
        assert self.steps is not None
        return self.steps


class EncodeConfig(Section):
    """Settings of `encode`: corpus to embedding parts."""

    corpus: str = Field(
        description="parquet with id, lang, text, optional title, or BEIR's or MIRACL's JSONL: file, folder, glob [URI]"
    )
    language: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]+$", description="language of files that do not tell it, such as BEIR's [BCP-47]"
    )
    out: str = Field(description="folder for the embedding parts [URI]")
    tokens: str | None = Field(
        None, description="folder where the corpus's tokens are kept, for any model with this tokenizer [URI]"
    )
    role: Literal["passage", "query"] = Field("passage", description="whose prefix and length limit applies")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig()


class IndexConfig(Section):
    """Settings of `index`: embedding parts to FAISS shards, one or more a language."""

    embeddings: str = Field(description="folder written by encode [URI]")
    out: str = Field(description="folder of the new index [URI]")
    shard_rows: int = Field(1_000_000, ge=1, description="largest shard, all of one language [vectors]")
    factory: str = Field("Flat", description="FAISS factory string; Flat is exact, as IVF4096,Flat or HNSW32 are not")
    train_rows: int = Field(
        200_000, ge=1, description="sample that an approximate index is trained on, of all languages [vectors]"
    )
    queries: str | None = Field(
        None, description="embeddings of queries to measure an approximate index with; unset: not measured [URI]"
    )
    recall_queries: int = Field(200, ge=1, description="sample of --queries, of all their languages [queries]")
    recall_k: int = Field(10, ge=1, description="best documents that count in recall [documents]")


class SearchConfig(Section):
    """Settings of `search`: the passages of an index that answer one query."""

    index: str = Field(description="folder written by index [URI]")
    query: str = Field(description="text to search for")
    encoder: EncoderConfig
    languages: tuple[str, ...] = Field((), description="only passages in these; none named: all [BCP-47]")
    k: int = Field(10, ge=1, description="length of the list [passages]")
    recall: Recall = Field("0.95", description="approximate index: what was measured to be found [share of the best]")


class MineConfig(Section):
    """Settings of `mine`: hard negatives for pairs, from an index of passages."""

    source: str = Field(description="format of the input, as of prepare: pairs, parallel, squad, lareqa, jsonl …")
    input: tuple[str, ...] = Field((), description="files, folders or globs with the pairs [URIs]")
    language: str | None = Field(None, description="language of SQuAD files whose name does not tell it [BCP-47]")
    index: str = Field(description="folder written by index; its corpus must still be there [URI]")
    out: str = Field(description="folder for pairs/*.parquet, which prepare reads as pairs, and audit.json [URI]")
    negatives: int = Field(4, ge=1, description="hard negatives of each pair, at most [passages]")
    depth: int = Field(50, ge=1, description="best passages of each query that are looked at [passages]")
    share: float = Field(
        0.95, gt=0, description="a negative scores below this share of the positive's [cosine / cosine]"
    )
    negatives_in: Literal["passage", "query"] = Field("passage", description="whose language the negatives are in")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig(dtype="float32")


class EvaluateConfig(Section):
    """Settings of `evaluate`: a model on a task in the three settings."""

    task: str = Field(description="xquad-r or world-facts")
    data: str = Field(description="folder with the task's files [URI]")
    out: str = Field(description="folder for results.json, run.trec, qrels.trec and the embeddings [URI]")
    text: Literal["sentence", "sentence+context"] = Field("sentence", description="what a candidate's text is")
    depth: int = Field(100, ge=1, description="length of each list in run.trec [documents]")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig(dtype="float32")


class DemoConfig(Section):
    """Settings of `demo`: the three strategies side by side on the built-in world facts."""

    out: str = Field(description="folder for store, runs, evaluations and report [URI]")
    steps: int = Field(260, ge=1, description="length of each run [global batches]")
    batch_size: int = Field(64, ge=2, description="global batch [pairs]")
    workers: int = Field(2, ge=1, description="training processes [Ray Train workers]")
    zero_stage: int = Field(2, ge=0, le=3, description="DeepSpeed ZeRO stage")
    seed: int = Field(0, ge=0, description="seed of shuffle, order and initial weights")
