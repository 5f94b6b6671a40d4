"""The report: whole in itself, true to its numbers, the best marked, and at home with a run that was never trained."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hbt_ray.config import UserError
from hbt_ray.study.report import Run, table, write

LANGUAGES = ("de", "en", "zh")


def results(mono: float, cross: float, multi: float, distance: float) -> dict[str, Any]:
    def spread(mean: float) -> dict[str, float]:
        return {"de": mean * 0.9, "en": mean, "zh": mean * 1.1}

    pairs = {f"{q}-{p}": cross for q in LANGUAGES for p in LANGUAGES if p != q}
    return {
        "task": "world-facts",
        "model": "tiny",
        "text": "sentence",
        "settings": {
            "monolingual": {"map": mono, "by_language": spread(mono)},
            "cross-lingual": {"map": cross, "by_pair": pairs, "by_language": spread(cross)},
            "multilingual": {
                "map": multi,
                "by_language": spread(multi),
                "rank_distance": distance,
                "rank_distance_by_language": spread(distance),
            },
        },
        "counts": {"queries": 1440, "documents": 8820},
    }


def steps(kinds: str) -> list[dict[str, Any]]:
    """One line a letter: m is a monolingual German batch, c a cross-lingual one."""
    return [
        {
            "step": step,
            "stratum": "mono:de" if kind == "m" else "cross",
            "kind": "monolingual" if kind == "m" else "cross-lingual",
            "loss": 5.0 / (step + 1),
            "learning_rate": 1e-3,
            "grad_norm": 1.0,
            "query_languages": {"de": 8} if kind == "m" else {"en": 4, "zh": 4},
            "passage_languages": {"de": 8},
            "pairs_per_s": 250.0,
        }
        for step, kind in enumerate(kinds)
    ]


RUNS = (
    Run("untrained", results(0.0512, 0.0113, 0.0104, 4586.0)),
    Run("x-x", results(0.8206, 0.0521, 0.1427, 4652.14), steps("m" * 100)),
    Run("hybrid", results(0.8123, 0.7628, 0.7346, 340.27), steps("mccc" * 25)),
)


class Page(HTMLParser):
    """Collects what a page loads, links to and says, cell by cell."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.sources += [values["src"] or ""] if "src" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        if tag in ("td", "th"):
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def render(folder: Path, runs: tuple[Run, ...]) -> tuple[str, Page]:
    write(str(folder), "Three ways to compose batches", runs)
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    return text, page


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    text, page = render(tmp_path, RUNS)
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.sources) == 5 and all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.links and all((tmp_path / link).is_file() for link in page.links)


def test_plots_lie_beside_the_page_in_both_forms(tmp_path: Path) -> None:
    render(tmp_path, RUNS)
    for name in ("settings", "rank_distance", "pairs", "loss", "mix"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / f"{name}.svg").read_bytes()


def test_names_and_numbers_are_on_the_page_with_the_best_starred(tmp_path: Path) -> None:
    text, page = render(tmp_path, RUNS)
    cells = [" ".join(cell.split()) for cell in page.cells]
    headline = cells[5 : 5 + 3 * 5]
    assert headline == [
        *("untrained", "0.051", "0.011", "0.010", "4,586.0"),
        *("x-x", "0.821 ★", "0.052", "0.143", "4,652.1"),
        *("hybrid", "0.812", "0.763 ★", "0.735 ★", "340.3 ★"),
    ]
    assert "Three ways to compose batches" in text and "1,440" in cells and "8,820" in cells
    assert cells[27:34] == ["untrained", "0", "0", "–", "–", "1,440", "8,820"]
    assert cells[41:48] == ["hybrid", "100", "800", "25%", "250", "1,440", "8,820"]
    assert text.count("max − min") == 4


def test_the_smallest_rank_distance_is_the_best_and_what_looks_equal_is_equally_good(tmp_path: Path) -> None:
    runs = (Run("a", results(0.50001, 0.5, 0.5, 20.0)), Run("b", results(0.50004, 0.4, 0.6, 30.0)))
    _, page = render(tmp_path, runs)
    cells = [" ".join(cell.split()) for cell in page.cells]
    assert cells[5:10] == ["a", "0.500 ★", "0.500 ★", "0.500", "20.0 ★"]
    assert cells[10:15] == ["b", "0.500 ★", "0.400", "0.600 ★", "30.0"]


def test_runs_without_steps_make_a_report_without_training_plots(tmp_path: Path) -> None:
    text, page = render(tmp_path, RUNS[:1])
    assert len(page.sources) == 3 and not (tmp_path / "loss.svg").exists()
    assert "None of these runs has training steps to show." in text


def test_a_setting_without_queries_is_a_dash_and_has_no_best(tmp_path: Path) -> None:
    alone = results(0.5, 0.5, 0.5, 2.0)
    alone["settings"]["cross-lingual"] = {"map": None, "by_pair": {}, "by_language": {}}
    alone["settings"]["multilingual"] |= {"rank_distance": None, "rank_distance_by_language": {"de": None}}
    _, page = render(tmp_path, (Run("alone", alone),))
    assert [" ".join(cell.split()) for cell in page.cells][5:10] == ["alone", "0.500 ★", "–", "0.500 ★", "–"]


def test_the_same_runs_give_the_same_report(tmp_path: Path) -> None:
    assert render(tmp_path / "a", RUNS)[0] == render(tmp_path / "b", RUNS)[0]


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    text, page = render(tmp_path, (Run("<script>$x_1$", results(0.5, 0.5, 0.5, 2.0), steps("mc")),))
    assert "script" not in page.tags and "&lt;script&gt;" in text


def test_a_report_of_nothing_or_of_two_runs_with_one_name_is_refused(tmp_path: Path) -> None:
    for runs in ((), (RUNS[1], RUNS[1])):
        with pytest.raises(UserError, match="names of their own"):
            write(str(tmp_path), "title", runs)
    assert not (tmp_path / "index.html").exists()


def test_the_terminal_table_says_the_same() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table((*RUNS, Run("[red]", results(0.1, 0.1, 0.1, 9999.0)))))
    lines = [re.findall(r"[^\s│]+", line) for line in console.export_text().splitlines()]
    assert ["[red]", "0.100", "0.100", "0.100", "9,999.0"] in lines
    assert ["x-x", "0.821", "★", "0.052", "0.143", "4,652.1"] in lines
    assert ["hybrid", "0.812", "0.763", "★", "0.735", "★", "340.3", "★"] in lines
