"""Where things are in the folder of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from hbt_ray import storage
from hbt_ray.config import TrainConfig

METRICS = "metrics.jsonl"
EVALUATIONS = "validation.jsonl"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's output folder, each a URI.

    Attributes:
        out: the folder itself.
        name: name of the run.
    """

    out: str
    name: str

    @classmethod
    def of(cls, config: TrainConfig) -> RunFolder:
        """The folder of a run with these settings."""
        return cls(config.out, config.name)

    @property
    def model(self) -> str:
        """The folder of the exported model."""
        return storage.join(self.out, "model")

    @property
    def adapter(self) -> str:
        """The folder of the low-rank adapters, if any were trained: the exported model has them merged."""
        return storage.join(self.out, "adapter")

    @property
    def checkpoints(self) -> str:
        """The folder of the run's checkpoints, a folder each."""
        return storage.join(self.out, "checkpoints", self.name)

    @property
    def evaluations(self) -> str:
        """The folder of what the evaluations of checkpoints found, a file and a folder each."""
        return storage.join(self.out, "validation", self.name)

    @property
    def ray_train(self) -> str:
        """The folder of what Ray Train keeps for itself."""
        return storage.join(self.out, "ray_train")

    @property
    def loggers(self) -> str:
        """The file of the ids that other loggers know the run by."""
        return storage.join(self.out, "loggers.json")

    @property
    def problem(self) -> str:
        """The note that a rank leaves when the run cannot go on."""
        return storage.join(self.out, f"problem-{self.name}.json")

    def not_finite(self, step: int) -> str:
        """The folder of the batch of a step whose loss was no number."""
        return storage.join(self.out, "not-finite", f"step-{step:09d}")


def checkpoint_of(folder: str, step: int) -> str:
    """The folder of the checkpoint after `step` steps, below that of a run's checkpoints."""
    return storage.join(folder, f"step-{step:09d}")


def complete_steps(folder: str) -> list[int]:
    """The steps of the complete checkpoints below `folder`, ascending."""
    fs, path = storage.filesystem(folder)
    if not fs.isdir(path):
        return []
    names = sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in fs.ls(path, detail=False, refresh=True))
    uris = [storage.join(folder, name) for name in names if name.startswith("step-")]
    return [int(uri.rsplit("-", 1)[-1]) for uri in uris if storage.committed(uri)]


def next_step(folder: str) -> int:
    """The step a run with checkpoints in `folder` goes on with."""
    return max(complete_steps(folder), default=0)
