"""The training loop without Ray and DeepSpeed, for the benchmark: run as a module with a JSON task, prints pairs/s."""

from __future__ import annotations

import json
import sys
import time
from functools import partial

import torch

from hbt_ray.batches import chunk
from hbt_ray.batches.plan import Plan
from hbt_ray.batches.wanted import PLAIN
from hbt_ray.config import TrainConfig
from hbt_ray.data.stores import Stores
from hbt_ray.model.build import build_encoder
from hbt_ray.train.batch import Collator
from hbt_ray.train.engine import adamw
from hbt_ray.train.loss import info_nce
from hbt_ray.train.step import Chunks


def main(run: TrainConfig) -> float:
    """Pairs/s from the end of the first step to the end of the last."""
    torch.set_num_threads(int(run.cpus_per_worker))
    device = torch.device("cuda" if run.gpus_per_worker else "cpu")
    store = Stores(run.data)
    plan = Plan(store, run.batches)
    encoder = build_encoder(run.encoder, store.tokenizer_uri).to(device)
    model = Chunks(encoder).train()
    optimizer = adamw(model, run.optimizer)
    collate = Collator(encoder, PLAIN, device, run.engine.chunk_tokens)
    (value,) = chunk.read_chunk(store, plan, 0, run.length, 1)
    times = []
    for part in chunk.slices(value, 0, 1):
        batch = collate(part)
        rows = len(batch.groups)
        with torch.no_grad():
            found = torch.cat([model([one]) for one in batch.chunks])
        vectors = found.requires_grad_()[batch.order]
        loss_of = partial(info_nce, groups=batch.groups, keys=batch.keys, temperature=run.optimizer.temperature)
        loss, _ = loss_of(vectors[:rows], vectors[rows:])
        loss.backward()
        assert found.grad is not None
        shares = torch.split(found.grad, [len(one["input_ids"]) for one in batch.chunks])
        for one, share in zip(batch.chunks, shares, strict=True):
            (model([one]) * share).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        times.append(time.perf_counter())
    return run.batches.batch_size * (len(times) - 1) / (times[-1] - times[0])


if __name__ == "__main__":
    print(main(TrainConfig.model_validate(json.loads(sys.argv[1])["run"])))  # noqa: T201
