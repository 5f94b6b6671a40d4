"""Hybrid batch training of multilingual retrievers on Ray: the names a notebook needs.

    import hbt_ray
    store = hbt_ray.StreamStore("s3://bucket/store")
    hbt_ray.Plan(store, hbt_ray.PlanConfig(batch_size=1024)).batch(0)  # its rows, without training anything

A name is imported when it is first used, so that looking at a store does not load a deep-learning framework.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hbt_ray.batches.plan import Plan as Plan
    from hbt_ray.config import CompareConfig as CompareConfig
    from hbt_ray.config import EncodeConfig as EncodeConfig
    from hbt_ray.config import EncoderConfig as EncoderConfig
    from hbt_ray.config import EvaluateConfig as EvaluateConfig
    from hbt_ray.config import EvaluatedEncoder as EvaluatedEncoder
    from hbt_ray.config import IndexConfig as IndexConfig
    from hbt_ray.config import MineConfig as MineConfig
    from hbt_ray.config import PlanConfig as PlanConfig
    from hbt_ray.config import PrepareConfig as PrepareConfig
    from hbt_ray.config import TrainConfig as TrainConfig
    from hbt_ray.config import UserError as UserError
    from hbt_ray.data.prepare import prepare as prepare
    from hbt_ray.data.streams import StreamStore as StreamStore
    from hbt_ray.encode.encode import encode_corpus as encode_corpus
    from hbt_ray.evaluation.evaluate import evaluate as evaluate
    from hbt_ray.model.build import build_encoder as build_encoder
    from hbt_ray.search.build import build_index as build_index
    from hbt_ray.search.mine import mine as mine
    from hbt_ray.search.searcher import Searcher as Searcher
    from hbt_ray.study.compare import compare as compare
    from hbt_ray.train.train import train as train_model

__all__ = [
    "CompareConfig",
    "EncodeConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "EvaluatedEncoder",
    "IndexConfig",
    "MineConfig",
    "Plan",
    "PlanConfig",
    "PrepareConfig",
    "Searcher",
    "StreamStore",
    "TrainConfig",
    "UserError",
    "build_encoder",
    "build_index",
    "compare",
    "encode_corpus",
    "evaluate",
    "mine",
    "prepare",
    "train_model",
]
_PLACES = {
    **{name: ("hbt_ray.config", name) for name in __all__ if name.endswith("Config")},
    "EvaluatedEncoder": ("hbt_ray.config", "EvaluatedEncoder"),
    "Plan": ("hbt_ray.batches.plan", "Plan"),
    "Searcher": ("hbt_ray.search.searcher", "Searcher"),
    "StreamStore": ("hbt_ray.data.streams", "StreamStore"),
    "UserError": ("hbt_ray.config", "UserError"),
    "build_encoder": ("hbt_ray.model.build", "build_encoder"),
    "build_index": ("hbt_ray.search.build", "build_index"),
    "compare": ("hbt_ray.study.compare", "compare"),
    "encode_corpus": ("hbt_ray.encode.encode", "encode_corpus"),
    "evaluate": ("hbt_ray.evaluation.evaluate", "evaluate"),
    "mine": ("hbt_ray.search.mine", "mine"),
    "prepare": ("hbt_ray.data.prepare", "prepare"),
    "train_model": ("hbt_ray.train.train", "train"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("hbt-ray")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
