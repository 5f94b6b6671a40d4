"""What searches read of a collection that has been updated."""

from __future__ import annotations

from pathlib import Path

import inline
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbt_ray.config import EncodeConfig, EncoderConfig, EncodingConfig
from hbt_ray.encode import collection, embeddings
from hbt_ray.encode.encode import identify
from hbt_ray.search.groups import cut_groups, embeddings_manifest, read_group


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_no_removed_document_is_read(tmp_path: Path, small_model: Path, rows: int) -> None:
    encoder = EncoderConfig(model=str(small_model), precision="fp32")
    identity = identify(encoder)
    out, corpus = str(tmp_path / "out"), str(tmp_path / "corpus.parquet")
    settings = EncodeConfig(corpus=corpus, out=out, encoder=encoder, encoding=EncodingConfig(part_rows=4))
    for first in (0, 6):  # six are removed, six are new
        ids = [str(n) for n in range(first, first + 20)]
        pq.write_table(pa.table({"id": ids, "lang": ["de", "en"] * 10, "text": ids}), corpus)
        inline.encode_here(settings, identity)
    for source, first in ((out, 6), (collection.version_uri(out, 2), 6), (collection.version_uri(out, 1), 0)):
        manifest = embeddings_manifest(source)
        found: list[str] = []
        for group in cut_groups(manifest["parts"], rows):
            assert group.rows <= rows
            vectors = np.empty((group.rows, manifest["width"]), dtype=np.float32)
            ids = read_group(source, group, vectors).to_pylist()
            assert ids == sorted(ids, reverse=True)
            np.testing.assert_array_equal(vectors, embeddings.read_aligned(source, ids))
            found += ids
        tags = ["de", "en"] * 10
        assert sorted(found) == sorted(f"{tag}:{n}" for tag, n in zip(tags, range(first, first + 20), strict=True))
