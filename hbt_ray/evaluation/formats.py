"""The files other tools read: TREC runs and relevance judgements, and results in the shape of MTEB's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import langcodes

from hbt_ray import storage
from hbt_ray.evaluation.rankings import Lists, Summary
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.languages import plain, script

TAG = "hbt_ray"


def write_run(uri: str, queries: Sequence[str], lists: Lists) -> None:
    """Write lists as `query Q0 document rank score tag`, ranks from 1; scores read back as the same fp32 numbers."""

    def lines() -> Iterator[str]:
        for rows, hits in lists:
            for row, ids, scores in zip(rows, hits.ids.tolist(), hits.scores.tolist(), strict=True):
                for place, (document, score) in enumerate(zip(ids, scores, strict=True), start=1):
                    if not document:  # nor has the list one further down
                        break
                    yield f"{queries[row]} Q0 {document} {place} {score:.9g} {TAG}\n"

    storage.write(uri, lambda file: file.writelines(line.encode() for line in lines()))


def write_qrels(uri: str, judgements: Mapping[str, Mapping[str, int]]) -> None:
    """Write relevance judgements as `query 0 document grade`."""
    lines = (
        f"{query} 0 {document} {grade}\n" for query, grades in judgements.items() for document, grade in grades.items()
    )
    storage.write(uri, lambda file: file.writelines(line.encode() for line in lines))


def model_label(model: str) -> str:
    """What people call a model: the last part of its id, folder or URI, or the run's name for `<run>/model`."""
    parts = [part for part in model.split("/") if part]
    return parts[-2] if parts[-1] == "model" and len(parts) > 1 else parts[-1]


def file_name(task: str) -> str:
    """A task's name as part of a file's: `beir:s3://b/scifact` is `beir-s3-b-scifact`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", task).strip("-")


def mteb(task: Task, revision: str, summary: Summary, seconds: float) -> dict[str, Any]:
    """The results as MTEB stores them; `mteb_version` is null, since mteb did not compute them.

    A subset is `ar` (monolingual), `ar-de` (query and corpus language) or `ar-all` (the multilingual pool).

    Args:
        revision: revision of the data set.
        seconds: time that the evaluation took [s].
    """
    everything = sorted({language for language, _ in summary.get("multilingual", {})})
    scores = []
    for setting, groups in summary.items():
        for (language, pool), measures in groups.items():
            tags = {language: None} | dict.fromkeys(everything if setting == "multilingual" else [pool])
            named = {name.replace("@", "_at_"): value for name, value in measures.items() if value is not None}
            scores.append({
                "hf_subset": language if setting == "monolingual" else f"{language}-{plain(pool)}",
                "languages": [_mteb_language(tag) for tag in tags],
                "main_score": measures[task.headline[0]],
                **named,
            })  # fmt: skip
    return {
        "task_name": task.name,
        "dataset_revision": revision,
        "mteb_version": None,
        "evaluation_time": seconds,
        "scores": {"test": scores},
    }


def _mteb_language(tag: str) -> str:
    """ISO 639-3 and script, `ara-Arab` for `ar`; the tag itself when it names no such language."""
    try:
        return f"{langcodes.get(plain(tag)).to_alpha3()}-{script(plain(tag))}"
    except (LookupError, ValueError):
        return tag
