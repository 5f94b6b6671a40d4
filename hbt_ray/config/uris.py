"""Paths as settings hold them: a URI that means the same in every process, checked when the settings are built."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from hbt_ray.config.base import UserError

FOLDER = "hbt_ray_folder"
"""In a submitted job's metadata: the folder of this machine that it runs in, so that relative paths mean something."""
_elsewhere: ContextVar[bool] = ContextVar("_elsewhere", default=False)
SLIP = re.compile(r"(s3a?|gs|gcs|hf|https?|abfss?|az|adl|github|hdfs|file):/?")  # of URIs that lost a slash


def absolute(uri: str) -> str:
    """`uri` in a form that means the same in every process: a local path made absolute, another URI as it is.

    Raises:
        UserError: it is empty, chains file systems or has one slash behind its scheme, or it is relative in a submitted
            job, whose folder is not the one that it was submitted from.
    """
    if not uri.strip():
        raise UserError("a path cannot be empty")
    if "::" in uri:
        raise UserError(f"{uri}: file systems cannot be chained by ::")
    if "://" in uri:
        return uri
    if slip := SLIP.match(uri):
        raise UserError(f"{uri}: a URI has two slashes: {slip[1]}://{uri[slip.end() :]}")
    path = os.path.expanduser(uri)
    if not path.startswith("/") and (_elsewhere.get() or _is_submitted()):
        raise UserError(
            f"{uri} is relative, and a submitted job runs in a folder of the cluster's: say an absolute path or a URI,"
            f" such as {os.path.join('/path/to', path)} or s3://bucket/{path}"
        )
    return os.path.abspath(path)


def _out(uri: str) -> str:
    found = absolute(uri)
    if found in ("/", os.path.expanduser("~")) or found.endswith("://"):
        raise UserError(f"{uri} is no folder of a run's own")
    return found


def model_name(name: str) -> str:
    """A model's or tokenizer's name for every process: a local folder made absolute, a hub id or URI as it is.

    Raises:
        UserError: it is a path that `absolute` refuses.
    """
    local = "://" not in name and (name.startswith((".", "~", "/")) or os.path.isdir(name))
    return absolute(name) if local or not name.strip() else name


@contextlib.contextmanager
def for_a_submitted_job() -> Iterator[None]:
    """Check settings that are built within the block as the submitted job itself would."""
    before = _elsewhere.set(True)
    try:
        yield
    finally:
        _elsewhere.reset(before)


def _is_submitted() -> bool:
    """Whether this process is the driver of a submitted job that nobody says to run in the submitter's folder.

    Ray tells a driver of this by the variable that holds the job's configuration. A folder is Ray's copy, which is
    deleted with the job, or, without a `working_dir`, the one that Ray's head happens to run in.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return bool(job) and (job.get("metadata") or {}).get(FOLDER) != str(Path.cwd())


Uri = Annotated[str, AfterValidator(absolute)]
"""A file or folder that is read; a local path is made absolute."""
OutUri = Annotated[str, AfterValidator(_out)]
"""A folder that a job writes."""
ModelName = Annotated[str, AfterValidator(model_name)]
"""A hub id, a folder or a size."""
