"""One step's gradients under DeepSpeed: the chunks of a batch in one graph, or one after the other with GradCache."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hbt_ray.config.losses import LossConfig
from hbt_ray.model.encoder import Encoder
from hbt_ray.train.batch import Batch
from hbt_ray.train.losses.temperature import Temperatures

TRIM_CHUNKS = 4  # between two returns of freed memory: some percent of the time of chunks of the smallest models
FEW_CHUNKS = 16  # of a batch that leaves too few holes to be worth it
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Chunks(nn.Module):
    """What DeepSpeed wraps: the encoder over any number of chunks, so that they are one forward of the engine, and what
    else is trained."""

    def __init__(self, encoder: Encoder, losses: Sequence[LossConfig] = ()) -> None:
        """`losses`: that may train their temperatures."""
        super().__init__()
        self.encoder = encoder
        self.temperatures = Temperatures(losses)

    def forward(self, chunks: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The unit vectors, fp32 [texts, width], of the texts of all chunks, in their order, and the trained
        temperatures, fp32 [losses that train theirs]."""
        vectors = []
        for chunk in chunks:
            torch.manual_seed(chunk["seed"])  # a chunk that is encoded again meets the same dropout
            vectors.append(self.encoder(chunk["input_ids"], chunk["attention_mask"], chunk["unpooled"]))
        return torch.cat(vectors), self.temperatures()


def backward(
    engine: Any, batch: Batch, objective: Objective, gradcache: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Have `engine` hold the gradients of the batch, ready for its `step`; returns what `objective` does, detached.

    With `gradcache`, the activations of one chunk at a time are kept: vectors first, without a graph, then their
    gradients, then each chunk once more with its share of these (Gao et al. 2021, arXiv 2101.06983). The gradients of
    all chunks are reduced over the ranks once. All ranks have the same number of chunks.

    Args:
        objective: gives the loss, [], and the groups of the global batch, int64 [rows * ranks], of the vectors of
            queries and passages, fp32 [rows, width] and [rows * (1 + hard negatives), width], and of the trained
            temperatures.
    """
    rows = len(batch.labels.groups)
    if not gradcache:
        vectors, temperatures = engine(batch.chunks)
        vectors = vectors[batch.order]
        loss, groups = objective(vectors[:rows], vectors[rows:], temperatures)
        engine.backward(loss)
        return loss.detach(), groups
    with torch.no_grad():
        outputs = [engine([chunk]) for chunk in _sparingly(batch.chunks)]
    found, temperatures = torch.cat([vectors for vectors, _ in outputs]).requires_grad_(), outputs[0][1]
    temperatures.requires_grad_()
    vectors = found[batch.order]
    loss, groups = objective(vectors[:rows], vectors[rows:], temperatures)
    loss.backward()
    assert found.grad is not None
    shares = torch.split(found.grad, [len(chunk["input_ids"]) for chunk in batch.chunks])
    of_temperatures = torch.zeros_like(temperatures) if temperatures.grad is None else temperatures.grad
    with _one_reduction(engine) as before:
        for number, (chunk, share) in enumerate(zip(_sparingly(batch.chunks), shares, strict=True)):
            last = number == len(shares) - 1
            before(last)
            again, temperatures = engine([chunk])
            engine.backward((again * share).sum() + (temperatures * of_temperatures).sum() * last)
    return loss.detach(), groups


def _sparingly(chunks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The chunks, one after the other; on a CPU, what is freed meanwhile is returned now and then.

    Chunks of many shapes leave holes of many sizes, which glibc keeps: more with every chunk.
    """
    libc = ctypes.CDLL(None)
    trims = len(chunks) > FEW_CHUNKS and not torch.cuda.is_available() and hasattr(libc, "malloc_trim")
    for number, chunk in enumerate(chunks, 1):
        yield chunk
        if trims and (number % TRIM_CHUNKS == 0 or number == len(chunks)):
            libc.malloc_trim(0)


@contextmanager
def _one_reduction(engine: Any) -> Iterator[Callable[[bool], None]]:
    """Backward passes of one step; call what it gives before each with whether it is the last.

    Without this, ZeRO 1 and 2 reduce at every backward pass and keep the last one's gradients only.
    """
    if engine.zero_optimization_stage() == 0:
        yield engine.set_gradient_accumulation_boundary
    else:
        with engine.coalesce_grad_reduction():
            yield lambda last: None
