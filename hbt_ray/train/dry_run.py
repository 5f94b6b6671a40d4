"""What a run would draw and take, told from the store's manifest and the model's config, before anything starts."""

from __future__ import annotations

import math
from typing import Any

from hbt_ray.batches import forecast
from hbt_ray.batches.plan import Plan
from hbt_ray.config import TrainConfig
from hbt_ray.data.stores import Stores
from hbt_ray.model import tokenizer
from hbt_ray.model.encoder import ROLES, Role
from hbt_ray.model.limits import model_limits
from hbt_ray.model.memory import FakeEncoder
from hbt_ray.model.prompts import find_prompts
from hbt_ray.terminal import console
from hbt_ray.train import engine, memory
from hbt_ray.train.encoders import check_prefix
from hbt_ray.train.losses.describe import describe


def dry_run(config: TrainConfig, store: Stores, plan: Plan) -> dict[str, Any]:
    """Print what the run would draw and the memory it would take, each with warnings; the result is `train`'s.

    Raises:
        UserError: the model has no readable config, the store lacks texts that a prefix needs, or DeepSpeed's settings
            file cannot be read.
    """
    limits = model_limits(config.encoder)
    expected = forecast.forecast(store, plan, config.length, config.workers, (limits["query"], limits["passage"]))
    forecast.show_forecast(expected)
    for loss in config.loss:
        console().print(f"loss: {describe(loss)}", highlight=False)
    encoder = FakeEncoder(config.encoder, store.tokenizer_uri, config.lora, config.engine.activation_checkpointing)
    work = _work(config, store, expected, limits)
    found = memory.estimate(encoder, work)
    told = memory.warnings(found, engine.stage_of(config.engine), work, config.gpu_memory)
    memory.show_memory(found, encoder, work, config.gpu_memory, told)
    return {
        "dry_run": True,
        "steps": config.length,
        "plan_hash": plan.hash,
        "stores": {one.name: {"weight": one.weight, "rows": one.rows, "share": one.share} for one in expected.stores},
        "warnings": expected.warnings + told,
        "memory": {str(stage.stage): round(stage.total / memory.GIB, 3) for stage in found},
    }


def _work(config: TrainConfig, store: Stores, expected: forecast.Forecast, limits: dict[Role, int]) -> memory.Work:
    """What a rank computes in a step of the stratum with the longest texts, which chunks of like length pad little."""
    learned, texts = tokenizer.load_tokenizer(store.tokenizer_uri), find_prompts(config.encoder).prefixes
    tokens = []
    for side, role in enumerate(ROLES):
        check_prefix(learned, store, texts[role])
        template = tokenizer.Template(learned, texts[role])
        mean = max((stratum.means[side] for stratum in expected.strata if stratum.batches), default=0)
        tokens.append(min(math.ceil(mean) + len(template.head) + len(template.tail), limits[role]))
    rows = config.batches.batch_size // config.workers
    chunk_tokens = config.engine.chunk_tokens if config.engine.gradcache else None
    return memory.Work(config.workers, rows, tokens[0], tokens[1], config.optimizer.hard_negatives, chunk_tokens)
