"""Collections: what an update encodes, what a version has, and that no other writer changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import inline
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from held import LANGUAGES, assert_holds, config, held, some, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.encode import changes, collection, documents, embeddings, ledger, texts
from hbt_ray.encode import corpus as corpora
from hbt_ray.encode.encode import Identity, identify, tokenize_task
from hbt_ray.encode.plan import parts_to_encode


@pytest.fixture(scope="module")
def encoder(small_model: Path) -> EncoderConfig:
    return EncoderConfig(model=str(small_model), precision="fp32")


@pytest.fixture(scope="module")
def identity(encoder: EncoderConfig) -> Identity:
    return identify(encoder)


def test_an_update_encodes_what_is_new_or_changed_and_marks_what_is_gone(
    tmp_path: Path, encoder: EncoderConfig, identity: Identity
) -> None:
    before = some(200)
    out = tmp_path / "out"
    first = inline.encode_here(config(write(tmp_path, before), out, encoder), identity)
    assert (first["encoded"], first["removed"]) == (200, 0)
    assert_holds(str(out), before)
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}

    after = {**before, **some(2, first=200), ("de", "d3"): "another text"}
    del after["en", "d1"], after["zh-Hant", "d5"]
    second = inline.encode_here(config(write(tmp_path, after), out, encoder), identity)
    assert (second["encoded"], second["removed"]) == (3, 2)  # 1 % new, and one that has changed
    assert_holds(str(out), after)
    assert_holds(first["collection"], before)
    assert files.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}.items()
    with pytest.raises(UserError, match="out has no document en:d1"):
        texts.of(str(out), ["en:d1"])
    with pytest.raises(UserError, match="has no vector of en:d1"):
        embeddings.read_aligned(str(out), ["en:d1"])
    alone = inline.encode_here(config(write(tmp_path, after), tmp_path / "alone", encoder), identity)
    expected = held(alone["collection"])
    for key, vector in held(str(out)).items():
        np.testing.assert_allclose(vector, expected[key], atol=1e-6)

    again = inline.encode_here(config(write(tmp_path, before, "again"), out, encoder), identity)
    assert again["encoded"] == 0  # it is as it was, under another name
    assert_holds(str(out), before)
    assert collection.newest(str(out)) == 3


@pytest.mark.long
def test_an_update_on_object_storage(tmp_path: Path, s3: str, encoder: EncoderConfig, identity: Identity) -> None:
    """Which fails one request in twenty."""
    out, before = storage.join(s3, tmp_path.name), some(30)
    inline.encode_here(config(write(tmp_path, before), out, encoder), identity)
    zombie = inline.planned(config(write(tmp_path, before), out, encoder), identity)
    after = {**some(31), ("de", "d3"): "another text"}
    del after["en", "d1"]
    second = inline.encode_here(config(write(tmp_path, after), out, encoder), identity)
    assert (second["encoded"], second["removed"]) == (2, 1)
    assert_holds(out, after)
    assert zombie.commit({}) == collection.version_uri(out, 1)
    assert_holds(collection.version_uri(out, 1), before)
    assert_holds(out, after)


def test_the_same_documents_are_one_content(tmp_path: Path, encoder: EncoderConfig, identity: Identity) -> None:
    """In another order, in other files, of another format or cut otherwise."""
    found = {("en", str(n)): f"text {n}" for n in range(20)}
    first = inline.encode_here(config(write(tmp_path, found), tmp_path / "out", encoder), identity)
    rows = [f'{{"_id": "{key}", "title": "text", "text": "{text[5:]}"}}\n' for (_, key), text in found.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(reversed(rows)))
    other = config(str(tmp_path / "corpus.jsonl"), tmp_path / "out", encoder, part_rows=7)
    again = inline.encode_here(other.model_copy(update={"language": "en"}), identity)
    assert again == {"collection": first["collection"], "encoded": 0, "removed": 0}


def test_an_edit_to_the_same_length_is_seen(tmp_path: Path, encoder: EncoderConfig, identity: Identity) -> None:
    found = some(9)
    settings = config(write(tmp_path, found), tmp_path / "out", encoder)
    inline.encode_here(settings, identity)
    assert inline.encode_here(settings, identity)["encoded"] == 0
    update = inline.planned(settings, identity)
    edited = {**found, ("de", "d0"): "Test 0 über "}
    assert len(edited["de", "d0"]) == len(found["de", "d0"])
    write(tmp_path, edited)
    assert inline.encode_here(settings, identity)["encoded"] == 1
    assert_holds(str(tmp_path / "out"), edited)
    # also when it comes between the scan and the reading
    (part, _), *_ = parts_to_encode(update.corpus, np.ones(9, dtype=bool), 3)
    (row,) = tokenize_task(settings, identity)(pa.table({"group": [[part._asdict()]]}))
    assert row["error"].to_pylist() == [f"{tmp_path}/corpus.parquet changed while it was being encoded"]


def test_another_corpus_or_encoder_is_refused(tmp_path: Path, encoder: EncoderConfig, identity: Identity) -> None:
    out = tmp_path / "out"
    inline.encode_here(config(write(tmp_path, some(9)), out, encoder), identity)
    other = config(write(tmp_path, some(9, first=100), "other"), out, encoder)
    with pytest.raises(UserError, match="a collection of another corpus, none of whose 9 documents is in this one"):
        inline.encode_here(other, identity)
    assert inline.encode_here(other, identity, among_others=True)["encoded"] == 9
    with pytest.raises(UserError, match="out already holds another run: model_fingerprint is"):
        inline.planned(other.model_copy(update={"role": "query"}), identity)
    version = collection.version_uri(str(out), 1)
    with pytest.raises(UserError, match="000001.json is one version of a collection, which stays as it is"):
        inline.planned(other.model_copy(update={"out": version}), identity)
    storage.commit(str(tmp_path / "index"), "index", {})
    with pytest.raises(UserError, match="index already holds another run: name another --out"):
        inline.planned(config(other.corpus, tmp_path / "index", encoder), identity)


def test_corpora_of_one_folder_share_documents(tmp_path: Path, encoder: EncoderConfig, identity: Identity) -> None:
    """A version of each, and each finds the most similar one to begin with."""
    out = tmp_path / "out"
    corpora_of = [some(300), some(40, first=1000), {**some(297), **some(3, first=500)}, some(300)]
    counts = []
    for number, found in enumerate(corpora_of):
        result = inline.encode_here(config(write(tmp_path, found, f"c{number}"), out, encoder, 50), identity, True)
        counts.append(result["encoded"])
        assert_holds(result["collection"], found)
    assert counts == [300, 40, 3, 0]
    assert collection.newest(str(out)) == 3


corpus_of_few = st.dictionaries(
    st.tuples(st.sampled_from(LANGUAGES), st.sampled_from([f"d{n}" for n in range(12)])),
    st.sampled_from(["one", "two", "three", ""]),
    min_size=1,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(corpus_of_few, st.integers(1, 5)), min_size=1, max_size=6))
def test_versions_hold_just_their_corpora(
    tmp_path_factory: pytest.TempPathFactory, versions: list[tuple[dict[tuple[str, str], str], int]]
) -> None:
    """Any corpora one after the other, with vectors of their lengths instead of a model's."""
    folder = tmp_path_factory.mktemp("versions")
    out = str(folder / "out")
    made: list[tuple[str, dict[str, Any], dict[tuple[str, str], str]]] = []
    for number, (found, part_rows) in enumerate(versions):
        corpus = corpora.scan_corpus(write(folder, found, f"c{number}"), part_rows, None, "error", True)
        assert corpus.documents is not None
        difference = changes.compare(out, corpus.documents, True)
        base = next((held for _, manifest, held in made if manifest == difference.base), {})
        assert difference.missing.sum() == sum(base.get(key) != text for key, text in found.items())
        assert (difference.new, difference.gone) == (len(found.keys() - base.keys()), len(base.keys() - found.keys()))
        entries = []
        for part, places in parts_to_encode(corpus, difference.missing, part_rows):
            (read,) = corpora.read_texts([part])
            entry = {"name": part.name, "language": part.language, "rows": part.rows, "file": f"{number}/{part.name}"}
            entry["texts"] = texts.write(out, read)
            vectors = np.array([[float(len(text))] for text in read.texts], dtype=np.float32)
            entry["sha256"] = embeddings.write_part(embeddings.part_uri(out, entry), read.ids, vectors, "float32")
            entries.append((entry, places))
        if not difference.same:
            body = changes.next_version(out, difference, corpus.documents, entries)
            content, sketch = documents.content_name(corpus.documents), documents.sketch(corpus.documents)
            about = {"model": "m", "model_fingerprint": "f", "role": "passage", "width": 1}
            assert collection.commit(out, difference.newest + 1, content, sketch, {**about, **body})
        uri = collection.version_uri(out, difference.same or difference.newest + 1)
        made.append((uri, collection.manifest_of(uri), found))
    for uri, _, found in made:
        assert_holds(uri, found)
        by_id = {f"{tag}:{key}": text for (tag, key), text in found.items()}
        assert {key: vector[0] for key, vector in held(uri).items()} == {key: len(text) for key, text in by_id.items()}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), unique=True),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), unique=True),
)
def test_documents_are_matched_also_where_two_ids_have_one_hash(
    wanted: list[tuple[int, int]], known: list[tuple[int, int]]
) -> None:
    known = sorted(known)
    found, shared = documents.match(*(np.array(rows, np.uint64).reshape(-1, 2) for rows in (wanted, known)))
    assert found.tolist() == [known.index(row) if row in known else -1 for row in wanted]
    assert shared.tolist() == [key in dict(known) for key, _ in wanted]


