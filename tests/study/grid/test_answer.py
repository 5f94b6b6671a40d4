"""What a study says of its cells: means, tests, sentences, the table and the report."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from small import finish, grid, rows

from hbt_ray import storage
from hbt_ray.config import CostConfig, Grid
from hbt_ray.study.grid import page
from hbt_ray.study.grid.answer import Findings, answer, groups_of, mean_of
from hbt_ray.study.grid.best import best_of_study, write_best
from hbt_ray.study.grid.cells import Cell, cells_of
from hbt_ray.study.grid.estimates import estimate
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.results import headlines, write_results


def answered(study: Grid, out: Path, quality: dict[str, float]) -> tuple[list[Cell], StudyFolder, pa.Table, Findings]:
    """The study with cells of such qualities, by the value of the axis in question."""
    cells, folder = cells_of(study), StudyFolder(str(out))
    for number, cell in enumerate(cells):
        size = 10_000 * 4 ** cell.numbers.get("size", 0)
        finish(study, cell, folder, rows(quality[cell.values[study.answer.axis]], number), size)
    table = write_results(study, cells, folder)
    return cells, folder, table, answer(study, cells, folder, table)


def test_the_table_has_every_figure_once(tmp_path: Path) -> None:
    cells, folder, table, _ = answered(grid(), tmp_path, {"0.0": 0.3, "0.5": 0.6})
    assert pq.read_table(folder.results).equals(table)
    key = ["cell", "task", "setting", "measure", "query_language", "pool"]
    assert len(table.group_by(key).aggregate([])) == len(table)
    own = table.filter(pc.and_(pc.equal(table["cell"], cells[0].id), pc.equal(table["measure"], "map")))
    by_pair = own.filter(pc.and_(pc.equal(own["setting"], "cross-lingual"), pc.is_valid(own["query_language"])))
    assert len(by_pair) == 6 and set(by_pair["queries"].to_pylist()) == {30}
    headline = headlines(table)[cells[0].id, "world-facts", "cross-lingual", "map"]
    assert headline == pytest.approx(np.mean(by_pair["value"].to_pylist()))
    assert headline == pytest.approx(0.3, abs=0.02)
    assert set(table["axis_alpha"].to_pylist()) == {"0.0", "0.5"}


def test_intervals_over_seeds_are_students() -> None:
    found = mean_of([0.2, 0.4, 0.6])
    assert found.mean == pytest.approx(0.4)
    assert found.high - found.mean == pytest.approx(4.30265 * 0.2 / np.sqrt(3), rel=1e-5)
    assert np.isnan(mean_of([0.5]).low) and np.isnan(mean_of([]).mean)


def test_seeds_are_averaged_and_the_baseline_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    _, _, _, found = answered(grid(), tmp_path, {"0.0": 0.3, "0.5": 0.6})
    (group,) = found.groups
    assert group.baseline == "0.5" and list(group.systems) == ["0.0", "0.5"]
    assert [len(cells) for cells in group.systems.values()] == [2, 2]
    (one,) = found.comparisons
    assert one.found["baseline"] == "0.5"


def test_a_curve_is_answered_with_its_best_value_and_what_is_worse(tmp_path: Path) -> None:
    _, _, _, found = answered(grid(), tmp_path, {"0.0": 0.3, "0.5": 0.6})
    assert re.match(r"mAP at multilingual retrieval is best at alpha 0\.5 \(0\.\d+\)\. Against 0\.5", found.sentence)
    assert found.sentence.endswith("0.0 is worse.")
    assert "monolingual mAP goes from 0.3" in found.more[0] and "best 0.6" in found.more[0]


def test_no_difference_is_said_where_none_is_shown(tmp_path: Path) -> None:
    _, _, _, found = answered(grid(), tmp_path, {"0.0": 0.5, "0.5": 0.5})
    assert "No difference is shown between 0.5" in found.sentence


def test_systems_are_compared_with_their_tests(tmp_path: Path) -> None:
    study = grid(axes={"strategy": ["x-x", "hybrid"], "seed": [0, 1]}, answer={"axis": "strategy"})
    _, _, _, found = answered(study, tmp_path, {"x-x": 0.3, "hybrid": 0.6})
    assert re.search(r"hybrid is better than x-x \(0\.(59|60)\d and 0\.(29|30)\d; difference", found.sentence)
    assert "p = " in found.sentence


def test_a_gain_over_sizes_is_fitted(tmp_path: Path) -> None:
    sizes = {name: {"model": name} for name in ("nano", "tiny", "mini")}
    study = grid(
        axes={"size": sizes, "strategy": ["x-x", "hybrid"], "seed": [0, 1]},
        answer={"kind": "scaling", "axis": "size", "between": ["strategy", "hybrid", "x-x"]},
    )
    cells, folder = cells_of(study), StudyFolder(str(tmp_path))
    for number, cell in enumerate(cells):
        size = 10_000 * 4 ** cell.numbers["size"]
        gain = 0.05 * (size / 10_000) ** 0.5 if cell.values["strategy"] == "hybrid" else 0.0
        finish(study, cell, folder, rows(0.3 + gain, number), size)
    table = write_results(study, cells, folder)
    ((law, points),) = answer(study, cells, folder, table).laws
    assert len(points) == 6 and law.sizes == 3
    assert law.low < 0.5 < law.high and law.shown


@pytest.mark.parametrize("kind", ["curve", "compare"])
def test_the_report_leads_from_every_figure_to_its_cell(tmp_path: Path, kind: str) -> None:
    study = grid(answer={"kind": kind, "axis": "alpha", "baseline": 0.5}, published=["xquad-r"])
    cells, folder, table, found = answered(study, tmp_path, {"0.0": 0.3, "0.5": 0.6})
    gone = {cells[0].id: {"event": "failed", "reason": "it is no model"}}
    page.write_study(study, cells, cells[1:], gone, folder, table, found, estimate(study, cells, CostConfig()))
    text = Path(folder.report, "index.html").read_text()
    assert text.index(study.question) < text.index(found.sentence.split(" (")[0]) < text.index("How it was found out")
    for cell in cells:
        assert f'id="cell-{cell.id}"' in text and f'href="#cell-{cell.id}"' in text
    assert "it is no model" in text and "3 of 4 cells done" in text
    assert "theirs: arXiv 2408.10536" in text
    assert re.search(r"Seeds differ most at alpha 0\.0: multilingual mAP is 0\.\d+ with seed \d and 0\.\d+ with", text)
    assert "http" not in re.sub(r"data:[^\"]*|https?://www.w3.org[^\"]*", "", text).replace("https://github.com", "")
    markdown = Path(folder.report, "report.md").read_text()
    for sheet in ("mAP", "language bias, multilingual setting", "against 0.5", "all cells"):
        assert f"### {sheet}" in markdown and f">{sheet}<" in text


def test_the_best_model_has_a_card_and_results_for_mteb(tmp_path: Path) -> None:
    study = grid()
    _, folder, table, found = answered(study, tmp_path, {"0.0": 0.3, "0.5": 0.6})
    best = best_of_study(study, found.groups, table)
    assert best is not None and (best.name, best.cell.values) == ("0.5", {"alpha": "0.5", "seed": "0"})
    write_best(study, best, folder, table)
    card = storage.read_bytes(f"{tmp_path}/best/README.md").decode()
    assert card.startswith("# card") and "multilingual mAP" in card and "Of 2 runs" in card
    (file,) = Path(tmp_path, "best", "mteb", "results").glob("*/*/world-facts.json")
    assert file.with_name("model_meta.json").exists()


def test_groups_leave_out_what_is_not_done() -> None:
    study = grid()
    cells = [cell for cell in cells_of(study) if cell.values["alpha"] == "0.0"]
    (group,) = groups_of(study, cells)
    assert group.baseline == "0.0" and list(group.systems) == ["0.0"]
