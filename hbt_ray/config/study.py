"""Settings of the studies."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from hbt_ray.config.base import Section
from hbt_ray.config.uris import OutUri


class DemoConfig(Section):
    """Settings of `demo`: the three strategies side by side on the built-in world facts."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("out", "steps", "languages")

    out: OutUri = Field(description="folder for store, runs, evaluations and report [URI]")
    languages: tuple[str, ...] = Field(
        ("ar", "de", "en", "ja", "ru", "zh"),
        min_length=2,
        description="of the twelve that facts are told in [tags]",
    )
    aligned: float = Field(
        0.5, ge=0, le=1, description="share of the training facts that are known to be translations [share]"
    )
    steps: int = Field(720, ge=1, description="length of each run [global batches]")
    batch_size: int = Field(128, ge=2, description="global batch [pairs]")
    learning_rate: float = Field(1e-2, gt=0, description="peak learning rate")
    workers: int = Field(2, ge=1, description="training processes [Ray Train workers]")
    zero_stage: int = Field(2, ge=0, le=3, description="DeepSpeed ZeRO stage")
    seed: int = Field(0, ge=0, description="seed of shuffle, order and initial weights")


class ReportConfig(Section):
    """Settings of `report`: a page on finished evaluations, of one or several models and tasks."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("runs", "out", "title")

    runs: tuple[str, ...] = Field(
        min_length=1,
        description="evaluations, NAME=FOLDER or FOLDER; a name is a model's, the first is what others are compared"
        " with [URIs of folders written by evaluate]",
    )
    out: OutUri = Field(description="folder for index.html, report.md, the plots and the comparisons [URI]")
    title: str = Field("Multilingual retrieval", description="heading of the page")
