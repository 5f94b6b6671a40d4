"""The training loop without Ray and DeepSpeed, for the benchmark: run as a module with a JSON task, prints pairs/s."""

from __future__ import annotations

import json
import sys
import time

import torch

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import PLAIN
from hbt_ray.config import TrainConfig
from hbt_ray.data.stores import Stores
from hbt_ray.model.build import build_encoder
from hbt_ray.train.batch import Collator
from hbt_ray.train.engine import adamw
from hbt_ray.train.losses.objective import Objective
from hbt_ray.train.step import Chunks


def main(run: TrainConfig) -> float:
    """Pairs/s from the end of the first step to the end of the last."""
    torch.set_num_threads(int(run.cpus_per_worker))
    device = torch.device("cuda" if run.gpus_per_worker else "cpu")
    store = Stores(run.data)
    plan = Plan(store, run.batches)
    encoder = build_encoder(run.encoder, store.tokenizer_uri).to(device)
    model = Chunks(encoder).train()
    objective = Objective(run.loss, run.length)
    optimizer = adamw(model, run.optimizer)
    collate = Collator(encoder, PLAIN, device, run.engine.chunk_tokens)
    (value,) = chunk.read_chunk(store, plan, 0, run.length, 1)
    times = []
    for part in chunk.slices(value, 0, 1):
        batch = collate(part)
        rows = len(batch.labels.groups)
        with torch.no_grad():
            outputs = [model([one]) for one in batch.chunks]
        found = torch.cat([vectors for vectors, _ in outputs]).requires_grad_()
        vectors = found[batch.order]
        loss, _ = objective(vectors[:rows], vectors[rows:], outputs[0][1], batch.labels, part.step)
        loss.backward()
        assert found.grad is not None
        shares = torch.split(found.grad, [len(one["input_ids"]) for one in batch.chunks])
        for one, share in zip(batch.chunks, shares, strict=True):
            (model([one])[0] * share).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        times.append(time.perf_counter())
    return run.batches.batch_size * (len(times) - 1) / (times[-1] - times[0])


if __name__ == "__main__":
    print(main(TrainConfig.model_validate(json.loads(sys.argv[1])["run"])))  # noqa: T201
