"""Evaluation tasks by name."""

from __future__ import annotations

from collections.abc import Callable

from hbt_ray.config import UserError
from hbt_ray.evaluation.tasks import world_facts, xquad_r
from hbt_ray.evaluation.tasks.base import Task

LOADERS: dict[str, Callable[[str, str], Task]] = {"xquad-r": xquad_r.load, "world-facts": world_facts.load}


def load(name: str, data: str, text: str) -> Task:
    """The task `name` from its files.

    Args:
        data: folder with the task's files, URI.
        text: what a candidate's text is, `sentence` or `sentence+context`.

    Raises:
        UserError: there is no such task, or its files are missing or malformed.
    """
    if name not in LOADERS:
        raise UserError(f"--task: no task {name}; there are {', '.join(LOADERS)}")
    return LOADERS[name](data, text)
