"""A small model as a folder, for tests that change what it says of itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from models_made import TEXTS, change

from hbt_ray.config import EncoderConfig
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in sentence-transformers' layout that names no prompts, as that library saves one."""
    words = tmp_path_factory.mktemp("tokenizer")
    tokenizer.learn([f"query: passage: find found {text}" for text in TEXTS * 10], 500).save_pretrained(words)
    folder = tmp_path_factory.mktemp("whole")
    build_encoder(EncoderConfig(model="nano", precision="fp32"), str(words)).export(str(folder))
    change(folder / "config_sentence_transformers.json", prompts={"query": "", "document": ""})
    return folder


@pytest.fixture
def changed(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of that model with other values in one of its JSON files, under a name of its own."""

    def copy(file: str = "config.json", name: str = "model", **values: Any) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(whole, folder)
        change(folder / file, **values)
        return folder

    return copy
