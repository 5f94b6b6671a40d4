"""One process of mosaicml-streaming: `python -m hbt_ray.benchmarks.mosaic_rank '{"write" | "read": {…}}'`.

Its settings are JSON, and so is the line it ends with.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from hbt_ray.benchmarks import store
from hbt_ray.data.streams import StreamStore

VISION: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "torchvision.transforms": {},
    "torchvision.datasets": {"VisionDataset": object},
    "torchvision.transforms.functional": {"to_tensor": None},
}


def main() -> None:
    # its vision part, which is not used here, imports torchvision, which our torch may not have
    for name, content in VISION.items():
        module = sys.modules[name] = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(content)
    task = json.loads(sys.argv[1])
    said = write_mosaic(**task["write"]) if "write" in task else read_mosaic(**task["read"])
    sys.stdout.write(json.dumps(said) + "\n")


def write_mosaic(uri: str, local: str, count: int, tokens: dict[str, int]) -> dict[str, Any]:
    """The first `count` pairs of the store as MDS shards."""
    from streaming import MDSWriter

    columns = {role: f"ndarray:int32:{length}" for role, length in tokens.items()}
    with MDSWriter(out=local, columns=columns) as writer:
        for queries, passages in store.pairs(StreamStore(uri), count):
            for query, passage in zip(queries, passages, strict=True):
                writer.write({"query": query, "passage": passage})
    return {"pairs": count}


def read_mosaic(local: str, rows: int, workers: int) -> dict[str, Any]:
    """One epoch of this rank; pairs/s from its first batch to its last."""
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    dataset = StreamingDataset(local=local, shuffle=True, batch_size=rows, shuffle_seed=0)
    first, pairs = 0.0, 0
    for batch in DataLoader(dataset, batch_size=rows, num_workers=workers):
        if not first:
            first = time.perf_counter()
        else:
            pairs += len(batch["query"])
    return {"pairs_per_s": pairs / max(time.perf_counter() - first, 1e-9)}


if __name__ == "__main__":
    main()
