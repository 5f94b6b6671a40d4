"""Settings of what a run minimises: one model a kind of loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hbt_ray.config.base import Section
from hbt_ray.config.uris import Uri

Direction = Literal["query-passage", "passage-query", "query-query", "passage-passage"]


class LossConfig(Section):
    """What any loss of a run may be told."""

    weight: float = Field(1.0, gt=0, description="factor, where a run has several losses")
    sources: tuple[str, ...] = Field((), description="only for pairs of these sources; none named: of all")
    matryoshka_dims: tuple[int, ...] = Field(
        (), description="the loss of the first so many dimensions of each vector, added up; none: all dimensions alone"
    )
    matryoshka_weights: tuple[float, ...] = Field((), description="a factor for each of --matryoshka-dims; none: 1")
    temperature: float = Field(0.02, gt=0, description="divisor of cosines (our choice: the paper states none)")
    last_temperature: float | None = Field(
        None, gt=0, description="temperature of the last step, reached in a straight line; unset: it stays"
    )
    learn_temperature: bool = Field(
        False, description="train the temperature with the model, from --temperature on, as CLIP does"
    )

    @model_validator(mode="after")
    def _check(self) -> LossConfig:
        if any(dim < 1 for dim in self.matryoshka_dims) or len(set(self.matryoshka_dims)) < len(self.matryoshka_dims):
            raise ValueError("--matryoshka-dims have to be different numbers of dimensions, 1 or more")
        if self.matryoshka_weights and len(self.matryoshka_weights) != len(self.matryoshka_dims):
            raise ValueError("--matryoshka-weights: one for each of --matryoshka-dims")
        if self.learn_temperature and self.last_temperature is not None:
            raise ValueError("say either --learn-temperature or --last-temperature")
        return self


class InfoNCEConfig(LossConfig):
    """The positive against all other passages of the global batch."""

    kind: Literal["infonce"] = "infonce"
    directions: tuple[Direction, ...] = Field(
        ("query-passage",), description="infonce: what is told apart; query-passage among them"
    )
    partition: Literal["joint", "per-direction"] = Field(
        "joint", description="infonce: one softmax over all directions, or the mean of one each"
    )
    margin: float | None = Field(
        None,
        description="infonce: what scores above the positive by more than this is no negative [cosine; 0.1 for Qwen3]",
    )
    hardness: float = Field(
        0.0, ge=0, description="infonce: a negative counts e^(this * its cosine) times (LLaVE: 9, EmbeddingGemma: 5)"
    )
    hardness_of: Literal["all", "in-batch", "hard"] = Field(
        "all", description="infonce: negatives that --hardness is for: all, those of other rows, a row's own hard ones"
    )

    @model_validator(mode="after")
    def _check_directions(self) -> InfoNCEConfig:
        if "query-passage" not in self.directions or len(set(self.directions)) < len(self.directions):
            raise ValueError("--directions need query-passage, which has the positive, and each of them once")
        without = sorted({"query-query", "passage-passage"} & set(self.directions))
        if self.partition == "per-direction" and without:
            raise ValueError(f"--partition per-direction: {without[0]} by itself has no positive; say joint")
        return self


class KLConfig(LossConfig):
    """Distillation: the distribution that a reranker's scores of a row's passage and hard negatives make."""

    kind: Literal["kl"] = "kl"
    teacher_temperature: float = Field(1.0, gt=0, description="kl: divisor of the reranker's scores")


class MarginMSEConfig(LossConfig):
    """Distillation: the margins between a reranker's scores of a row's passage and of its hard negatives."""

    kind: Literal["margin-mse"] = "margin-mse"


class TeacherConfig(LossConfig):
    """Distillation: the vector of each text is drawn to a teacher's of the same text."""

    kind: Literal["teacher"] = "teacher"
    collections: tuple[Uri, ...] = Field(
        min_length=1,
        description="teacher: what encode made, by the teacher, of the queries and of the passages [URI …]",
    )
    measure: Literal["cosine", "mse"] = Field("cosine", description="teacher: distance, 1 - cosine or squared")

    @model_validator(mode="after")
    def _check_dims(self) -> TeacherConfig:
        if self.matryoshka_dims:
            raise ValueError("--matryoshka-dims are for other losses: a teacher's vector is followed in all dimensions")
        return self


class OwnLossConfig(LossConfig):
    """A loss of the user's."""

    kind: Literal["own"] = "own"
    path: str = Field(
        pattern=r"^[\w.]+:\w+$", description="own: the class, which workers can import [package.module:Class]"
    )
    options: dict[str, Any] = Field({}, description="own: what the class is made with, by the arguments' names")


Kinds = InfoNCEConfig | KLConfig | MarginMSEConfig | TeacherConfig | OwnLossConfig


def _listed(value: Any) -> Any:
    """One loss as a list; a loss of no kind is InfoNCE."""
    given = value if isinstance(value, list | tuple) else [value]
    return [{"kind": "infonce", **one} if isinstance(one, Mapping) else one for one in given]


def _one_teacher(losses: tuple[Kinds, ...]) -> tuple[Kinds, ...]:
    if sum(isinstance(one, TeacherConfig) for one in losses) > 1:
        raise ValueError("a run has one loss of kind teacher: give it the collections of all sources")
    return losses


Losses = Annotated[
    tuple[Annotated[Kinds, Field(discriminator="kind")], ...],
    BeforeValidator(_listed),
    Field(min_length=1),
    AfterValidator(_one_teacher),
]
"""What a run minimises: the weighted sum of some losses."""
