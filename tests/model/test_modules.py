"""Whatever sentence-transformers puts behind the transformer, vectors are its own, or one line says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from models_made import TEXTS, change
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.base.modules.normalize import Normalize
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from sentence_transformers.sentence_transformer.modules.static_embedding import StaticEmbedding
from torch import nn

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import ROLES, Encoder
from hbt_ray.model.files import ModelFiles
from hbt_ray.model.limits import model_limits
from hbt_ray.model.memory import FakeEncoder
from hbt_ray.model.prompts import find_prompts
from hbt_ray.model.tokenizer import load_tokenizer


def built(folder: Path, **changes: Any) -> Encoder:
    return build_encoder(EncoderConfig.model_validate({"model": str(folder), "precision": "fp32", **changes})).eval()


def assert_same(encoder: Encoder, theirs: SentenceTransformer) -> None:
    """The vectors of both roles."""
    for role in ROLES:
        wanted = theirs.encode(TEXTS, prompt=encoder.prefixes[role], normalize_embeddings=True, convert_to_tensor=True)
        ours = torch.from_numpy(encode_texts(encoder, TEXTS, role, 300))
        assert ours.shape == wanted.shape == (len(TEXTS), encoder.width)
        assert (ours * wanted).sum(dim=1).min() > 0.99999


MODES: list[Any] = ["cls", "mean", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens", ("cls", "mean")]


@pytest.mark.parametrize("mode", MODES)
def test_pooling_and_what_is_behind_it(small_model: Path, tmp_path: Path, mode: Any) -> None:
    torch.manual_seed(0)
    first = SentenceTransformer(str(small_model), device="cpu")[0]
    pooling = Pooling(64, mode)
    dense = Dense(pooling.get_embedding_dimension(), 40, activation_function=nn.GELU())
    for behind in ([pooling], [pooling, Normalize()], [pooling, dense], [pooling, dense, Dense(40, 24), Normalize()]):
        folder = tmp_path / str(len(behind))
        theirs = SentenceTransformer(modules=[first, *behind], device="cpu")
        theirs.save(str(folder))
        encoder = built(folder)
        assert_same(encoder, theirs)
        encoder.export(str(tmp_path / "export"))
        assert_same(encoder, SentenceTransformer(str(tmp_path / "export"), device="cpu"))


def test_another_pooling_leaves_what_is_behind_it(small_model: Path, tmp_path: Path) -> None:
    first = SentenceTransformer(str(small_model), device="cpu")[0]
    dense = Dense(64, 24)
    SentenceTransformer(modules=[first, Pooling(64, "mean"), dense], device="cpu").save(str(tmp_path / "model"))
    wanted = SentenceTransformer(modules=[first, Pooling(64, "cls"), dense], device="cpu")
    assert_same(built(tmp_path / "model", pooling="cls"), wanted)

    wide = [first, Pooling(64, ("cls", "mean")), Dense(128, 24)]
    SentenceTransformer(modules=wide, device="cpu").save(str(tmp_path / "wide"))
    with pytest.raises(UserError, match=r"--pooling cls gives vectors of 64 numbers, and the Dense .* wants 128"):
        built(tmp_path / "wide", pooling="cls")
    with pytest.raises(UserError, match=r"--pooling cls: .* has 2 modules that pool, not one"):
        twice = SentenceTransformer(modules=[first, Pooling(64, "cls"), Pooling(64, "mean")], device="cpu")
        twice.save(str(tmp_path / "twice"))
        built(tmp_path / "twice", pooling="cls")


def test_truncated_vectors(changed_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed_model("config_sentence_transformers.json", truncate_dim=16)
    encoder = built(folder)
    assert encoder.width == 16
    theirs = SentenceTransformer(str(folder), device="cpu")
    assert_same(encoder, theirs)
    encoder.train()
    batch = encoder(**encoder.pad(encoder.tokenize(TEXTS[:8], "query")))
    (batch @ batch.T).sum().backward()
    torch.optim.SGD([weight for weight in encoder.parameters() if weight.grad is not None], lr=0.1).step()
    encoder.export(str(tmp_path / "export"))
    assert_same(encoder.eval(), SentenceTransformer(str(tmp_path / "export"), device="cpu"))


def test_a_transformer_in_a_folder_of_its_own(small_model: Path, tmp_path: Path) -> None:
    """As sentence-transformers wrote them before its version 2."""
    folder = tmp_path / "model"
    shutil.copytree(small_model, folder)
    (folder / "0_Transformer").mkdir()
    for file in folder.iterdir():
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / "0_Transformer" / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0] |= {"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps(modules))
    change(folder / "0_Transformer" / "sentence_bert_config.json", max_seq_length=99)
    encoder = built(folder)
    assert encoder.limits == model_limits(EncoderConfig(model=str(folder))) == dict.fromkeys(ROLES, 99)
    assert_same(encoder, SentenceTransformer(str(folder), device="cpu"))
    assert load_tokenizer(str(folder)).get_vocab() == encoder.tokenizer.get_vocab()
    assert FakeEncoder(EncoderConfig(model=str(folder)), str(folder)).width == 64
    (folder / "0_Transformer" / "config.json").unlink()
    with pytest.raises(UserError, match=r"is not a model: it has no 0_Transformer/config\.json"):
        built(folder)


def test_models_that_are_no_text_transformers(small_model: Path, tmp_path: Path) -> None:
    words = SentenceTransformer(str(small_model), device="cpu").tokenizer.backend_tokenizer
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu").save(str(tmp_path / "static"))
    (tmp_path / "static" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="its first module is StaticEmbedding"):
        built(tmp_path / "static")


def test_code_of_its_own(changed_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed_model()
    code = "from sentence_transformers.base.modules.normalize import Normalize\nclass Mine(Normalize):\n    pass\n"
    (folder / "mine.py").write_text(code)
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "mine.Mine"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match=r"brings code of its own \(mine.Mine\): read it, then say --trust-remote-code"):
        built(folder)
    encoder = built(folder, trust_remote_code=True)
    assert type(encoder.model[2]).__name__ == "Mine"
    assert_same(encoder, SentenceTransformer(str(folder), device="cpu", trust_remote_code=True))

    folder = changed_model(
        name="new", model_type="mine", auto_map={"AutoModel": "mine.MyModel", "AutoConfig": "mine.My"}
    )
    for made in (built, lambda folder: model_limits(EncoderConfig(model=str(folder)))):
        with pytest.raises(UserError, match=r"code of its own \(mine.MyModel\): read it, then say --trust-remote-code"):
            made(folder)


def test_a_revision_is_of_the_hub(changed_model: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="--revision main: .* is a folder; only hub ids have revisions"):
        ModelFiles.of(EncoderConfig(model=str(changed_model()), revision="main"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "modules.json is not JSON"),
        (b"\xff", "modules.json is not JSON"),
        (b"[" * 100_000, "modules.json is not JSON"),
        (b"{}", "modules.json is not a list of modules"),
        (b"[1]", "modules.json is not a list of modules"),
    ],
)
def test_a_list_of_modules_that_is_none_is_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "modules.json").write_bytes(content)
    with pytest.raises(UserError, match=f"^--model {tmp_path}: {why}") as error:
        find_prompts(EncoderConfig(model=str(tmp_path)))
    assert len(str(error.value)) < 600


def test_a_name_that_can_be_no_model_is_one_line() -> None:
    with pytest.raises(UserError, match="^--model /nowhere/model is not a model: "):
        find_prompts(EncoderConfig(model="/nowhere/model"))
