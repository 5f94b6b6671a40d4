"""The model card of a trained model: what it is, what it was trained on and how it is used, and nothing made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from hbt_ray.batches.forecast import by_store
from hbt_ray.batches.plan import Plan
from hbt_ray.config import TrainConfig
from hbt_ray.data.stores import Stores
from hbt_ray.model.encoder import Encoder
from hbt_ray.model.shapes import SIZES
from hbt_ray.train.losses.describe import describe

PAPER = "https://arxiv.org/abs/2408.10536"
STRATEGIES = {
    "x-x": "every global batch is monolingual",
    "x-y": "every global batch is cross-lingual",
    "hybrid": "a global batch is monolingual with probability {alpha}, else cross-lingual",
}


def model_card(
    config: TrainConfig,
    store: Stores,
    plan: Plan,
    encoder: Encoder,
    steps: int,
    measures: Mapping[str, float] | None,
) -> str:
    """The text of README.md, with the front matter that the Hugging Face hub reads.

    Args:
        steps: number of global batches that these weights were trained for.
        measures: what the evaluation of this checkpoint found, by name; None: there was none.
    """
    front = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "hybrid-batch-training", "hbt_ray"],
        "language": list(plan.languages),
        **({"base_model": config.encoder.model} if _is_hub_id(config.encoder.model) else {}),
        **({"base_model_revision": revision} if (revision := config.encoder.revision or _commit(encoder)) else {}),
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {config.name}",
        _what(config, encoder),
        "## How to use it",
        usage(encoder, config.encoder.trust_remote_code),
        "## Training",
        _training(config, plan, steps),
        "### Data",
        _stores(store, plan, steps),
        _sources(store),
        f"Languages: {', '.join(plan.languages)}.",
    ]
    if measures:
        task = f"`{config.validation.task}`, evaluated while it was trained"
        parts += ["## Measures", f"On {task} (mAP; rank distance in ranks, less is better):"]
        found = [[name, f"{value:.4f}"] for name, value in measures.items() if name != "step"]
        parts.append(_table(["measure", "value"], found))
    return "\n\n".join(parts) + "\n"


def _what(config: TrainConfig, encoder: Encoder) -> str:
    model = config.encoder.model
    if model in SIZES:
        origin = f"XLM-R's architecture of size `{model}`, trained from random weights"
    else:
        origin = f"`{model.rstrip('/').rsplit('/', 1)[-1] if not _is_hub_id(model) else model}`, fine-tuned"
    return (
        f"A retriever: {origin} with [hybrid batch training]({PAPER}). It maps texts to unit vectors of {encoder.width}"
        f" numbers, whose inner product says how well a passage answers a query. Queries are cut at"
        f" {encoder.limits['query']} tokens and passages at {encoder.limits['passage']}."
    )


def _commit(encoder: Encoder) -> str | None:
    """The commit of the hub that the weights are of; None: they are not from there."""
    commit: str | None = getattr(encoder.model[0].auto_model.config, "_commit_hash", None)
    return commit


def usage(encoder: Encoder, own_code: bool) -> str:
    """How sentence-transformers loads the model and asks it, with its prompts, in Markdown."""
    prompts = [[role, f"`{prefix!r}`"] for role, prefix in encoder.prefixes.items()]
    prompts += [[f"query of `{source}`", f"`{prefix!r}`"] for source, prefix in encoder.instructions.items()]
    trusted = ", trust_remote_code=True" if own_code else ""
    code = f"""```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder"{trusted})
queries = model.encode_query(["…"])
passages = model.encode_document(["…", "…"])
scores = queries @ passages.T
```"""
    said = "`encode_query` and `encode_document` put these prompts before a text:"
    return "\n\n".join([code, said, _table(["text", "prompt"], prompts)])


def _training(config: TrainConfig, plan: Plan, steps: int) -> str:
    batches, optimizer = config.batches, config.optimizer
    alpha = f"{batches.alpha:g}"
    if batches.last_alpha is not None:
        alpha += f", going to {batches.last_alpha:g} over {batches.alpha_steps:,} steps"
    rows = [
        ["strategy", f"`{batches.strategy}`: {STRATEGIES[batches.strategy].format(alpha=alpha)}"],
        ["global batches", f"{steps:,} of {batches.batch_size:,} pairs"],
        ["language exponent", f"{batches.language_exponent:g} (0: languages are drawn uniformly)"],
        *(["loss", describe(loss)] for loss in config.loss),
        ["hard negatives", f"{optimizer.hard_negatives} a pair"],
        ["learning rate", f"{optimizer.learning_rate:g}, {optimizer.schedule} after a linear warm-up (AdamW)"],
        ["precision", config.encoder.precision],
        ["seed", str(batches.seed)],
        ["plan", f"`{plan.hash}`"],
    ]
    if config.lora.lora_rank is not None:
        rows.insert(1, ["adapters", f"LoRA of rank {config.lora.lora_rank}, merged into these weights"])
    return _table(["setting", "value"], rows)


def _stores(store: Stores, plan: Plan, steps: int) -> str:
    """What the run drew of each store."""
    found = by_store(store, plan, steps)
    rows = [[one.name, f"{one.weight:g}", f"{one.rows:,}", f"{one.drawn:,}", f"{one.share:.1%}"] for one in found]
    return _table(["store", "weight", "records", "pairs drawn", "share"], rows)


def _sources(store: Stores) -> str:
    rows = []
    for name, one in zip(store.weights, store.stores, strict=True):
        licenses = one.manifest.get("licenses", {})
        for source, count in one.counts["by_source"].items():
            rows.append([name, source, f"{count:,}", licenses.get(source, "not stated")])
    return _table(["store", "source", "records", "licence"], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in (columns, *rows)]
    return "\n".join([f"| {lines[0]} |", "|---" * len(columns) + "|", *(f"| {line} |" for line in lines[1:])])


def _is_hub_id(model: str) -> bool:
    return model not in SIZES and "://" not in model and not model.startswith("/")
