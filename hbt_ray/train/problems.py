"""What ends a run on a user's mistake: a loss that is no number, or too little memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hbt_ray import storage
from hbt_ray.batches.chunk import Slice
from hbt_ray.config import TrainConfig
from hbt_ray.model.out_of_memory import is_out_of_memory
from hbt_ray.train.folder import RunFolder


def not_finite(config: TrainConfig, part: Slice, rank: int, loss: float, grad_norm: float) -> str:
    """Keep this rank's slice for inspection; returns the line to end with."""
    folder = RunFolder.of(config).not_finite(part.step)
    storage.write_parquet(storage.join(folder, f"rank-{rank:05d}.parquet"), part.pairs.replace_schema_metadata())
    return (
        f"step {part.step}: the loss is {loss}, the gradient norm {grad_norm}; {part.stratum}, queries in "
        f"{_names(part.query_languages)}, passages in {_names(part.passage_languages)}; the batch is in {folder}"
    )


@contextmanager
def out_of_memory(config: TrainConfig, step: int) -> Iterator[None]:
    """Leave a note when memory ends within the block: one rank alone is hit, the others learn of it from the note."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        storage.write_json(RunFolder.of(config).problem, {"problem": f"step {step}: {_advice(config)}"})
        raise


def told(config: TrainConfig) -> str | None:
    """What a note of an attempt before says: the run would end there again."""
    uri = RunFolder.of(config).problem
    return str(storage.read_json(uri)["problem"]) if storage.exists(uri) else None


def forget(config: TrainConfig) -> None:
    """Delete the note: settings have changed, or may have."""
    storage.remove_file(RunFolder.of(config).problem)


def _advice(config: TrainConfig) -> str:
    if not config.engine.gradcache:
        change = "say --gradcache, which keeps the activations of one chunk only"
    elif config.engine.chunk_tokens > 1024:
        change = f"say --chunk-tokens {config.engine.chunk_tokens // 2} (half of now)"
    elif not config.engine.activation_checkpointing:
        change = "say --activation-checkpointing"
    else:
        change = "say --zero-stage 3 with more --workers, or offload in a --deepspeed file"
    memory = "GPU memory" if torch.cuda.is_available() else "memory"
    return f"out of {memory} with {config.batches.batch_size} pairs among {config.workers} workers: {change}"


def _names(languages: dict[str, int]) -> str:
    return ", ".join(sorted(languages))
