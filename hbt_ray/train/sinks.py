"""Where a run's scalars go: TensorBoard, and MLflow or Weights & Biases when asked, all the same way.

Where MLflow's server is and which project, mode or folder W&B uses is said by their own means: MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT, WANDB_MODE, WANDB_DIR, …, which the worker that logs must see as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from hbt_ray import storage
from hbt_ray.config import Logger, UserError
from hbt_ray.train.folder import RunFolder


class Sink(Protocol):
    """Takes the scalars of one run."""

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Note `values` by name, after `step` steps."""

    def close(self) -> None:
        """End the run's record."""


class TensorBoard:
    """Event files in a local folder; points after step `start` that it already holds are dropped."""

    def __init__(self, folder: str, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here, since one rank of all writes

        self._writer = SummaryWriter(folder, purge_step=start + 1)  # the first that is dropped

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Note `values` by name, after `step` steps."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # the folder may be copied to storage at any time

    def close(self) -> None:
        """End the run's record."""
        self._writer.close()


class MLflow:
    """An MLflow run; points of steps that are trained again are in it twice.

    Attributes:
        id: id of the run, by which it goes on.
    """

    def __init__(self, name: str, id: str | None) -> None:
        """Begin a new run, or go on with the one of this `id`."""
        import mlflow  # here, since it is optional and slow to load

        self._mlflow: Any = mlflow
        self.id: str = mlflow.start_run(run_id=id, run_name=name).info.run_id

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Note `values` by name, after `step` steps."""
        self._mlflow.log_metrics(values, step=step)

    def close(self) -> None:
        """End the run's record."""
        self._mlflow.end_run()


class WandB:
    """A W&B run; points of steps that are trained again are in it twice.

    Attributes:
        id: id of the run, by which it goes on.
    """

    def __init__(self, name: str, id: str | None) -> None:
        """Begin a new run, or go on with the one of this `id`."""
        import wandb  # here, since it is optional and slow to load

        self._run: Any = wandb.init(name=name, id=id, resume="allow")
        self._run.define_metric("*", step_metric="step")  # an evaluation's points come later than its step
        self.id: str = self._run.id

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Note `values` by name, after `step` steps."""
        self._run.log({**values, "step": step})

    def close(self) -> None:
        """End the run's record."""
        self._run.finish()


_LOGGERS: dict[Logger, type[MLflow] | type[WandB]] = {"mlflow": MLflow, "wandb": WandB}


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Check that the libraries of the loggers are there.

    Raises:
        UserError: the library of one of them is not installed.
    """
    for logger in loggers:
        found = find_spec(logger)
        if found is None or found.origin is None:  # a mere folder of this name, as W&B leaves them, has no origin
            raise UserError(f"--loggers {logger}: {logger} is not installed: pip install 'hbt-ray[loggers]'")


def open_loggers(loggers: Sequence[Logger], out: str, name: str) -> list[Sink]:
    """Open the run's `loggers`, whose ids a file in `out` keeps: a resumed run goes on in the same ones."""
    uri = RunFolder(out, name).loggers
    ids = storage.read_json(uri) if storage.exists(uri) else {}
    opened = {logger: _LOGGERS[logger](name, ids.get(logger)) for logger in loggers}
    if opened:
        storage.write_json(uri, {**ids, **{logger: sink.id for logger, sink in opened.items()}})
    return list(opened.values())
