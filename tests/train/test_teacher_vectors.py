"""A teacher's collections: each text of a store meets its own vector, and a run follows them."""

from __future__ import annotations

from pathlib import Path

import inline
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from models_made import TEXTS
from tokenizers_made import made
from training_runs import losses
from training_runs import settings as run_settings

from hbt_ray.batches.chunk import read_chunk, slices
from hbt_ray.batches.plan import Plan
from hbt_ray.config import (
    EncodeConfig,
    EncoderConfig,
    EncodingConfig,
    EngineConfig,
    Input,
    OptimizerConfig,
    PlanConfig,
    PrepareConfig,
    TeacherConfig,
    TrainConfig,
    UserError,
)
from hbt_ray.data.prepare import prepare
from hbt_ray.data.stores import Stores
from hbt_ray.encode import embeddings
from hbt_ray.encode.encode import identify
from hbt_ray.model.encoder import Role
from hbt_ray.train import teacher_keys
from hbt_ray.train.batch import Collator
from hbt_ray.train.encoders import trained_encoder, wanted
from hbt_ray.train.teacher_vectors import TeacherVectors
from hbt_ray.train.train import train

pytestmark = pytest.mark.usefixtures("ray_cluster")
ROWS = 24
QUERIES = [f"find {text.split()[0]} {number}" for number, text in enumerate(TEXTS[:ROWS])]
PASSAGES = [f"{number} {text}" for number, text in enumerate(TEXTS[:ROWS])]
NEGATIVES = [PASSAGES[(number + 1) % ROWS : (number + 1) % ROWS + 2] for number in range(ROWS)]


def prepared(folder: Path, tokenizer: str, max_tokens: int = 512) -> str:
    rows = {"lang": ["en"] * ROWS, "query": QUERIES, "passage": PASSAGES, "negatives": NEGATIVES}
    pq.write_table(pa.table(rows), folder / "pairs.parquet")
    source = Input(name="some", uri=str(folder / "pairs.parquet"))
    told = PrepareConfig(
        input=(source,), tokenizer=tokenizer, out=str(folder / "store"), max_tokens=max_tokens, row_group_rows=8
    )
    return str(prepare(told)["out"])


def encoded(folder: Path, model: Path, role: Role, found: list[str], **changes: str) -> str:
    """A collection, in several parts, of these texts; their ids are their numbers."""
    table = {"id": [str(number) for number in range(len(found))], "lang": ["en"] * len(found), "text": found}
    pq.write_table(pa.table(table), folder / f"{role}.parquet")
    config = EncodeConfig(
        corpus=str(folder / f"{role}.parquet"),
        out=str(folder / f"{role}-vectors"),
        role=role,
        encoder=EncoderConfig(model=str(model), precision="fp32", **changes),  # type: ignore[arg-type]
        encoding=EncodingConfig(part_rows=10, dtype="float32"),
    )
    return str(inline.encode_here(config, identify(config.encoder))["collection"])


def taught(folder: Path, store: str, model: Path, *collections: str) -> TrainConfig:
    return run_settings(
        store,
        folder / "run",
        steps=6,
        checkpoint_every=6,
        encoder=EncoderConfig(model=str(model), precision="fp32", dropout=0.0),
        batches=PlanConfig(strategy="x-x", batch_size=8),
        optimizer=OptimizerConfig(learning_rate=1e-9, hard_negatives=1),
        loss=(TeacherConfig(collections=collections),),
    )


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tmp_path: Path, small_model: Path) -> None:
    """So each query, passage and hard negative, on each rank, met the vector of its own text, in its own role."""
    store = prepared(tmp_path, str(small_model))
    prompts = {"query_prefix": "find ", "passage_prefix": "found "}
    queries = encoded(tmp_path, small_model, "query", QUERIES, **prompts)
    passages = encoded(tmp_path, small_model, "passage", PASSAGES, **prompts)
    config = taught(tmp_path, store, small_model, queries.rsplit("/versions", 1)[0], passages)
    encoder = config.encoder.model_copy(update=prompts)
    train(config.model_copy(update={"encoder": encoder, "workers": 2, "engine": EngineConfig(zero_stage=1)}))
    assert max(losses(tmp_path / "run")) < 1e-6


@pytest.mark.parametrize("kind", ["unigram", "gpt2", "left"])
def test_a_text_that_was_cut_or_tokenised_behind_a_prefix_is_found(
    tmp_path: Path, small_model: Path, kind: str
) -> None:
    made(kind).save_pretrained(tmp_path / "words")
    uri = prepared(tmp_path, str(tmp_path / "words"), 13)
    collection = encoded(tmp_path, small_model, "passage", [*PASSAGES, *QUERIES])
    prompts = EncoderConfig(model="nano", query_prefix="ask: ", passage_prefix="say: ", precision="fp32")
    config = taught(tmp_path, uri, small_model, collection).model_copy(update={"encoder": prompts})
    store = Stores(config.data)
    assert sum(about["cut"] for about in store.stores[0].manifest["inputs"].values())
    plan, read = Plan(store, config.batches), wanted(config, store)
    teacher_keys.build(config, store, plan, read)
    lookup = TeacherVectors(teacher_keys.indexes(config, store, read))
    collate = Collator(
        trained_encoder(config, store), read, torch.device("cpu"), 10**6, losses=config.loss, teacher=lookup
    )
    expected = embeddings.read_aligned(collection, [f"en:{number}" for number in range(2 * ROWS)])
    met = []
    for part in slices(read_chunk(store, plan, 0, 3, 1, read)[0], 0, 1):  # one pass
        vectors = collate(part).labels.teacher
        assert vectors is not None
        distances = torch.cdist(vectors, torch.from_numpy(expected), compute_mode="donot_use_mm_for_euclid_dist")
        assert distances.min(dim=1).values.max() < 1e-6
        query, passage, negative = distances.argmin(dim=1).view(3, -1).tolist()
        assert [number - ROWS for number in query] == passage
        assert all((two - one) % ROWS in (1, 2) for one, two in zip(passage, negative, strict=True))
        met += passage
    assert sorted(met) == list(range(ROWS))


def test_a_teacher_of_other_documents_is_refused(tmp_path: Path, small_model: Path) -> None:
    store = prepared(tmp_path, str(small_model))
    some = encoded(tmp_path, small_model, "passage", [*PASSAGES, *QUERIES[:-1]])
    with pytest.raises(UserError) as refused:
        train(taught(tmp_path, store, small_model, some))
    assert f"1 of {3 * ROWS + sum(map(len, NEGATIVES)) - ROWS} texts of {store} have no vector in {some}" in str(
        refused.value
    )
    assert "the first the query in row " in str(refused.value)
