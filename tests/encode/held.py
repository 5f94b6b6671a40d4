"""Small corpora, and what a collection of one has to hold, as its readers find it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbt_ray.config import EncodeConfig, EncoderConfig, EncodingConfig
from hbt_ray.encode import collection, embeddings, texts

Documents = Mapping[tuple[str, str], str]  # language and docid to text
LANGUAGES = ("de", "en", "zh-Hant")


def write(folder: Path, found: Documents, name: str = "corpus") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    keys = list(found)
    columns = {"id": [key for _, key in keys], "lang": [tag for tag, _ in keys], "text": list(found.values())}
    pq.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=5)
    return str(folder / f"{name}.parquet")


def config(corpus: str, out: Path | str, encoder: EncoderConfig, part_rows: int = 3) -> EncodeConfig:
    encoding = EncodingConfig(part_rows=part_rows, dtype="float32")
    return EncodeConfig(corpus=corpus, out=str(out), encoder=encoder, encoding=encoding)


def some(count: int, first: int = 0) -> dict[tuple[str, str], str]:
    return {(LANGUAGES[n % 3], f"d{n}"): f"Text {n} über {'Mond ' * (n % 4)}" for n in range(first, first + count)}


def held(uri: str) -> dict[str, np.ndarray]:
    """Id to vector of what a collection has, as a reader finds it."""
    manifest = collection.manifest_of(uri)
    found: dict[str, np.ndarray] = {}
    for part in manifest["parts"]:
        ids, vectors = embeddings.read_part(uri, part)
        assert len(ids) == part["rows"]
        assert ids.equals(embeddings.read_ids(uri, part))
        for key, vector in zip(ids.to_pylist(), vectors, strict=True):
            assert key not in found
            assert key.startswith(f"{part['language']}:")
            found[key] = vector
    assert manifest["rows"] == len(found) == sum(manifest["rows_by_language"].values())
    return found


def assert_holds(uri: str, expected: Documents) -> None:
    by_id = {f"{tag}:{key}": text for (tag, key), text in expected.items()}
    assert held(uri).keys() == by_id.keys()
    assert texts.of(uri, list(by_id)) == by_id
