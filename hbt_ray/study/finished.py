"""Finished evaluations, read from their folders: results.json, whoever made it, with what is used of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hbt_ray import storage
from hbt_ray.config import UserError
from hbt_ray.storage.fields import Count, Shape, check

Figures = dict[str, float | None]


class _Setting(Shape):
    map: float | None = None
    rank_distance: float | None = None
    measures: Figures = Field({})
    by_language: Figures = Field({})
    by_pair: Figures = Field({})
    by_script: Figures = Field({})
    language_share: dict[str, dict[str, float]] = Field({})


class _Counts(Shape):
    documents: Count | None


class Compared(Shape):
    """What a comparison of evaluations uses."""

    task: str
    text: str | None
    counts: _Counts


class Reported(Compared):
    """What a report uses."""

    model: str = Field(min_length=1)
    headline: list[str] = Field(min_length=1)
    settings: dict[str, _Setting]


def read_results(folder: str, shape: type[Compared]) -> dict[str, Any]:
    """What results.json of a finished evaluation says [URI of its folder].

    Raises:
        UserError: the folder holds none, or, for a report, one of MTEB's own tasks, or what `evaluate` does not write.
    """
    storage.read_manifest(folder, "evaluation")
    uri = storage.join(folder, "results.json")
    try:
        results: dict[str, Any] = storage.read_json(uri)
    except FileNotFoundError:
        raise UserError(f"no file {uri}") from None
    check(results, Shape, uri)  # it is an object
    if shape is Reported and "settings" not in results:
        raise UserError(f"{folder} is an evaluation of {results.get('task')}, which has MTEB's own results")
    check(results, shape, uri)
    return results
