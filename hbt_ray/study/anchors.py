"""Published scores with their sources, to hold ours beside: what anchors.yaml has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field, TypeAdapter, model_validator

from hbt_ray.config import Section, Setting


class Anchor(Section):
    """One published score.

    Attributes:
        task: name that --task takes, or of a benchmark's mean.
        model: hub name, or what the source calls it.
        strategy: x-x, x-y, hybrid, or what the source calls it; None where the model was not trained for this.
        setting: None for the mean over all subsets of the task.
        subset: part of the setting that the score is of; None for all of it.
        measure: name as in results.json.
        value: 0 to 1, or [ranks] of rank_distance.
        source: where it is published.
        differs: a sentence on how the protocol is another one than ours.
    """

    task: str = Field(min_length=1)
    model: str = Field(min_length=1)
    strategy: str | None
    setting: Setting | None
    subset: str | None
    measure: str = Field(pattern=r"^(map|rank_distance|(mrr|ndcg|recall|success|map)@[1-9]\d*)$")
    value: float = Field(ge=0)
    source: str = Field(min_length=1)
    differs: str = Field(pattern=r"^[A-Z].*\.$")


class _Column(Section):
    """What the values of a column are."""

    setting: Setting | None
    measure: str
    subset: str | None = None


class _Row(Section):
    """The values of a model, one a column; None where there is none."""

    model: str
    strategy: str | None = None
    values: tuple[float | None, ...]


class _Block(Section):
    """One table of the file."""

    task: str
    source: str
    differs: str
    columns: tuple[_Column, ...]
    rows: tuple[_Row, ...]

    @model_validator(mode="after")
    def _check(self) -> _Block:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"{self.task}, {row.model}: {len(row.values)} values in {len(self.columns)} columns")
        return self

    def anchors(self) -> Iterator[Anchor]:
        for row in self.rows:
            for column, value in zip(self.columns, row.values, strict=True):
                if value is not None:
                    yield Anchor(
                        task=self.task,
                        model=row.model,
                        strategy=row.strategy,
                        value=value,
                        source=self.source,
                        differs=self.differs,
                        **column.model_dump(),
                    )


def anchors(
    task: str | None = None,
    model: str | None = None,
    strategy: str | None = None,
    setting: Setting | None = None,
    measure: str | None = None,
) -> list[Anchor]:
    """The published scores of which everything that is given is true, in the order of the file; none may be known."""
    wanted = {"task": task, "model": model, "strategy": strategy, "setting": setting, "measure": measure}
    given = {name: value for name, value in wanted.items() if value is not None}
    return [anchor for anchor in _all() if all(getattr(anchor, name) == value for name, value in given.items())]


@cache
def _all() -> tuple[Anchor, ...]:
    return read_anchors((files("hbt_ray.study") / "anchors.yaml").read_text("utf-8"))


def read_anchors(text: str) -> tuple[Anchor, ...]:
    """The scores of a file in the layout of anchors.yaml.

    Raises:
        ValueError: a table is incomplete, or a row has another number of values than there are columns.
    """
    blocks = TypeAdapter(tuple[_Block, ...]).validate_python(yaml.safe_load(text))
    return tuple(anchor for block in blocks for anchor in block.anchors())
