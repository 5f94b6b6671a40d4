"""Settings of `submit` and `road`."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from hbt_ray.config.base import Section
from hbt_ray.config.uris import Uri


class RoadConfig(Section):
    """Settings of `road`: jobs in order, each a stage with a name, whose outputs later stages name as `$stage`."""

    stages: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="name: {job: train, …}, where … are settings as --config of that job has them; in a text $name is"
        " the --out of an earlier stage, $$ a dollar sign",
    )


class SubmitConfig(Section):
    """Settings of `submit`: a job, given behind --, or a road, on a Ray cluster; follow it, end with its exit code."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("address", "road", "id", "wait")

    address: str = Field(
        "http://127.0.0.1:8265", pattern="^https?://[^/]+", description="dashboard of the cluster [URL]"
    )
    road: Uri | None = Field(None, description="YAML file of stages to run, instead of a command behind -- [URI]")
    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="what the submission is called; unset: made of command and code. One with the same id that runs is"
        " followed, one that has succeeded is not run again",
    )
    wait: bool = Field(True, description="follow the job, and end with its exit code")
    patience: float = Field(
        900, ge=0, description="time for which a head that was lost is waited for, before the job is given up [s]"
    )
