"""The jobs there are, and a command that calls one, checked before it is submitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePath

from hbt_ray import config
from hbt_ray.command import parse
from hbt_ray.config import Section, UserError
from hbt_ray.config.uris import for_a_submitted_job
from hbt_ray.submission.code import ROOT

JOBS: dict[str, type[Section]] = {
    "check": config.CheckConfig,
    "compare": config.CompareConfig,
    "demo": config.DemoConfig,
    "encode": config.EncodeConfig,
    "evaluate": config.EvaluateConfig,
    "index": config.IndexConfig,
    "mine": config.MineConfig,
    "prepare": config.PrepareConfig,
    "report": config.ReportConfig,
    "search": config.SearchConfig,
    "serve": config.ServeConfig,
    "soup": config.SoupConfig,
    "study": config.StudyConfig,
    "train": config.TrainConfig,
}
"""The settings of each job that can be submitted."""


def check_command(command: Sequence[str]) -> str:
    """Check the settings of a command that calls one of the jobs, as the submitted job will; returns a name for it.

    Any other command is the user's own, of which nothing is known.

    Raises:
        UserError: there is no such job, or one of its settings is missing, unknown or refused.
    """
    python, script = (PurePath(one) for one in [*command, "", ""][:2])
    if not python.name.startswith("python") or script.suffix != ".py" or script.parent.name != "jobs":
        return "job"
    if script.stem not in JOBS and (ROOT / "jobs" / script.name).is_file():
        return script.stem  # such as benchmark, whose settings are beside it
    with for_a_submitted_job():
        parse(job_settings(script.stem, f"{command[1]}: "), command[2:], f"jobs/{script.name}")
    return script.stem


def job_settings(job: str, where: str) -> type[Section]:
    """The settings of the job of that name.

    Args:
        where: how an error begins.

    Raises:
        UserError: there is none; the line names the nearest.
    """
    if job not in JOBS:
        raise UserError(f"{where}there is no job {job}{meant(job, JOBS)}; there are {', '.join(JOBS)}")
    return JOBS[job]


def meant(name: str, known: Iterable[str]) -> str:
    """`, is x meant?` of the known name next to this one, or nothing."""
    near = get_close_matches(name, list(known), 1)
    return f", is {near[0]} meant?" if near else ""
