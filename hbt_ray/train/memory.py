"""What a rank's GPU must hold, by ZeRO stage, before anything starts: parameters and activations are counted on torch's
fake tensors, which have shapes and no memory; what DeepSpeed adds is read off its source (0.19.8, fp32 models).

An upper bound of what is alive at once, since gradients come as activations go. Not in it: CUDA itself, NCCL, the
allocator's gaps, passing temporaries of a layer and of AdamW's step; `USABLE` leaves room for these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from hbt_ray.model.memory import FakeEncoder
from hbt_ray.terminal import console, table, warn
from hbt_ray.train.engine import BUCKET
from hbt_ray.train.losses.infonce import BLOCK_SCORES

GIB = 2**30
USABLE = 0.9  # share of a GPU's memory for what is counted here
FP32 = 4  # bytes
FLAT = 500_000_000  # parameters: MEMORY_OPT_ALLREDUCE_SIZE (engine.py)
LIVE = 1_000_000_000  # parameters: max_live_parameters and max_reuse_distance (zero/config.py)


class Work(NamedTuple):
    """What a rank computes in a step.

    Attributes:
        workers: number of ranks.
        rows: number of pairs in the rank's slice.
        query_tokens, passage_tokens: length of each text, padding and special tokens included [tokens].
        hard_negatives: number of hard negatives of each row.
        chunk_tokens: size of GradCache's chunk [tokens]; None: all texts are kept until backward.
    """

    workers: int
    rows: int
    query_tokens: int
    passage_tokens: int
    hard_negatives: int = 0
    chunk_tokens: int | None = None


@dataclass(frozen=True)
class Memory:
    """The memory that a rank needs at one ZeRO stage [bytes].

    Attributes:
        weights: fp32 weights, and whole copies of the sharded ones.
        gradients: fp32 gradients.
        optimizer: two moments and the fp32 copy of the weights that ZeRO updates.
        buckets: buffers gradients are reduced in.
        activations: what forward keeps for backward, bf16 copies of the weights included.
        batch: token ids, vectors of all ranks, and scores, each with its gradient.
    """

    stage: int
    weights: int
    gradients: int
    optimizer: int
    buckets: int
    activations: int
    batch: int

    @property
    def parts(self) -> tuple[int, ...]:
        """All parts, in the order of the fields [bytes]."""
        return self.weights, self.gradients, self.optimizer, self.buckets, self.activations, self.batch

    @property
    def total(self) -> int:
        """The sum of all parts [bytes]."""
        return sum(self.parts)


def estimate(encoder: FakeEncoder, work: Work) -> list[Memory]:
    """The memory that a rank needs at each ZeRO stage, 0 to 3."""
    passages = work.rows * (1 + work.hard_negatives)
    texts = [(work.rows, work.query_tokens), (passages, work.passage_tokens)]
    if work.chunk_tokens is None:
        activations = sum(encoder.kept(*shape) for shape in texts)
    else:
        chunks = [(min(rows, max(work.chunk_tokens // tokens, 1)), tokens) for rows, tokens in texts]
        activations = max(encoder.kept(*shape) for shape in chunks)
    ids = sum(rows * tokens for rows, tokens in texts) * 2 * 8  # and attention mask, int64
    vectors = (work.rows + passages * work.workers) * encoder.width
    scores = min(work.rows * passages * work.workers, BLOCK_SCORES)
    batch = ids + (vectors + scores) * FP32 * 2
    gradcache = work.chunk_tokens is not None
    return [Memory(stage, *state(stage, encoder, work.workers, gradcache), activations, batch) for stage in range(4)]


def state(stage: int, model: FakeEncoder, workers: int, gradcache: bool = False) -> tuple[int, int, int, int]:
    """The memory of weights, gradients, optimizer and buckets on each of `workers` ranks [bytes].

    It is what DeepSpeed 0.19.8 holds of an fp32 model whose ZeRO settings are ours:

    - 0 (engine.py): AdamW on the parameters themselves; gradients are flattened by buckets to be reduced.
    - 1, 2 (zero/stage_1_and_2.py): the rank's part of the weights has a copy, `single_partition_of_fp32_groups`, also
      when they are fp32; the bucket, `ipg_buckets`, is of `BUCKET` parameters even for smaller models. Stage 1 has all
      gradients until backward ends, stage 2 the rank's part (`grads_in_partition`).
    - 3 (zero/stage3.py): shards of weights (`lp_param_buffer`), of their copy (`fp32_partitioned_groups_flat`) and of
      gradients (`grad_partitions_flat_buffer`); a bucket, and a second one while it is reduced
      (`reduce_scatter_coalesced`). Parameters that come again within `LIVE` parameters are not given back, so a smaller
      model is whole on every rank from forward to backward; those below the persistence threshold are so always.

    With GradCache, all stages have all gradients until the last chunk's are there (`coalesce_grad_reduction`).
    """
    trained, frozen = model.trained, model.frozen
    part = math.ceil(trained / workers)
    flat = min(trained, FLAT)
    weights, gradients, optimizer, buckets = {
        0: (trained + frozen, trained, 2 * trained, flat),
        1: (trained + frozen, trained, 3 * part, BUCKET),
        2: (trained + frozen, part, 3 * part, BUCKET),
        3: (
            part + math.ceil(frozen / workers) + (min(trained + frozen, LIVE) if workers > 1 else 0),
            part,
            3 * part,
            BUCKET + min(trained, BUCKET),
        ),
    }[stage]
    if gradcache and stage > 0:
        gradients = trained + (part if stage == 3 else 0)
    return weights * FP32, gradients * FP32, optimizer * FP32, buckets * FP32


def warnings(found: list[Memory], stage: int, work: Work, gpu_memory: float | None) -> list[str]:
    """One line that says what to change when `stage` does not fit GPUs of `gpu_memory` [GiB]; none when it fits."""
    if gpu_memory is None:
        return []
    room = gpu_memory * GIB * USABLE
    if found[stage].total <= room:
        return []
    fitting = [memory.stage for memory in found if memory.total <= room]
    if fitting:
        return [f"--zero-stage {stage} does not fit {gpu_memory:g} GiB, {fitting[0]} does"]
    least = min(found, key=lambda memory: memory.total)
    if least.activations < least.total / 2:
        advice = "offload the optimizer's state, or take a smaller model"
    elif work.chunk_tokens is None:
        advice = "--gradcache first"
    else:
        advice = f"fewer --chunk-tokens than {work.chunk_tokens}, then --activation-checkpointing"
    return [f"no ZeRO stage fits {gpu_memory:g} GiB: {advice}"]


def show_memory(
    found: list[Memory], encoder: FakeEncoder, work: Work, gpu_memory: float | None, told: list[str]
) -> None:
    """Print a table to stderr, a row a stage [GiB], and the warnings `told`."""
    rows = []
    for memory in found:
        row = [f"ZeRO {memory.stage}", *(f"{part / GIB:.2f}" for part in (*memory.parts, memory.total))]
        if gpu_memory is not None:
            over = memory.total / GIB - gpu_memory * USABLE
            row.append("fits" if over <= 0 else f"{over:.2f} too much")
        rows.append(row)
    screen = console()
    columns = ["GiB a worker", "weights", "gradients", "optimizer", "buckets", "activations", "batch", "total"]
    verdict = [] if gpu_memory is None else [f"{gpu_memory:g} GiB, {USABLE:.0%} usable"]
    screen.print(table([*columns, *verdict], rows))
    kept = f"GradCache, {work.chunk_tokens:,} tokens at once" if work.chunk_tokens else "all kept until backward"
    screen.print(
        f"{encoder.trained:,} parameters trained, {encoder.frozen:,} frozen; a worker has {work.rows:,} queries of "
        f"{work.query_tokens} tokens and {work.rows * (1 + work.hard_negatives):,} passages of {work.passage_tokens}, "
        f"padding included; activations: {kept}",
        highlight=False,
    )
    for line in told:
        warn(line)
