"""Settings of `train`: the batches, the encoder, the engine and the optimizer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.encoding import EncodingConfig
from hbt_ray.config.losses import InfoNCEConfig, KLConfig, Losses, MarginMSEConfig
from hbt_ray.config.stores import Data
from hbt_ray.config.uris import ModelName, OutUri, Uri

Logger = Literal["mlflow", "wandb"]
RUN_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$"  # of a folder, in its folder


class PlanConfig(Section):
    """How global batches are composed (arXiv 2408.10536, section 3): the settings that make the plan hash."""

    strategy: Literal["x-x", "x-y", "hybrid"] = Field("hybrid", description="monolingual, cross-lingual or both")
    alpha: float = Field(0.5, ge=0, le=1, description="hybrid: share of monolingual batches [probability]")
    last_alpha: float | None = Field(
        None, ge=0, le=1, description="hybrid: where alpha goes in a straight line, over --alpha-steps; unset: it stays"
    )
    alpha_steps: int | None = Field(None, ge=1, description="after which alpha has come to --last-alpha [steps]")
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

    @model_validator(mode="after")
    def _check(self) -> PlanConfig:
        if (self.last_alpha is None) != (self.alpha_steps is None):
            raise ValueError("say both --last-alpha and --alpha-steps, or neither")
        if self.last_alpha is not None and self.strategy != "hybrid":
            raise ValueError(f"--last-alpha: --strategy {self.strategy} has no share that could change")
        return self


class EncoderConfig(Section):
    """Which encoder, and how a text becomes one vector. Unset fields follow the model's own settings."""

    model: ModelName = Field(
        description="hub id, folder, or a random-weight size: nano, tiny, mini, small, base, large"
    )
    revision: str | None = Field(None, description="of a hub id: branch, tag or commit; unset: the newest")
    trust_remote_code: bool = Field(False, description="run code that the model brings: read it first")
    pooling: Literal["mean", "cls", "last"] | None = Field(
        None, description="unset: the model's own, else its family's, else mean"
    )
    query_prefix: str | None = Field(
        None,
        description="unset: the model's own, else its family's; else 'query: ' for a plain transformers encoder and"
        " none in sentence-transformers' layout",
    )
    passage_prefix: str | None = Field(None, description="unset: as for queries, 'passage: ' in place of 'query: '")
    instructions: dict[str, str] = Field(
        {}, description="query prefix of pairs by their source, instead of query_prefix; become prompts of the model"
    )
    max_query_tokens: int | None = Field(
        None,
        ge=4,
        description="prefix and special tokens included, at most what the model has positions for; unset: the model's"
        " own limit, of a plain transformers encoder at most its family's, else 512 [tokens]",
    )
    max_passage_tokens: int | None = Field(None, ge=4, description="the same for passages [tokens]")
    dropout: float | None = Field(None, ge=0, lt=1, description="unset: the model's own [probability]")
    attention_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="of attention's weights alone; 0 lets texts be packed in training; unset: --dropout [probability]",
    )
    precision: Literal["fp32", "bf16"] = Field("bf16", description="arithmetic of the forward pass; weights stay fp32")
    attention: Literal["auto", "varlen", "sdpa"] = Field(
        "auto", description="varlen leaves padding out; auto: varlen on CUDA in bf16 if the model allows it, else sdpa"
    )


