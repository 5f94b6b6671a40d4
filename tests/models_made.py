"""What tests of small models share: texts, a model as a folder, and ways to change what it says of itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hbt_ray.config import EncoderConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder

TEXTS = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:700:10]]


def change(file: Path, **values: Any) -> None:
    """Give a JSON file these values besides those it has."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in sentence-transformers' layout that names no prompts, as that library saves one."""
    words = tmp_path_factory.mktemp("tokenizer")
    tokenizer.learn([f"query: passage: find found {text}" for text in TEXTS * 10], 500).save_pretrained(words)
    folder = tmp_path_factory.mktemp("whole")
    build_encoder(EncoderConfig(model="nano", precision="fp32"), str(words)).export(str(folder))
    change(folder / "config_sentence_transformers.json", prompts={"query": "", "document": ""})
    return folder


@pytest.fixture
def changed_model(small_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of that model with other values in one of its JSON files, under a name of its own."""

    def copy(file: str = "config.json", name: str = "model", **values: Any) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(small_model, folder)
        change(folder / file, **values)
        return folder

    return copy
