"""A road: stages in order, each a job, whose settings may name what earlier ones make."""

from __future__ import annotations

import re
from string import Template
from typing import Any, NamedTuple

from hbt_ray.command import build
from hbt_ray.config import RoadConfig, Section, UserError
from hbt_ray.config.base import quoted
from hbt_ray.submission.commands import job_settings, meant

NAME = r"[a-z][a-z0-9_-]*"


class Stage(NamedTuple):
    """One stage.

    Attributes:
        name: what the road calls it.
        job: of `jobs/`, without `.py`.
        settings: as `--config` of that job has them, references resolved.
        out: the folder that it makes [URI]; None: the job makes none.
    """

    name: str
    job: str
    settings: dict[str, Any]
    out: str | None


class _Reference(Template):
    idpattern = NAME


def stages_of(road: RoadConfig) -> list[Stage]:
    """The stages in the order of the file, each checked as its job will check it.

    Raises:
        UserError: a stage's name, job, setting or reference is wrong; the line names the stage, and the nearest name.
    """
    found: list[Stage] = []
    for name, given in road.stages.items():
        where = f"stage {name}: "
        if not re.fullmatch(NAME, name):
            raise UserError(f"{where}a name has small letters, digits, - and _, and begins with a letter")
        if not isinstance(given.get("job"), str):
            raise UserError(f"{where}job: says which of the jobs it is, and is missing{meant('job', given)}")
        model = job_settings(given["job"], where)
        outs = {stage.name: stage.out for stage in found if stage.out is not None}
        settings = _resolved({key: value for key, value in given.items() if key != "job"}, where, outs, road)
        try:
            config: Section = build(model, settings)
        except UserError as error:
            raise UserError(f"{where}{error}") from None
        found.append(Stage(name, given["job"], settings, getattr(config, "out", None)))
    return found


def _resolved(value: Any, where: str, outs: dict[str, str], road: RoadConfig) -> Any:
    """The value with what earlier stages make in place of their names."""
    if isinstance(value, dict):
        return {key: _resolved(one, where, outs, road) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one, where, outs, road) for one in value]
    if not isinstance(value, str):
        return value
    try:
        return _Reference(value).substitute(outs)
    except ValueError:
        raise UserError(f"{where}{quoted(value)}: $ begins the name of an earlier stage; a dollar sign is $$") from None
    except KeyError as error:
        name = str(error.args[0])
        why = "comes not before this one, or makes no folder" if name in road.stages else "is no stage"
        raise UserError(f"{where}{quoted(value)}: {name} {why}{meant(name, outs)}") from None
