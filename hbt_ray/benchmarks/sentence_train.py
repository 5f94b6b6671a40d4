"""sentence-transformers' trainer, for the benchmark: run as a module with a JSON task, prints pairs/s."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.util import find_spec
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from transformers import TrainerCallback

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, TrainConfig


class Clock(TrainerCallback):
    """When each step ended [s]."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def main(run: TrainConfig, tokens: int | None) -> float:
    """Pairs/s from the end of the first step to the end of the last; `tokens` is mini_batch_num_tokens."""
    torch.set_num_threads(int(run.cpus_per_worker))
    on_gpu = run.gpus_per_worker > 0
    own_attention = {"attn_implementation": "flash_attention_2"} if on_gpu and find_spec("flash_attn") else {}
    dropouts = _dropouts(run.encoder)
    model = SentenceTransformer(
        run.encoder.model, device="cuda" if on_gpu else "cpu", model_kwargs=own_attention, config_kwargs=dropouts
    )
    pairs = storage.read_parquet(f"{run.out}/pairs.parquet", ["query", "passage"])
    columns = {"anchor": pairs["query"].to_pylist(), "positive": pairs["passage"].to_pylist()}
    own: dict[str, Any] = {} if tokens is None else {"mini_batch_num_tokens": tokens}
    loss = CachedMultipleNegativesRankingLoss(model, scale=1 / run.loss[0].temperature, **own)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            max_steps=run.length,
            per_device_train_batch_size=run.batches.batch_size,
            learning_rate=run.optimizer.learning_rate,
            bf16=run.encoder.precision == "bf16",
            use_cpu=not on_gpu,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[clock]
        ).train()
    return run.batches.batch_size * (len(clock.times) - 1) / (clock.times[-1] - clock.times[0])


def _dropouts(encoder: EncoderConfig) -> dict[str, float]:
    """The dropout of ours, as the settings of an XLM-R-shaped model have it."""
    if encoder.dropout is None:
        return {}
    of_attention = encoder.dropout if encoder.attention_dropout is None else encoder.attention_dropout
    return {"hidden_dropout_prob": encoder.dropout, "attention_probs_dropout_prob": of_attention}


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    print(main(TrainConfig.model_validate(task["run"]), task["tokens"]))  # noqa: T201
