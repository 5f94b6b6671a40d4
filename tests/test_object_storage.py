"""The whole road with everything on object storage, broken off and resumed on the way."""

from __future__ import annotations

import pyarrow as pa
import pytest
from sentence_transformers import SentenceTransformer

from hbt_ray import storage
from hbt_ray.config import (
    EncodeConfig,
    EncoderConfig,
    EncodingConfig,
    EvaluateConfig,
    EvaluatedEncoder,
    IndexConfig,
    PlanConfig,
    PrepareConfig,
    TrainConfig,
)
from hbt_ray.data.prepare import prepare
from hbt_ray.data.sources import world_facts
from hbt_ray.encode.encode import encode_corpus
from hbt_ray.evaluation.evaluate import evaluate
from hbt_ray.search.build import build_index
from hbt_ray.train import runlog
from hbt_ray.train.train import train


@pytest.mark.long
@pytest.mark.usefixtures("ray_cluster")
def test_the_road_on_s3(s3: str) -> None:
    def at(name: str) -> str:
        return storage.join(s3, "road", name)

    storage.write_parquet(at("input/facts.parquet"), world_facts.fact_rows("train").slice(0, 600))
    prepare(
        PrepareConfig(source="parallel", input=(at("input"),), tokenizer="train:800", out=at("store"), partitions=1)
    )
    config = TrainConfig(
        data=at("store"),
        out=at("run"),
        steps=6,
        checkpoint_every=3,
        workers=2,
        encoder=EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24),
        batches=PlanConfig(batch_size=8),
    )
    model = train(config)["model"]
    before = runlog.read_metrics(at("run"))
    assert [line["step"] for line in before] == list(range(6))
    # broken off after step 3, the run goes on from its checkpoint there
    for name in ("run/checkpoints/run/step-000000006", "run"):
        storage.filesystem(at(name))[0].rm_file(storage.join(at(name), "manifest.json"))
    train(config)
    after = runlog.read_metrics(at("run"))
    assert [line["groups"] for line in after] == [line["groups"] for line in before]
    assert [line["loss"] for line in after] == pytest.approx([line["loss"] for line in before], abs=1e-3)
    assert SentenceTransformer(storage.local_copy(model), device="cpu").encode("x").shape == (128,)

    corpus = pa.table({"id": ["1", "2", "1"], "lang": ["de", "de", "en"], "text": ["eins", "zwei", "one"]})
    storage.write_parquet(at("corpus/part.parquet"), corpus)
    encoded = encode_corpus(
        EncodeConfig(
            corpus=at("corpus"),
            out=at("vectors"),
            encoder=EncoderConfig(model=model),
            encoding=EncodingConfig(part_rows=1),
        )
    )
    assert encoded["encoded"] == encoded["rows"] == 3
    fs, path = storage.filesystem(at("vectors"))
    fs.rm_file(storage.join(path, "versions", "000001.json"))
    fs.rm_file(sorted(fs.find(storage.join(path, "commits")))[0])
    again = EncodeConfig(
        corpus=at("corpus"),
        out=at("vectors"),
        encoder=EncoderConfig(model=model),
        encoding=EncodingConfig(part_rows=1),
    )
    assert encode_corpus(again)["encoded"] == 1
    assert build_index(IndexConfig(embeddings=at("vectors"), out=at("index")))["rows"] == 3
    world_facts.write_task(at("task"))
    task = storage.read_parquet(at("task/queries.parquet")).slice(0, 24)
    storage.write_parquet(at("task/queries.parquet"), task)
    results = evaluate(
        EvaluateConfig(task="world-facts", data=at("task"), out=at("evaluation"), encoder=EvaluatedEncoder(model=model))
    )
    assert results["encoded"] == {"queries": 24, "documents": 8820}
