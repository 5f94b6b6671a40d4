"""Manifests of stream stores that a stranger made: used as they are, or refused in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile import assert_clear, forged, mutants
from stores import manifest_only

from hbt_ray import storage
from hbt_ray.batches.plan import Plan
from hbt_ray.config import PlanConfig, UserError
from hbt_ray.data.streams import StreamStore
from hbt_ray.data.summary import show_store
from hbt_ray.storage.files import write_json


def use(uri: str) -> None:
    store = StreamStore(uri)
    repr(store)
    store.check_files()
    plan = Plan(store, PlanConfig(batch_size=4, strategy="hybrid"))
    plan.batches(0, 3)
    for number, stream in enumerate(store.streams):
        store.read(number, np.array([stream.rows - 1]), ["query"])
    show_store(store)


def test_a_manifest_with_anything_in_it_is_used_or_refused(tmp_path: Path) -> None:
    manifest = manifest_only(tmp_path, [("pairs", ["de", "en"], 20), ("bitext", ["de", "fr"], 9)]).manifest
    manifest["counts"] = {"kept": 1, "by_language": {"de": dict.fromkeys(COUNTS, 1)}, "by_source": {"made": 1}}
    refused = 0
    for what, mutant in mutants(manifest, 300):
        write_json(str(tmp_path / "manifest.json"), forged(mutant))
        try:
            use(str(tmp_path))
        except UserError as error:
            assert_clear(error, what)
            refused += 1
        except Exception as error:
            raise AssertionError(what) from error
    assert refused > 150


COUNTS = ("queries", "query_tokens", "passages", "passage_tokens")


@pytest.mark.parametrize("path", ["../a.parquet", "/etc/passwd", "a/../../b", "..", "", "a\\b"])
def test_a_file_of_a_stream_lies_in_the_store(tmp_path: Path, path: str) -> None:
    manifest = manifest_only(tmp_path, [("pairs", ["de"], 20)]).manifest
    manifest["streams"][0]["files"] = [{"path": path, "rows": 20, "bytes": 1}]
    storage.commit(str(tmp_path), "stream store", {key: manifest[key] for key in manifest if key != "checksum"})
    with pytest.raises(UserError, match=r"streams\.0\.files\.0\.path: .* is no path within the folder"):
        StreamStore(str(tmp_path))
