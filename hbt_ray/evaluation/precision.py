"""The precision that an evaluation computes in: fp32 where no GPU encodes, unless another is asked for.

On a CPU bf16 is no faster, and costs accuracy: all-MiniLM-L6-v2 has a mAP of .7941 on XQuAD-R in English in fp32, and
.7928 in bf16.
"""

from __future__ import annotations

from hbt_ray.config import EvaluateConfig
from hbt_ray.evaluation import bm25


def settled(config: EvaluateConfig) -> EvaluateConfig:
    """The settings with the precision that is meant."""
    encoder = config.encoder
    if not encodes(config) or config.encoding.gpus_per_actor or "precision" in encoder.model_fields_set:
        return config
    return config.model_copy(update={"encoder": encoder.model_copy(update={"precision": "fp32"})})


def of(config: EvaluateConfig) -> str | None:
    """What results say of it; None where nothing is encoded."""
    return config.encoder.precision if encodes(config) else None


def encodes(config: EvaluateConfig) -> bool:
    """Whether a model encodes, and not a run or BM25 is evaluated."""
    return config.run is None and config.encoder.model != bm25.MODEL
