"""Settings of `study`: a question, and the grid of runs that answers it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.cost import CostConfig
from hbt_ray.config.encoding import EncodingConfig
from hbt_ray.config.evaluation import Setting
from hbt_ray.config.train import RUN_NAME, EncoderConfig
from hbt_ray.config.uris import OutUri, Uri

Preset = Literal["strategies", "ratio", "sizes", "instructions", "large-models"]
Value = str | int | float | bool


class Sample(Section):
    """Pairs that need no download: the built-in world facts, which may have instruction data among them."""

    languages: tuple[str, ...] = Field((), description="of the twelve that facts are told in; none named: all [tags]")
    aligned: float = Field(0.5, ge=0, le=1, description="facts that are known to be translations [share]")
    instructions: float = Field(0.0, ge=0, lt=1, description="pairs that are an instruction and its response [share]")
    tokenizer: str = Field("train:6000", description="tokenizer, as of prepare")


class Mined(Section):
    """Hard negatives for the pairs of a store: found once, and shared by all cells that ask for the same."""

    corpus: Uri = Field(description="passages to find them among, as encode reads them [URI]")
    language: str | None = Field(None, description="of a corpus whose files do not tell it [BCP-47]")
    encoder: EncoderConfig
    encoding: EncodingConfig = EncodingConfig(dtype="float32")
    negatives: int = Field(4, ge=1, description="hard negatives of each pair, at most [passages]")
    depth: int = Field(50, ge=1, description="best passages of each query that are looked at [passages]")
    share: float = Field(0.95, gt=0, description="a negative scores below this share of the positive's")


class TaskSettings(Section):
    """A task that every cell is evaluated on: settings of `evaluate`, and the languages that the question is about."""

    task: str = Field(description="task, as of evaluate")
    languages: tuple[str, ...] = Field((), description="languages it has to serve; none named: those it has [BCP-47]")
    evaluate: dict[str, Any] = Field({}, description="any setting of evaluate but task, model and out")


class Answer(Section):
    """How the cells answer the question.

    Attributes:
        kind: `compare`: every value of the axis against the first; `curve`: measures over a numeric axis, with bands;
            `scaling`: the difference of two values of `between` over model sizes, with fits.
    """

    kind: Literal["compare", "curve", "scaling"] = "compare"
    axis: str = Field(description="the axis that the question is about; others are told apart, seeds averaged")
    baseline: str | int | float | None = Field(
        None, description="the value of the axis that others are compared with, chosen beforehand; unset: the first"
    )
    between: tuple[str, Value, Value] | None = Field(
        None, description="scaling: another axis, the value that gains and the one that is its baseline"
    )
    gpu_hours: float | None = Field(
        None, gt=0, description="scaling: name the best choice that so many estimated GPU-hours a run pay for"
    )
    setting: Setting = Field("multilingual", description="setting of the measure that the first sentence is about")
    measure: str = Field("map", description="measure that the first sentence is about")


class EarlyEnd(Section):
    """Ending cells that have no hope: Ray Tune's ASHA scheduler on the evaluations of checkpoints."""

    grace: int = Field(ge=1, description="every cell gets as many evaluations of checkpoints before it can be ended")
    reduction: float = Field(3, gt=1, description="of as many cells, one goes on at each rung")


class Budget(Section):
    """What the study may take; cells are taken in the grid's order while their estimates fit."""

    gpu_hours: float | None = Field(None, gt=0, description="estimated hours of one GPU, over all cells")
    cost: float | None = Field(None, gt=0, description="estimated price, over all cells [currency of --price]")


class Grid(Section):
    """A study: every combination of the values of its axes is a cell, that is a training run and its evaluations.

    A value of an axis is the value of a setting of `train`, called as the axis is; `store` names a store, or several
    with their weights (`facts:2 more`). Where the values of an axis have names (`small: {model: …, learning_rate: …}`),
    each stands for several settings at once.
    """

    name: str = Field(pattern=RUN_NAME, description="what the study is called; decides nothing")
    question: str = Field(description="what is asked, in a sentence")
    answer: Answer
    stores: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="name to settings of prepare but out, with {mine: …} for hard negatives, or to {sample: …} for the"
        " built-in facts",
    )
    tasks: tuple[TaskSettings, ...] = Field(min_length=1)
    fixed: dict[str, Any] = Field({}, description="settings of train that all cells share")
    axes: dict[str, list[Value] | dict[str, dict[str, Any]]] = Field(min_length=1)
    budget: Budget = Budget()
    early_end: EarlyEnd | None = None
    published: tuple[str, ...] = Field(
        (), description="tasks whose published scores stand beside the study's, besides its own tasks"
    )
    notes: tuple[str, ...] = Field((), description="what a reader has to know of the set-up, a sentence each")

    @model_validator(mode="after")
    def _check(self) -> Grid:
        for name, values in self.axes.items():
            if not values:
                raise ValueError(f"axes.{name} has no value")
        if self.answer.axis not in self.axes:
            raise ValueError(f"answer.axis: {self.answer.axis} is none of the axes {', '.join(self.axes)}")
        if self.answer.kind == "scaling" and self.answer.between is None:
            raise ValueError("answer.between: scaling needs the axis and the two values whose difference scales")
        if self.answer.between is not None and self.answer.between[0] not in self.axes:
            raise ValueError(f"answer.between: {self.answer.between[0]} is none of the axes {', '.join(self.axes)}")
        return self


class StudyConfig(Section):
    """Settings of `study`: a grid of training runs and their evaluations, run and answered."""

    MOST_USED: ClassVar[tuple[str, ...]] = (
        "preset", "scale", "grid", "out", "dry_run", "parallel", "mfu",
        "gpu_hour_price",
    )  # fmt: skip

    preset: Preset | None = Field(None, description="one of the five questions that come with the package")
    scale: Literal["tiny", "full"] = Field(
        "tiny", description="of a preset: minutes on one machine with built-in data, or real data and models"
    )
    grid: Uri | None = Field(None, description="a grid of your own instead [URI of a YAML file]")
    out: OutUri = Field(description="folder for stores, runs, evaluations, results.parquet and report/ [URI]")
    dry_run: bool = Field(False, description="list the cells with what they will take, and what is done; then end")
    parallel: int | None = Field(
        None, ge=1, description="cells at once; unset: as many as the CPUs and GPUs of the cluster hold"
    )
    cost: CostConfig = CostConfig()
    retries: int = Field(1, ge=0, description="times that a cell which failed is tried again, where that can help")

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        if (self.preset is None) == (self.grid is None):
            raise ValueError("say either --preset or --grid")
        return self