class EngineConfig(Section):
    """How a global batch is computed: none of this decides what is learned."""

    zero_stage: int | None = Field(
        None, ge=0, le=3, description="DeepSpeed ZeRO stage; unset: that of --deepspeed, else 2"
    )
    deepspeed: Uri | None = Field(
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
    """Low-rank adapters (arXiv 2106.09685) in all linear layers. `model/` has them merged, `adapter/` alone."""

    lora_rank: int | None = Field(None, ge=1, description="train adapters of this rank only; unset: train all weights")
    lora_alpha: float = Field(16.0, gt=0, description="adapters are scaled by alpha / rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="of what goes into adapters [probability]")


class OptimizerConfig(Section):
    """AdamW, with a learning rate that warms up and falls."""

    learning_rate: float = Field(3e-5, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    warmup: float = Field(0.1, ge=0, lt=1, description="warm-up [share of steps]")
    schedule: Literal["linear", "cosine", "wsd"] = Field(
        "linear", description="how the rate falls to zero after the warm-up; wsd: at the end only"
    )
    decay: float = Field(0.1, gt=0, le=1, description="wsd: linear fall at the end [share of steps]")
    max_grad_norm: float = Field(1.0, gt=0, description="gradient clipping [L2 norm]")
    hard_negatives: int = Field(0, ge=0, description="hard negatives used of each pair [passages]")


class CheckpointEvaluation(Section):
    """A small retrieval evaluation of checkpoints while training goes on."""

    task: str | None = Field(None, description="task, as of evaluate; unset: no evaluation")
    data: Uri | None = Field(None, description="folder with the task's files, as of evaluate [URI]")
    every: int = Field(500, ge=1, description="distance of evaluations, each of a checkpoint [steps]")
    metric: Literal["monolingual", "cross-lingual", "multilingual", "mean"] = Field(
        "mean", description="whose mAP is the best checkpoint's, which becomes the model; mean: of the task's settings"
    )
    patience: int | None = Field(None, ge=1, description="stop when this many evaluations in turn were not the best")
    encoding: EncodingConfig = EncodingConfig(dtype="float32", cpus_per_actor=0)


class TrainConfig(Section):
    """Settings of `train`: stream store to model."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "data", "model", "out", "strategy", "alpha", "steps", "batch_size", "workers", "gpus_per_worker",
        "learning_rate", "zero_stage",
    )  # fmt: skip

    FREE: ClassVar[frozenset[str]] = frozenset([
        "data", "out", "dry_run", "gpu_memory", "workers", "max_workers", "gpus_per_worker", "cpus_per_worker",
        "engine", "loggers", "max_failures", "max_bad_batches", "validation", "checkpoint_every", "keep_checkpoints",
        "report_every",
    ])  # fmt: skip
    """Settings that a run may change when it resumes: none decides what is learned (the plan's hash knows the data)."""

    data: Data = Field(
        description="stream store written by prepare, or several, NAME=URI or NAME=URI:WEIGHT; of a store with weight 2"
        " rows are drawn twice as often as of one with 1, which is the default [URIs]"
    )
    out: OutUri = Field(description="folder for model/, checkpoints/, metrics.jsonl, tensorboard/ [URI]")
    name: str = Field("run", pattern=RUN_NAME, description="run name; the same name resumes the run")
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
    max_bad_batches: int = Field(
        0,
        ge=0,
        description="batches without finite gradients that are kept for inspection and skipped; one more ends the run",
    )
    max_failures: int = Field(3, ge=0, description="worker-group restarts before the run gives up")
    encoder: EncoderConfig
    batches: PlanConfig = PlanConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: Losses = (InfoNCEConfig(),)
    engine: EngineConfig = EngineConfig()
    lora: LoraConfig = LoraConfig()
    validation: CheckpointEvaluation = CheckpointEvaluation()

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("say either --steps or --epochs")
        if self.max_workers is not None and self.max_workers < self.workers:
            raise ValueError(f"--max-workers {self.max_workers} is less than --workers {self.workers}")
        if self.optimizer.schedule == "wsd" and self.optimizer.warmup + self.optimizer.decay > 1:
            raise ValueError(
                f"--warmup {self.optimizer.warmup} and --decay {self.optimizer.decay} are more than all steps"
            )
        if self.encoder.attention == "varlen" and not self.gpus_per_worker:
            raise ValueError("--attention varlen needs --gpus-per-worker")
        for one in self.loss:
            if isinstance(one, KLConfig | MarginMSEConfig) and not self.optimizer.hard_negatives:
                raise ValueError(
                    f"--loss.kind {one.kind} compares a passage with its hard negatives: say --hard-negatives"
                )
            if isinstance(one, InfoNCEConfig) and one.hardness_of == "hard" and not self.optimizer.hard_negatives:
                raise ValueError("--hardness-of hard weighs hard negatives: say --hard-negatives")
        return self

    @property
    def length(self) -> int:
        """The number of steps in the run, once `train` has turned epochs into steps."""
        assert self.steps is not None
        return self.steps
