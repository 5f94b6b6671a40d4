"""Ray heads of their own for tests that submit jobs, started as `cluster/local.py` starts one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def local() -> ModuleType:
    """The script `cluster/local.py` as a module."""
    spec = importlib.util.spec_from_file_location("local", ROOT / "cluster" / "local.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
