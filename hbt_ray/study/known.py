"""What is known without a network: the shapes of models and the sizes of tasks, from two files beside this one."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field, TypeAdapter

from hbt_ray.config import Section, UserError
from hbt_ray.model.shapes import SIZES


class ModelShape(Section):
    """The dimensions of a transformer.

    Attributes:
        model, also: its hub name, and other names of it.
        heads, key_value_heads: of queries, and of keys and values; unset: the same.
        head_width: of one head; unset: width / heads.
        gated: whether feed-forward has three matrices of width x feed_forward, instead of two.
        vocabulary: size of the embedding table [pieces].
        parameters: number of all parameters.
        source: where the dimensions come from.
    """

    model: str
    also: tuple[str, ...] = ()
    layers: int
    width: int
    heads: int
    key_value_heads: int | None = None
    head_width: int | None = None
    feed_forward: int
    gated: bool = False
    vocabulary: int
    parameters: int
    source: str = Field(min_length=1)

    @property
    def attention_width(self) -> int:
        """The width of all heads of queries together."""
        return self.heads * self._head_width

    @property
    def weights(self) -> int:
        """The number of weights that every token is multiplied by: those of matrices in layers, biases left out."""
        kept = (self.heads if self.key_value_heads is None else self.key_value_heads) * self._head_width
        attention = 2 * self.width * (self.attention_width + kept)
        return self.layers * (attention + (3 if self.gated else 2) * self.width * self.feed_forward)

    @property
    def _head_width(self) -> int:
        return self.width // self.heads if self.head_width is None else self.head_width


class TaskSize(Section):
    """The size of an evaluation task; `languages` has (documents, queries) by language where that is known."""

    task: str
    documents: int
    queries: int
    source: str = Field(min_length=1)
    languages: dict[str, tuple[int, int]] = Field({})


@cache
def model_shapes() -> tuple[ModelShape, ...]:
    """Every model of models.yaml."""
    return TypeAdapter(tuple[ModelShape, ...]).validate_python(_read("models.yaml"))


@cache
def task_sizes() -> tuple[TaskSize, ...]:
    """Every task of task_sizes.yaml."""
    return TypeAdapter(tuple[TaskSize, ...]).validate_python(_read("task_sizes.yaml"))


def model_shape(model: str, vocabulary: int) -> ModelShape:
    """The shape of a random-weight size, with a vocabulary of so many pieces, or of a model by its hub name.

    Raises:
        UserError: the model is not known.
    """
    if model in SIZES:
        size = SIZES[model]
        return ModelShape(
            model=model,
            **size._asdict(),
            vocabulary=vocabulary,
            parameters=size.parameters(vocabulary),
            source="hbt_ray/model/shapes.py",
        )
    for shape in model_shapes():
        if model in (shape.model, *shape.also):
            return shape
    known = ", ".join([*SIZES, *(shape.model for shape in model_shapes())])
    raise UserError(f"the shape of {model} is not known without a network; known are {known}")


def task_size(task: str) -> TaskSize:
    """The size of a task by the name that evaluate takes.

    Raises:
        UserError: it is not known.
    """
    for size in task_sizes():
        if size.task == task:
            return size
    raise UserError(f"the size of {task} is not known; known are {', '.join(size.task for size in task_sizes())}")


def _read(name: str) -> object:
    return yaml.safe_load((files("hbt_ray.study") / name).read_text("utf-8"))
