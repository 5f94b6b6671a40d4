"""Model folders that a stranger made: what their files say is taken, or refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import VALUES, assert_clear

from hbt_ray.config import UserError
from hbt_ray.model.files import ModelFiles
from hbt_ray.model.tokenizer import load_tokenizer


def look(folder: Path) -> None:
    """All that is read of a model before its weights are."""
    files = ModelFiles(str(folder))
    files.check()
    assert files.family is None
    assert (files.stated_limit() or 1) > 0
    files.transformer_config()


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("config.json", "model_type"), ("config.json", "auto_map"), ("config.json", "hidden_size"),
        ("config.json", "num_hidden_layers"), ("config.json", "_name_or_path"), ("config.json", "id2label"),
        ("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length"),
    ],
)  # fmt: skip
def test_settings_of_any_type(changed_model: Callable[..., Path], file: str, key: str) -> None:
    for value in VALUES:
        try:
            look(changed_model(file, **{key: value}))
        except UserError as error:
            assert_clear(error, f"{key} = {value!r}"[:60])


@pytest.mark.parametrize("file", ["config.json", "modules.json", "sentence_bert_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, '{"a": ' + "9" * 5000 + "}", "[1]", '"x"'])
def test_files_that_are_no_settings(changed_model: Callable[..., Path], file: str, text: str) -> None:
    folder = changed_model()
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=file) as caught:
        look(folder)
    assert_clear(caught.value)


def test_a_folder_of_modules_lies_in_the_models(changed_model: Callable[..., Path]) -> None:
    folder = changed_model()
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "../../elsewhere"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match=r"names a folder outside the model's, '\.\./\.\./elsewhere'"):
        look(folder)


def test_a_config_of_endless_layers_is_refused_at_once(changed_model: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="has num_hidden_layers 10,000,000, and no model more than 1,000"):
        look(changed_model(num_hidden_layers=10**7))


@pytest.mark.parametrize("value", [None, [], {"a": []}, 5], ids=str)
def test_a_tokenizer_that_is_none(changed_model: Callable[..., Path], value: object) -> None:
    folder = changed_model("tokenizer.json", model=value)
    with pytest.raises(UserError, match="no tokenizer at") as caught:
        load_tokenizer(str(folder))
    assert_clear(caught.value)
