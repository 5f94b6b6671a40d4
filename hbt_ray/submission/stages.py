"""Running the stages of a road one after the other, each by its job, which knows itself what is done."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hbt_ray import storage
from hbt_ray.config import RoadConfig, UserError
from hbt_ray.encode import collection
from hbt_ray.submission.code import ROOT
from hbt_ray.submission.road import Stage, stages_of

log = logging.getLogger(__name__)


def run(road: RoadConfig) -> dict[str, Any]:
    """Run the stages in order, on the cluster at hand; the first that fails ends the road with its exit code.

    Each stage's job is started, also when its output is complete: it finds that by itself, refuses an output that other
    settings made, and does nothing.

    Returns: `stages`: name to what happened and how long it took [s]; and of a stage that failed `error`, `exit_code`.

    Raises:
        UserError: the road is wrong; nothing has been run.
    """
    stages, told = stages_of(road), {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a terminated road ends its stage too
    for number, stage in enumerate(stages, 1):
        begun, before = time.monotonic(), _made(stage)
        log.info("stage %d of %d, %s: begins", number, len(stages), stage.name)
        code, last = _job(stage)
        seconds = round(time.monotonic() - begun, 1)
        done = "nothing to do" if before and _made(stage) == before else "done"
        told[stage.name] = {"state": done if code == 0 else "failed", "seconds": seconds}
        log.info("stage %d of %d, %s: %s, %.1f s", number, len(stages), stage.name, told[stage.name]["state"], seconds)
        if code:
            why = f"stage {stage.name} ended with exit code {code}: {last.get('error', 'its log says why')}"
            return {"status": "error", "error": why, "exit_code": code, "stages": told}
    return {"stages": told}


def _job(stage: Stage) -> tuple[int, dict[str, Any]]:
    """Run a stage's job, whose output goes where this process's does; returns its exit code and its JSON line."""
    with tempfile.TemporaryDirectory(prefix="hbt_ray-") as folder:
        settings = Path(folder, "settings.yaml")
        settings.write_text(json.dumps(stage.settings))  # JSON is YAML
        command = [sys.executable, str(ROOT / "jobs" / f"{stage.job}.py"), "--config", str(settings)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        last = ""
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = line
                sys.stdout.write(line)
                sys.stdout.flush()
        except BaseException:
            process.terminate()
            raise
        finally:
            code = process.wait()
    with contextlib.suppress(ValueError):
        found = json.loads(last)
        return exit_code(code), found if isinstance(found, dict) else {}
    return exit_code(code), {}


def exit_code(code: int) -> int:
    """A process's exit code as a shell has it: of one that a signal ended, 128 and the signal."""
    return code if code >= 0 else 128 - code


def _made(stage: Stage) -> Any:
    """What is visible in the stage's output; nothing where it is not complete."""
    if stage.out is None:
        return None
    with contextlib.suppress(UserError, FileNotFoundError):
        return storage.read_json(storage.join(stage.out, "manifest.json"))
    return collection.newest(stage.out)
