"""A small study: a grid of two cells and two seeds, and evaluations as `evaluate` leaves them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from hbt_ray import storage
from hbt_ray.config import Grid
from hbt_ray.study.grid.cells import Cell
from hbt_ray.study.grid.folder import StudyFolder

LANGUAGES = ("de", "en", "ja")
TEXTS = {"query_prefix": "", "passage_prefix": "", "max_query_tokens": 32, "max_passage_tokens": 32, "dropout": 0.0,
         "precision": "fp32"}  # fmt: skip


def grid(**changes: Any) -> Grid:
    """A grid over alpha and seeds on the built-in facts in three languages."""
    settings: dict[str, Any] = {
        "name": "small",
        "question": "Which alpha?",
        "answer": {"kind": "curve", "axis": "alpha", "baseline": 0.5},
        "stores": {"facts": {"sample": {"languages": LANGUAGES, "tokenizer": "train:2000"}}},
        "tasks": [{"task": "world-facts", "languages": LANGUAGES,
                   "evaluate": {"encoding": {"dtype": "float32", "cpus_per_actor": 0.5, "tokenizers": 1}}}],
        "fixed": {"model": "nano", "steps": 8, "batch_size": 32, "learning_rate": 0.01, "temperature": 0.05,
                  "encoder": TEXTS},
        "axes": {"alpha": [0.0, 0.5], "seed": [0, 1]},
    }  # fmt: skip
    return Grid.model_validate({**settings, **changes})


def rows(quality: float, seed: int = 0, items: int = 30) -> pa.Table:
    """Per-query results whose mAP is about `quality`."""
    rng = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for item in range(items):
        for lang in LANGUAGES:
            for pool in (*LANGUAGES, "all"):
                setting = "multilingual" if pool == "all" else "monolingual" if pool == lang else "cross-lingual"
                found.append({
                    "query": f"{lang}:q{item}", "lang": lang, "item": f"q{item}", "setting": setting, "pool": pool,
                    "relevant": 1, "ap": float(np.clip(quality + rng.normal(0, 0.05), 0, 1)), "ranks": [1],
                    "rank_distance": float(rng.integers(1, 90)) if pool == "all" else None, "mrr@10": 0.5,
                })  # fmt: skip
    return pa.Table.from_pylist(found)


def finish(study: Grid, cell: Cell, folder: StudyFolder, table: pa.Table, parameters: int = 1000) -> None:
    """Leave the cell as if it had been trained and evaluated."""
    about = {"steps": 8, "plan_hash": "hash", "plan": {"store": "sum"}, "parameters": parameters}
    storage.commit(folder.training(cell), "model", about)
    storage.write_bytes(storage.join(folder.training(cell), "model", "README.md"), b"# card\n")
    for task in study.tasks:
        out = folder.evaluation(cell, task)
        results = {"task": task.task, "text": "sentence", "counts": {"documents": 90, "queries": 90}}
        storage.write_json(storage.join(out, "results.json"), results)
        storage.write_json(storage.join(out, "mteb", "world-facts.json"), {"task_name": task.task})
        storage.write_parquet(storage.join(out, "per_query.parquet"), table)
        storage.commit(out, "evaluation", {})
