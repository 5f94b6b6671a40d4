"""What evaluations share of what is encoded, without the search that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import inline
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import EncodeConfig, EncodingConfig, EvaluateConfig, EvaluatedEncoder, UserError
from hbt_ray.encode import embeddings, texts
from hbt_ray.encode.encode import Identity, identify, shared_folder
from hbt_ray.evaluation import ids
from hbt_ray.evaluation.encoded import encode_task
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.evaluation.tasks.base import Task
from hbt_ray.model.encoder import Role

FLOAT, INT8 = EncodingConfig(dtype="float32"), EncodingConfig(dtype="int8")


@pytest.fixture(scope="module")
def encoder(small_model: Path) -> EvaluatedEncoder:
    return EvaluatedEncoder(model=str(small_model))


@pytest.fixture(scope="module")
def identity(encoder: EvaluatedEncoder) -> Identity:
    return identify(encoder)


def task() -> Task:
    """Two questions, and documents in two languages, one of them in a variety that its id says."""
    documents = {"id": ["de:1", "en:1", "en-x-de:2"], "lang": ["de", "en", "en-x-de"], "text": ["eins", "one", "two"]}
    queries = {"id": ["de:q", "en:q"], "lang": ["de", "en"], "text": ["eins?", "one?"], "item": ["q", "q"]}
    judgements = {"de:q": {"de:1": 1, "en:1": 1}, "en:q": {"en:1": 1}}
    return Task("t", pa.table(queries), pa.table(documents), judgements, ("multilingual",), ("ndcg@10",))


def encode(
    table: pa.Table, out: str, role: Role, encoder: EvaluatedEncoder, identity: Identity, encoding: EncodingConfig
) -> None:
    corpus = ids.write_table(table, f"{out}-corpus")
    settings = EncodeConfig(corpus=corpus, out=out, role=role, encoder=encoder, encoding=encoding)
    assert inline.encode_here(settings, identity, among_others=True)["encoded"] == len(table)


def config(folder: Path, encoder: EvaluatedEncoder, **more: Any) -> EvaluateConfig:
    return EvaluateConfig(task="t", out=str(folder / "out"), encoder=encoder, **more)


def test_what_is_in_the_cache_is_not_encoded(tmp_path: Path, encoder: EvaluatedEncoder, identity: Identity) -> None:
    cache, asked = str(tmp_path / "cache"), task()
    assert isinstance(asked.documents, pa.Table)
    encode(asked.queries, shared_folder(cache, identity, "query", "float32"), "query", encoder, identity, FLOAT)
    passages = shared_folder(cache, identity, "passage", "float32")
    encode(asked.documents, passages, "passage", encoder, identity, FLOAT)
    changes: list[dict[str, Any]] = [{}, {"depth": 7, "settings": ["monolingual"]}, {"streaming": True}]
    for n, more in enumerate(changes):
        settings = config(tmp_path / str(n), encoder, cache=cache, **more)
        made = encode_task(settings, identity, asked, settings.out)
        assert made.encoded == {"queries": 0, "documents": 0}
        keys = ids.encoded_ids(asked.documents)
        assert embeddings.read_aligned(made.documents["collection"], keys).shape == (3, identity.width)
        assert list(texts.of(made.documents["collection"], keys).values()) == ["eins", "one", "two"]


def test_a_collection_that_would_not_be_used(tmp_path: Path) -> None:
    documents, queries = {"id": ["1"], "lang": ["en"], "text": ["iron"]}, {"item": ["1"]}
    data = tmp_path / "data"
    data.mkdir()
    pq.write_table(pa.table(documents), data / "documents.parquet")
    pq.write_table(pa.table({**documents, **queries}), data / "queries.parquet")
    settings = {"task": "world-facts", "data": str(data), "out": str(tmp_path / "out"), "collection": "c"}
    with pytest.raises(UserError, match="^--collection: with --run or --model bm25 no vectors are used$"):
        evaluate(EvaluateConfig.model_validate({**settings, "encoder": {"model": "bm25"}}))


def test_a_collection_of_another_number_format(tmp_path: Path, encoder: EvaluatedEncoder, identity: Identity) -> None:
    cache, asked, named = str(tmp_path / "cache"), task(), str(tmp_path / "named")
    assert isinstance(asked.documents, pa.Table)
    encode(asked.queries, shared_folder(cache, identity, "query", "float32"), "query", encoder, identity, FLOAT)
    encode(asked.documents, named, "passage", encoder, identity, FLOAT)
    settings = config(tmp_path, encoder, cache=cache, collection=named)
    assert encode_task(settings, identity, asked, settings.out).encoded == {"queries": 0, "documents": 0}
    encode(asked.queries, shared_folder(cache, identity, "query", "int8"), "query", encoder, identity, INT8)
    other = settings.model_copy(update={"encoding": INT8})
    with pytest.raises(UserError, match="named already holds another run: dtype is 'float32' there and 'int8' here"):
        encode_task(other, identity, asked, settings.out)
