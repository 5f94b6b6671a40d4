"""The run's own record: `metrics.jsonl`, TensorBoard, and progress lines. Rank 0 keeps it.

Lines reach storage at every flush; a restart drops the lines of steps that will be trained again, so the log has every
step once.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from hbt_ray import storage

log = logging.getLogger(__name__)


class RunLog:
    """One line a step."""

    def __init__(self, out: str, start: int, steps: int, report_every: int) -> None:
        self._uri = storage.join(out, "metrics.jsonl")
        self._tensorboard_uri = storage.join(out, "tensorboard")
        self._folder = tempfile.TemporaryDirectory(prefix="hbt_ray-")
        self._tensorboard = SummaryWriter(self._folder.name, purge_step=start)
        self._steps = steps
        self._report_every = report_every
        self._kept = [line for line in read(out) if line["step"] < start]
        self._clock = time.monotonic()
        self._reported = start

    def add(self, line: dict[str, Any]) -> None:
        """Note a step: `step`, `stratum`, `kind`, `loss`, `learning_rate`, `grad_norm`, languages, `groups` digest."""
        self._kept.append(line)
        done = line["step"] + 1
        if done % self._report_every and done != self._steps:
            return
        seconds = time.monotonic() - self._clock
        recent = self._kept[-(done - self._reported) :]
        pairs = sum(sum(step["query_languages"].values()) for step in recent)
        rate = pairs / max(seconds, 1e-9)
        left = (self._steps - done) * seconds / max(done - self._reported, 1)
        loss = sum(step["loss"] for step in recent) / len(recent)
        for name, value in (("loss", loss), ("learning_rate", line["learning_rate"]), ("pairs_per_s", rate)):
            self._tensorboard.add_scalar(name, value, done)
        self._tensorboard.add_scalar("grad_norm", line["grad_norm"], done)
        log.info("step %d/%d  loss %.4f  %.0f pairs/s  %.0f s left", done, self._steps, loss, rate, left)
        self._clock, self._reported = time.monotonic(), done
        self.flush()

    def flush(self) -> None:
        """Bring storage up to date."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._kept)
        storage.write_bytes(self._uri, text.encode())
        self._tensorboard.flush()
        storage.upload(self._folder.name, self._tensorboard_uri)

    def close(self) -> None:
        self.flush()
        self._tensorboard.close()
        self._folder.cleanup()


def read(out: str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, none when it has not begun."""
    uri = storage.join(out, "metrics.jsonl")
    if not storage.exists(uri):
        return []
    return [json.loads(line) for line in storage.read_bytes(uri).decode().splitlines()]
