"""A step of a real encoder in fp64: its texts, and what computes them exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from hbt_ray.batches.chunk import Slice
from hbt_ray.config import EncoderConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder
from hbt_ray.train import step

ROWS = 16


def encoder_of(folder: str, dropout: float = 0.0) -> Encoder:
    config = EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24, precision="fp32", dropout=dropout)
    return build_encoder(config, folder)


def in_double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


class InDouble(TorchFunctionMode):
    """What weights take part in is computed in fp64. DeepSpeed knows fp32 weights only, and two orders of adding up a
    gradient in fp32 already differ by 1e-6."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (functional.linear, functional.embedding, functional.layer_norm):
            args, kwargs = tree_map_only(
                torch.Tensor, lambda x: x.double() if x.is_floating_point() else x, (args, kwargs)
            )
        return func(*args, **kwargs)


class ExactChunks(step.Chunks):
    def forward(self, chunks: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
        with InDouble():
            return super().forward(chunks)


def whole_batch(folder: str) -> Slice:
    """Texts of many lengths of two sources, with what makes masks: translations, two answers of a query, a repeated
    passage, missing hard negatives; hard negatives have scores."""
    known = tokenizer.load_tokenizer(folder)
    texts = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[: 90 * ROWS : 30]]

    def tokens(rows: list[str]) -> list[list[int]]:
        return known(rows, add_special_tokens=False)["input_ids"] if rows else []

    passages = [text[: 4 + 3 * row] for row, text in enumerate(texts[:ROWS])]
    passages[7] = passages[3]
    negatives = [[] if row % 5 == 0 else [texts[ROWS + row][: 60 - 3 * row]] for row in range(ROWS)]
    groups = list(range(ROWS))
    groups[9] = groups[2]
    queries = [text[::-1][: 50 - 2 * row] for row, text in enumerate(texts[:ROWS])]
    queries[12] = queries[5]
    scores = [
        [float(row % 4), float(-row % 3)][: 1 + len(found)] if found else [] for row, found in enumerate(negatives)
    ]
    columns = {
        "group": pa.array(groups, pa.int64()),
        "source": pa.array([("faq", "news")[row % 3 > 0] for row in range(ROWS)]).dictionary_encode(),
        "query": pa.array(tokens(queries)),
        "passage": pa.array(tokens(passages), pa.list_(pa.int32())),
        "negatives": pa.array([tokens(rows) for rows in negatives], pa.list_(pa.list_(pa.int32()))),
        "scores": pa.array(scores, pa.list_(pa.float32())),
    }
    columns["query"] = columns["query"].cast(pa.list_(pa.int32()))
    return Slice(0, "mono:de", {}, {}, pa.table(columns))


@pytest.fixture(scope="session")
def exact_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("gradients"))
    texts = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:300]]
    tokenizer.learn([f"query: passage: {text}" for text in texts * 5], 500).save_pretrained(path)
    # ZeRO 3 would put its own function in the place of torch's linear
    Path(path, "deepspeed.json").write_text(json.dumps({"zero_optimization": {"memory_efficient_linear": False}}))
    return path
