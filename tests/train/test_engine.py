"""What DeepSpeed compiles for CPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from torch.utils.cpp_extension import _get_build_directory

from hbt_ray.train import engine


def test_a_process_killed_while_compiling_holds_up_nobody(tmp_path: Path) -> None:
    engine.compile_for_cpu()
    compiled = Path(_get_build_directory("deepspeed_shm_comm", verbose=False))
    shutil.copytree(compiled, tmp_path / compiled.name)
    (tmp_path / compiled.name / "lock").touch()  # which torch waits for, if it is there
    command = [sys.executable, "-c", "from hbt_ray.train import engine; engine.compile_for_cpu()"]
    subprocess.run(command, env={**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path)}, timeout=120, check=True)
