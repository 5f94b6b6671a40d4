"""A tokenizer, and a DeepSpeed file that leaves linear layers to torch, for steps in fp64 (`exact.py`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hbt_ray.data.sources import world_facts
from hbt_ray.model import tokenizer


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("gradients"))
    texts = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:300]]
    tokenizer.learn([f"query: passage: {text}" for text in texts * 5], 500).save_pretrained(path)
    # ZeRO 3 would put its own function in the place of torch's linear
    Path(path, "deepspeed.json").write_text(json.dumps({"zero_optimization": {"memory_efficient_linear": False}}))
    return path