def test_a_look_up_reads_a_stretch_of_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = 5 * ledger.GROUP_ROWS
    found = ledger.of(
        rng.integers(0, 2**64, (rows, 2), dtype=np.uint64), np.arange(rows) // 4096, np.arange(rows) % 4096
    )
    entry = ledger.write(str(tmp_path), found)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def noted(file: pq.ParquetFile, group: int) -> pa.Table:
        read.append(group)
        return whole(file, group)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    some = [7, ledger.GROUP_ROWS, rows - 1]
    there = ledger.find(str(tmp_path), entry, found.documents[some, 0])
    assert read == [0, 1, 4]
    for column, expected in zip(there, found.take(np.array(some)), strict=True):
        np.testing.assert_array_equal(column, expected)
    assert not len(ledger.find(str(tmp_path), entry, np.array([1], dtype=np.uint64)).rows)


def test_ledgers_are_few(tmp_path: Path) -> None:
    entries: list[dict[str, object]] = []
    everything = np.arange(2000, dtype=np.uint64).reshape(-1, 2)
    for n in range(1000):
        entries = ledger.extended(
            str(tmp_path), entries, ledger.of(everything[n : n + 1], np.array([n]), np.array([n]))
        )
    assert len(entries) < 10
    whole = ledger.read(str(tmp_path), entries)
    np.testing.assert_array_equal(whole.documents, everything)
    np.testing.assert_array_equal(whole.parts, np.arange(1000))
