"""Settings of `soup`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.uris import ModelName, OutUri, Uri


class SoupConfig(Section):
    """Settings of `soup`: models, or checkpoints of a run, to the model of their mean weights."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("models", "weights", "run", "out")

    models: tuple[ModelName, ...] = Field((), description="models of one shape: folders or hub ids; or say --run")
    weights: tuple[float, ...] = Field((), description="share of each model, in proportion; none: all alike")
    run: Uri | None = Field(
        None, description="output folder of a finished run, whose kept checkpoints are averaged instead [URI]"
    )
    trust_remote_code: bool = Field(False, description="run code that the models bring: read it first")
    out: OutUri = Field(description="folder for model/ [URI]")

    @model_validator(mode="after")
    def _check(self) -> SoupConfig:
        if (self.run is None) == (not self.models):
            raise ValueError("say either --models or --run")
        if self.run is None and len(self.models) < 2:
            raise ValueError("--models: two at least are averaged")
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"--weights: {len(self.weights)} of them for {len(self.models)} models")
        if any(not weight > 0 for weight in self.weights):
            raise ValueError("--weights: each has to be greater than 0")
        return self
