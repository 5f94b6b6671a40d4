"""The run's own record: `metrics.jsonl`, TensorBoard and other loggers, and progress lines. Rank 0 keeps it.

The first two are written to a local folder, which is the output itself when that is local, and copied to storage at
every flush. A restart drops the lines of steps that will be trained again, so the log has every step once.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hbt_ray import storage
from hbt_ray.config import Logger
from hbt_ray.terminal import progress_line
from hbt_ray.train.folder import EVALUATIONS, METRICS, TENSORBOARD
from hbt_ray.train.sinks import Sink, TensorBoard, open_loggers

MEANS = ("rank_pairs_per_s", "rank_tokens_per_s", "rank_tflops", "mfu", "padding")
log = logging.getLogger(__name__)


class RunLog:
    """Keeps one line a step."""

    def __init__(
        self, out: str, start: int, steps: int, report_every: int, name: str, loggers: Sequence[Logger]
    ) -> None:
        """Go on with the log of the run `name` in `out` from step `start`, of `steps` in all."""
        self._out = out
        self._steps = steps
        self._name = name
        self._report_every = report_every
        kept = [json.dumps(line, ensure_ascii=False) for line in read_metrics(out) if line["step"] < start]
        storage.write_bytes(storage.join(out, METRICS), "".join(f"{line}\n" for line in kept).encode())
        self._remote = not storage.is_local(out)
        self._folder = Path(tempfile.mkdtemp(prefix="hbt_ray-") if self._remote else out)
        if self._remote:
            (self._folder / METRICS).write_bytes(storage.read_bytes(storage.join(out, METRICS)))
        self._lines = (self._folder / METRICS).open("a", encoding="utf-8")
        tensorboard = TensorBoard(str(self._folder / TENSORBOARD), start)
        self._sinks: list[Sink] = [tensorboard, *open_loggers(loggers, out, name)]
        self._clock = time.monotonic()
        self._recent: list[dict[str, Any]] = []
        self._evaluations = self._folder / EVALUATIONS
        if self._remote and storage.exists(storage.join(out, EVALUATIONS)):
            self._evaluations.write_bytes(storage.read_bytes(storage.join(out, EVALUATIONS)))

    def validated(self, found: Sequence[dict[str, Any]]) -> None:
        """Note what evaluations beside the training found, each `step` and numbers, unless it is noted already."""
        known = self._evaluations.read_text("utf-8").splitlines() if self._evaluations.exists() else []
        steps = {json.loads(line)["step"] for line in known}
        for line in found:
            if line["step"] in steps:
                continue
            with self._evaluations.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            numbers = {name: value for name, value in line.items() if name != "step"}
            for sink in self._sinks:
                sink.scalars({f"validation/{name}": value for name, value in numbers.items()}, line["step"])
            shown = "  ".join(f"{name} {value:.4f}" for name, value in numbers.items())
            log.info("step %d: validation %s", line["step"], shown)

    def add(self, line: dict[str, Any]) -> None:
        """Note a step: what `loop.describe` and `Gauges.end` say of it, `learning_rate` and `grad_norm`."""
        self._lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._recent.append(line)
        done = line["step"] + 1
        if done % self._report_every and done != self._steps:
            return
        seconds = time.monotonic() - self._clock
        rate = _mean(sum(step["query_languages"].values()) for step in self._recent) * len(self._recent) / seconds
        left = (self._steps - done) * seconds / len(self._recent)
        loss = _mean(step["loss"] for step in self._recent if math.isfinite(step["loss"]))  # others were skipped
        stall = sum(step["stall_s"] for step in self._recent)
        means = [name for name in MEANS if name in line]
        points: dict[str, float] = {
            "loss": loss,
            "stall_share": stall / seconds,
            **{name: _mean(step[name] for step in self._recent) for name in means},
            **{name: line[name] for name in ("learning_rate", "grad_norm", "memory_gib")},
        }
        for sink in self._sinks:
            sink.scalars(points, done)
        about = (
            f"loss {loss:.4f}, {rate:,.0f} pairs/s, {100 * stall / seconds:.0f} % waited for data, {left:.0f} s left"
        )
        log.info(progress_line(f"train {self._name}", "steps", done, self._steps, about))
        self._lines.flush()
        self._clock, self._recent = time.monotonic(), []

    def flush(self) -> None:
        """Bring storage up to date."""
        self._lines.flush()
        if self._remote:
            storage.upload(self._folder, self._out)

    def close(self) -> None:
        """End the log and all loggers, and bring storage up to date."""
        self._lines.close()
        for sink in self._sinks:
            sink.close()
        if self._remote:
            storage.upload(self._folder, self._out)


def read_metrics(out: str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, none when it has not begun; a line that was broken off is left out."""
    uri = storage.join(out, METRICS)
    if not storage.exists(uri):
        return []
    lines = storage.read_bytes(uri).decode().split("\n")[:-1]  # what follows the last newline is unfinished
    return [json.loads(line) for line in lines]


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else math.nan
