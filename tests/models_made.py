"""What tests of small models share: texts, and a way to change what a model's folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hbt_ray.data.sources import world_facts

TEXTS = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:700:10]]


def change(file: Path, **values: Any) -> None:
    """Give a JSON file these values besides those it has."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
