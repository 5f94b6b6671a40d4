"""How the input is cut: every file and row group once, in order, in parts of the size asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from hbt_ray import storage
from hbt_ray.config import PrepareConfig
from hbt_ray.data import inputs
from hbt_ray.data import pieces as parts
from hbt_ray.data.pieces import FilePiece, InputFile, ReadPart
from hbt_ray.data.sources import SOURCES
from hbt_ray.data.sources.layout import Layout

SIZES = st.integers(0, 3000)
FILES = st.lists(st.tuples(SIZES, st.lists(SIZES, max_size=9)), max_size=30).map(
    lambda files: [InputFile(f"f{n}", sum(groups) or size, tuple(groups)) for n, (size, groups) in enumerate(files)]
)


def units(part: ReadPart, files: list[InputFile], part_bytes: int) -> list[tuple[int, int, int]]:
    """(file, row group, size) of all that a part holds."""
    found = []
    for piece in part.pieces:
        file = files[piece.number]
        assert piece.uri == file.uri
        assert (piece.stop is None) == (not file.row_groups)
        sizes = file.row_groups[piece.first : piece.stop] or [max(file.size, part_bytes // 128)]
        found += [(piece.number, piece.first + n, size) for n, size in enumerate(sizes)]
    return found


@given(FILES, st.integers(1, 5000))
def test_parts_hold_everything_once_in_order_and_are_full(files: list[InputFile], part_bytes: int) -> None:
    found = [units(part, files, part_bytes) for part in parts.bundle(files, part_bytes)]
    assert [unit[:2] for part in found for unit in part] == [
        (number, group) for number, file in enumerate(files) for group in range(len(file.row_groups) or 1)
    ]
    sizes = [[size for *_, size in part] for part in found]
    assert all(len(part) == 1 or sum(part) <= part_bytes for part in sizes)
    assert all(sum(one) + other[0] > part_bytes for one, other in pairwise(sizes))
    assert [sum(part) for part in sizes] == [part.size for part in parts.bundle(files, part_bytes)]


@given(FILES, st.integers(1, 5000))
def test_partitions_follow_the_input(files: list[InputFile], part_bytes: int) -> None:
    count = parts.partitions(files, part_bytes)
    total = sum(file.size for file in files)
    assert count == 1 or (count - 1) * part_bytes < total
    assert count * part_bytes >= total


def test_a_large_parquet_file_is_cut_at_row_groups(tmp_path: Path) -> None:
    file = str(tmp_path / "a.parquet")
    names = ("query", "query_lang", "passage", "passage_lang")
    columns = {name: [f"{name} {row}" for row in range(1000)] for name in names}
    pq.write_table(pa.table(columns), file, row_group_size=100)
    config = PrepareConfig(source="pairs", input=(str(tmp_path),), tokenizer="-", out="-")
    _, (found,), versions, _ = inputs.find(config, part_bytes=2**30)
    assert found == InputFile(file, storage.size(file))
    _, (cut,), again, _ = inputs.find(config, part_bytes=4000)
    assert (len(cut.row_groups), again) == (10, versions)
    assert 0.5 * found.size < sum(cut.row_groups) <= found.size
    pieces = [piece for part in parts.bundle([cut], 4000) for piece in part.pieces]
    assert len(pieces) > 2
    read = pa.concat_tables(table for piece in pieces for table in SOURCES["pairs"].read(piece, Layout("data")))
    assert read == pa.concat_tables(SOURCES["pairs"].read(FilePiece(file), Layout("data")))
    assert read["row"].to_pylist() == list(range(1000))


def test_what_cannot_be_cut_is_one_piece(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"x" * 100)
    _, (found,), *_ = inputs.find(PrepareConfig(source="jsonl", input=(str(tmp_path),), tokenizer="-", out="-"), 10)
    assert found == InputFile(str(tmp_path / "a.jsonl.gz"), 400)  # it grows when it is unpacked
    (tmp_path / "b.parquet").write_bytes(b"x" * 100)  # damaged: that is for the task to say that reads it
    damaged = PrepareConfig(source="pairs", input=(str(tmp_path / "*.parquet"),), tokenizer="-", out="-")
    _, (found,), *_ = inputs.find(damaged, 10)
    assert found == InputFile(str(tmp_path / "b.parquet"), 100)
