"""What a cell of a study costs, before anything is run.

With W the weights of a transformer's matrices, A its layers times the width of its attention heads, and texts that are
all of the assumed lengths q (queries) and p (passages, documents) [tokens]:

    forward(n texts of t tokens) = 2 W n t + 4 A n t²                                              [FLOP]
    training  = steps · passes · (forward(batch, q) + forward(batch · (1 + hard negatives), p))    [FLOP]
    encoding  = forward(documents, p) + forward(queries, q), over the cell's tasks                 [FLOP]
    GPU-hours = FLOP / (MFU · peak · 3600)
    price     = GPU-hours · price of one

`forward` is `transformer_flops` of hbt_ray/model/flops.py. There are 3 passes (backward is twice forward), and one more
each with GradCache and with activation checkpointing, which encode twice. Search, tokenising and waiting are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hbt_ray.config import CostConfig
from hbt_ray.model.flops import transformer_flops
from hbt_ray.study.known import ModelShape, model_shape, task_size
from hbt_ray.terminal import number

FP32 = TOKEN = 4  # bytes
GROUP = 8  # bytes of a row's group
STATES = 3  # of each parameter in a checkpoint: the weight and AdamW's two moments
HOUR = 3600  # seconds


@dataclass(frozen=True)
class Workload:
    """A training run, and the evaluation of its model.

    Attributes:
        name: how tables call it.
        model: hub name of a known model, or a random-weight size.
        steps: length of the run [global batches].
        batch_size: global batch [pairs].
        hard_negatives: number of hard negatives of each pair.
        gradcache, activation_checkpointing: whether texts are encoded once more for one or the other.
        tasks: evaluation tasks, by the names of task_sizes.yaml.
    """

    name: str
    model: str
    steps: int
    batch_size: int
    hard_negatives: int = 0
    gradcache: bool = False
    activation_checkpointing: bool = False
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What a cell costs.

    Attributes:
        assumed: what the figures rest on.
        parameters: number of the model's parameters.
        train_flops, encode_flops: arithmetic of the run, and of its evaluation [FLOP].
        checkpoint_bytes: checkpoints that are kept, and the model.
        vector_bytes: vectors of the tasks' documents and queries.
    """

    workload: Workload
    assumed: CostConfig
    parameters: int
    train_flops: float
    encode_flops: float
    checkpoint_bytes: int
    vector_bytes: int

    @property
    def train_hours(self) -> float:
        """The run's [GPU-hours]."""
        return self._hours(self.train_flops)

    @property
    def encode_hours(self) -> float:
        """The evaluation's [GPU-hours]."""
        return self._hours(self.encode_flops)

    @property
    def hours(self) -> float:
        """Both together [GPU-hours]."""
        return self._hours(self.train_flops + self.encode_flops)

    @property
    def price(self) -> float:
        """The price of all GPU-hours [currency]; storage is not in it."""
        return self.hours * self.assumed.gpu_hour_price

    def figures(self) -> dict[str, Any]:
        """All of it for a JSON file, the assumptions among it."""
        own = asdict(self)
        del own["assumed"]
        hours = {"train_hours": self.train_hours, "encode_hours": self.encode_hours, "hours": self.hours}
        return {**own, **hours, "price": self.price, "assumed": self.assumed.model_dump(mode="json")}

    def _hours(self, flops: float) -> float:
        return flops / (self.assumed.mfu * self.assumed.peak_tflops * 1e12 * HOUR)


def workload_cost(workload: Workload, config: CostConfig) -> Cost:
    """What it costs by the formulas above.

    Raises:
        UserError: the model's shape or a task's size is not known.
    """
    shape = model_shape(workload.model, config.vocabulary)
    tasks = [task_size(task) for task in workload.tasks]
    documents, queries = sum(task.documents for task in tasks), sum(task.queries for task in tasks)
    passages = workload.batch_size * (1 + workload.hard_negatives)
    passes = 3 + workload.gradcache + workload.activation_checkpointing
    return Cost(
        workload=workload,
        assumed=config,
        parameters=shape.parameters,
        train_flops=workload.steps * passes * _forward(shape, workload.batch_size, passages, config),
        encode_flops=_forward(shape, queries, documents, config),
        checkpoint_bytes=(config.checkpoints * STATES + 1) * shape.parameters * FP32,
        vector_bytes=(documents + queries) * shape.width * config.vector_bytes,
    )


def store_bytes(pairs: int, hard_negatives: int, config: CostConfig) -> int:
    """The size of a stream store, which the cells of a study share, before compression [bytes].

    Rows hold token ids (int32) and a group (int64), no prompts or special tokens: an upper bound.
    """
    tokens = config.query_tokens + (1 + hard_negatives) * config.passage_tokens
    return pairs * (tokens * TOKEN + GROUP)


def cost_rows(costs: Sequence[Cost]) -> list[list[str]]:
    """A table, header first and the sum last; `assumptions` belongs under it. All costs share their assumptions."""
    header = ["cell", "parameters", "training EFLOP", "encoding EFLOP", "GPU-hours", costs[0].assumed.currency]
    values = [
        (cost.train_flops, cost.encode_flops, cost.hours, cost.price, cost.checkpoint_bytes, cost.vector_bytes)
        for cost in costs
    ]
    rows = [_row(cost.workload.name, f"{cost.parameters:,}", of) for cost, of in zip(costs, values, strict=True)]
    total = _row("all", "", [sum(column) for column in zip(*values, strict=True)])
    return [[*header, "checkpoints GB", "vectors GB"], *rows, total]


def assumptions(config: CostConfig) -> str:
    """What an estimate rests on, in a sentence."""
    return (
        f"Assumed: {config.mfu:.0%} of {config.peak_tflops:g} TFLOP/s, {config.gpu_hour_price:g} {config.currency} a"
        f" GPU-hour, queries of {config.query_tokens} and passages of {config.passage_tokens} tokens, a vocabulary of"
        f" {config.vocabulary:,} pieces for random weights, {config.checkpoints} checkpoints a run,"
        f" {config.vector_bytes} bytes a number of a vector; search, tokenising and waiting left out."
    )


def _forward(shape: ModelShape, queries: int, passages: int, config: CostConfig) -> float:
    """A forward pass of so many texts [FLOP]."""
    tokens = queries * config.query_tokens + passages * config.passage_tokens
    squares = queries * config.query_tokens**2 + passages * config.passage_tokens**2
    return transformer_flops(shape.weights, shape.layers * shape.attention_width, tokens, squares, backward=False)


def _row(name: str, parameters: str, values: Sequence[float]) -> list[str]:
    training, encoding, hours, price, checkpoints, vectors = values
    flops = [number(value / 1e18, 3) for value in (training, encoding)]
    bytes_of = [number(value / 1e9, 2) for value in (checkpoints, vectors)]
    return [name, parameters, *flops, number(hours, 2), number(price, 2), *bytes_of]
