"""Scores that are known, checked by evaluating again: a gate that a change of code or of a library has to pass.

As in Pyserini's two-click reproductions, a score is OK within its tolerance, close within five times that, and else a
failure. What cannot run here, for want of the model or the data, is skipped and says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from hbt_ray import storage
from hbt_ray.config import CheckConfig, EvaluateConfig, EvaluatedEncoder, Section, UserError
from hbt_ray.config.base import first_reason, quoted
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.job import user_error
from hbt_ray.parsing import read_yaml

OURS = str(files("hbt_ray.evaluation") / "expected.yaml")
CLOSE = 5  # tolerances
VERDICTS = ("OK", "close", "FAIL", "skipped")


class Expectation(Section):
    """An evaluation and its scores.

    Attributes:
        encoder: settings of the encoder, as `evaluate` has them; `model` is a hub id, or bm25.
        source: where the scores come from.
        tolerance: how far off a score may be: absolute for one up to 1, else (a rank distance) relative to it.
        settings: scores, in the shape of `settings` in results.json, each part of which may be left out.
    """

    encoder: EvaluatedEncoder
    task: str
    text: Literal["sentence", "sentence+context"] = "sentence"
    source: str
    tolerance: float = Field(gt=0)
    settings: dict[str, Any]

    @field_validator("settings")
    @classmethod
    def _has_scores(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for _, value in _leaves(settings):
            if not isinstance(value, int | float):
                raise ValueError(f"a score is {quoted(value)}, which is no number")
        return settings


def check_scores(config: CheckConfig) -> dict[str, Any]:
    """Evaluate what can run, and compare.

    Returns: what check.json holds: the number of scores of each verdict, and `scores`, one entry each.

    Raises:
        UserError: the file of expected scores is missing or malformed, or nothing of it can run.
    """
    out = config.out
    scores = []
    for entry in read_expectations(OURS if config.expected is None else config.expected):
        try:
            found, reason = evaluate(_evaluation(entry, config))["settings"], ""
        except Exception as error:
            line = user_error(error)
            if line is None:
                raise
            found, reason = None, line
        about = {"model": entry.encoder.model, "task": entry.task, "text": entry.text}
        for name, value in _leaves(entry.settings):
            scores.append(
                {**about, "score": name, "expected": value, **_judge(found, name, value, entry), "why": reason}
            )
    counts = {verdict: sum(score["verdict"] == verdict for score in scores) for verdict in VERDICTS}
    if counts["skipped"] == len(scores):
        raise UserError(f"nothing could be checked: {scores[0]['why'] if scores else 'no score is expected'}")
    result = {**counts, "scores": scores}
    storage.write_json(storage.join(out, "check.json"), result)
    return result


def read_expectations(uri: str) -> list[Expectation]:
    """The entries of a YAML file.

    Raises:
        UserError: the file is missing or no YAML, or an entry is not as `Expectation` has it.
    """
    if not storage.exists(uri):
        raise UserError(f"no expected scores at {uri}")
    try:
        return TypeAdapter(list[Expectation]).validate_python(read_yaml(uri, "--expected"))
    except ValidationError as error:
        raise UserError(f"{uri}: {first_reason(error)}") from None


def _evaluation(entry: Expectation, config: CheckConfig) -> EvaluateConfig:
    """The evaluation of an entry, in its own folder, which a second check of the same model and data takes as is."""
    model = config.models.get(entry.encoder.model, entry.encoder.model)
    folder = storage.fingerprint(entry.model_dump(include={"encoder", "task", "text"}))
    return EvaluateConfig(
        task=entry.task,
        data=config.data.get(entry.task),
        text=entry.text,
        out=storage.join(config.out, f"{entry.task.replace('/', '-')}-{folder}"),
        encoder=entry.encoder.model_copy(update={"model": model}),
    )


def _judge(found: Mapping[str, Any] | None, name: str, value: float, entry: Expectation) -> dict[str, Any]:
    if found is None:
        return {"found": None, "verdict": "skipped"}
    number = dict(_leaves(found)).get(name)
    if number is None:
        return {"found": None, "verdict": "FAIL"}
    off = abs(number - value) / (entry.tolerance * max(1.0, abs(value)))
    return {"found": number, "verdict": "OK" if off <= 1 else "close" if off <= CLOSE else "FAIL"}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """`monolingual by_language en` and its number, for every number of the tree."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name} ")
        elif value is not None:
            yield f"{prefix}{name}", value
