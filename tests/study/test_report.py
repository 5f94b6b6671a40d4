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
from hbt_ray.study.paper import Claim
from hbt_ray.study.report import overview, write_page
from hbt_ray.study.runs import Run
from hbt_ray.study.shown_best import shown_best, with_tests

LANGUAGES = ("de", "en", "zh")


def results(mono: float, cross: float, multi: float, distance: float, task: str = "world-facts") -> dict[str, Any]:
    def spread(mean: float) -> dict[str, float]:
        return {"de": mean * 0.9, "en": mean, "zh": mean * 1.1}

    pairs = {f"{q}-{p}": cross for q in LANGUAGES for p in LANGUAGES if p != q}
    return {
        "task": task,
        "headline": ["map", "success@1"],
        "model": "tiny",
        "text": "sentence",
        "settings": {
            "monolingual": {"map": mono, "by_language": spread(mono), "measures": {"success@1": mono / 2}},
            "cross-lingual": {
                "map": cross,
                "by_pair": pairs,
                "by_language": spread(cross),
                "by_script": {"same": cross * 1.2, "different": cross * 0.8},
                "measures": {"success@1": cross / 2},
            },
            "multilingual": {
                "map": multi,
                "by_language": spread(multi),
                "measures": {"success@1": multi / 2},
                "language_share": {"top": spread(0.3), "relevant": dict.fromkeys(LANGUAGES, 1 / 3)},
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
    write_page(str(folder), "Three ways to compose batches", runs)
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    return text, page


def cells(page: Page) -> list[str]:
    return [" ".join(cell.split()) for cell in page.cells]


def rows(page: Page, name: str, width: int) -> list[list[str]]:
    """The cells after each one that is `name`."""
    shown = cells(page)
    return [shown[i + 1 : i + 1 + width] for i, cell in enumerate(shown) if cell == name]


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    text, page = render(tmp_path, RUNS)
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.sources) == 6 and all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    files = [link for link in page.links if not link.startswith("#")]
    assert len(files) == 12 and all((tmp_path / link).is_file() for link in files)


def test_plots_lie_beside_the_page_in_both_forms(tmp_path: Path) -> None:
    render(tmp_path, RUNS)
    of_task = [f"world-facts-{name}" for name in ("settings", "rank_distance", "shares", "pairs")]
    for name in (*of_task, "loss", "mix"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / f"{name}.svg").read_bytes()


def test_names_and_numbers_are_on_the_page_with_the_best_starred(tmp_path: Path) -> None:
    text, page = render(tmp_path, RUNS)
    assert rows(page, "untrained", 4)[0] == ["0.051", "0.011", "0.010", "4,586.0"]
    assert rows(page, "x-x", 4)[0] == ["0.821 ★", "0.052", "0.143", "4,652.1"]
    assert rows(page, "hybrid", 4)[0] == ["0.812", "0.763 ★", "0.735 ★", "340.3 ★"]
    assert rows(page, "hybrid", 3)[1] == ["0.406", "0.381 ★", "0.367 ★"]  # success@1
    assert rows(page, "hybrid", 2)[2] == ["0.915 ★", "0.610 ★"]  # same script, different scripts
    assert rows(page, "untrained", 4)[-1] == ["0", "0", "–", "–"]
    assert rows(page, "hybrid", 4)[-1] == ["100", "800", "25%", "250"]
    assert "Three ways to compose batches" in text and "1,440 queries" in text and "8,820 documents" in text
    assert text.count("max − min") == 4
    written = (tmp_path / "report.md").read_text()
    assert "| hybrid | 0.812 | **0.763** | **0.735** | **340.3** |" in written


def test_claims_stand_under_the_result_with_their_verdicts(tmp_path: Path) -> None:
    claims = (Claim("a & b (mAP 0.700)", True), Claim("no bias", False))
    write_page(str(tmp_path), "title", RUNS, claims=claims)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<b class="better">Shown</b>: a &amp; b (mAP 0.700)' in text
    assert '<b class="worse">NOT shown</b>: no bias' in text
    written = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "- Shown: a & b (mAP 0.700)\n- NOT shown: no bias\n" in written
    write_page(str(tmp_path / "none"), "title", RUNS)
    assert "What is claimed" not in (tmp_path / "none/index.html").read_text(encoding="utf-8")


def test_tasks_stand_side_by_side_as_in_the_paper(tmp_path: Path) -> None:
    """A model that was not evaluated on a task has dashes there; a task without a setting has no column for it."""
    alone = results(0.6, 0, 0, 0, task="beir:s3://b/miracl")
    del alone["settings"]["cross-lingual"], alone["settings"]["multilingual"]
    _, page = render(tmp_path, (*RUNS, Run("x-x", alone)))
    assert rows(page, "x-x", 5)[0] == ["0.821 ★", "0.052", "0.143", "0.600", "4,652.1"]
    assert rows(page, "hybrid", 5)[0] == ["0.812", "0.763 ★", "0.735 ★", "–", "340.3 ★"]
    assert cells(page)[1:4] == ["world-facts", "beir:s3://b/miracl", "rank distance"]
    assert (tmp_path / "beir-s3-b-miracl-settings.png").is_file()
    assert not (tmp_path / "beir-s3-b-miracl-rank_distance.png").exists()


def test_the_smallest_rank_distance_is_the_best_and_what_looks_equal_has_no_star(tmp_path: Path) -> None:
    _, page = render(tmp_path, (Run("a", results(0.50001, 0.5, 0.5, 20.0)), Run("b", results(0.50004, 0.4, 0.6, 30.0))))
    assert rows(page, "a", 4)[0] == ["0.500", "0.500 ★", "0.500", "20.0 ★"]
    assert rows(page, "b", 4)[0] == ["0.500", "0.400", "0.600 ★", "30.0"]


def compared(verdicts: dict[str, tuple[str, float, float]], measure: str = "map") -> dict[str, Any]:
    """What `compare` says of systems against x-x: verdict and interval of each."""
    entries = [
        {"system": name, "setting": "multilingual", "measure": measure, "verdict": verdict, "low": low, "high": high}
        for name, (verdict, low, high) in verdicts.items()
    ]
    return {"task": "world-facts", "baseline": "x-x", "comparisons": entries}


@pytest.mark.parametrize(
    ("measure", "verdicts", "best"),
    [
        ("map", {"hybrid": ("better", 0.5, 0.7), "untrained": ("worse", -0.2, -0.1)}, "hybrid"),
        ("map", {"hybrid": ("better", 0.5, 0.7), "untrained": ("better", 0.4, 0.6)}, None),  # these two may be alike
        ("map", {"hybrid": ("no difference shown", -0.1, 0.7), "untrained": ("worse", -0.2, -0.1)}, None),
        ("map", {"hybrid": ("worse", -0.5, -0.1), "untrained": ("worse", -0.2, -0.1)}, "x-x"),
        ("rank_distance", {"hybrid": ("better", -700, -500), "untrained": ("better", -60, -20)}, "hybrid"),
        ("rank_distance", {"hybrid": ("better", -700, -50), "untrained": ("better", -60, -20)}, None),
    ],
)
def test_a_star_is_what_a_test_shows(measure: str, verdicts: dict[str, Any], best: str | None) -> None:
    found = shown_best(compared(verdicts, measure))
    assert found == ({best: {("multilingual", measure)}} if best else {})


def test_where_there_are_tests_they_decide_and_what_is_not_tested_has_no_star(tmp_path: Path) -> None:
    verdicts = {"hybrid": ("better", 0.5, 0.7), "untrained": ("worse", -0.2, -0.1)}
    write_page(str(tmp_path), "title", with_tests(RUNS, {"world-facts": compared(verdicts)}))
    page = Page()
    page.feed((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert rows(page, "x-x", 4)[0] == ["0.821", "0.052", "0.143", "4,652.1"]
    assert rows(page, "hybrid", 4)[0] == ["0.812", "0.763", "0.735 ★", "340.3"]
    assert sum("★" in cell for cell in cells(page)) == 1
    # the best that is shown is not the one that the test says: then none
    swapped = with_tests(
        RUNS, {"world-facts": compared({"untrained": ("better", 0.5, 0.7), "hybrid": ("worse", -1, 0)})}
    )
    write_page(str(tmp_path / "b"), "title", swapped)
    assert "★</span>" not in (tmp_path / "b/index.html").read_text(encoding="utf-8")


def test_the_heat_map_and_its_bar_have_one_unit(tmp_path: Path) -> None:
    render(tmp_path, RUNS)
    drawn = (tmp_path / "world-facts-pairs.svg").read_text(encoding="utf-8")
    assert "mAP × 100" in drawn and "<!-- mAP -->" not in drawn
    assert "<!-- 100 -->" in drawn and "<!-- 0.5 -->" not in drawn


def test_runs_without_steps_make_a_report_without_training(tmp_path: Path) -> None:
    text, page = render(tmp_path, RUNS[:1])
    assert len(page.sources) == 4 and not (tmp_path / "loss.svg").exists()
    assert "★" not in text  # there is nothing that it could be better than
    assert "**" not in (tmp_path / "report.md").read_text()
    assert "What was trained" not in text


def test_a_setting_without_queries_has_no_column(tmp_path: Path) -> None:
    alone = results(0.5, 0.5, 0.5, 2.0)
    alone["settings"]["cross-lingual"] = {"map": None, "by_pair": {}, "by_language": {}}
    alone["settings"]["multilingual"] |= {"rank_distance": None, "rank_distance_by_language": {"de": None}}
    _, page = render(tmp_path, (Run("alone", alone),))
    assert rows(page, "alone", 2)[0] == ["0.500", "0.500"]
    assert "rank distance" not in cells(page)


def test_the_same_runs_give_the_same_report(tmp_path: Path) -> None:
    assert render(tmp_path / "a", RUNS)[0] == render(tmp_path / "b", RUNS)[0]


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    text, page = render(tmp_path, (Run("<script>$x_1$", results(0.5, 0.5, 0.5, 2.0), steps("mc")),))
    assert "script" not in page.tags and "&lt;script&gt;" in text


def test_a_report_of_nothing_or_of_two_runs_with_one_name_is_refused(tmp_path: Path) -> None:
    for runs, message in (((), "needs a run"), ((RUNS[1], RUNS[1]), "2 of world-facts are called x-x")):
        with pytest.raises(UserError, match=message):
            write_page(str(tmp_path), "title", runs)
    assert not (tmp_path / "index.html").exists()


def test_the_terminal_table_says_the_same() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(overview((*RUNS, Run("[red]", results(0.1, 0.1, 0.1, 9999.0)))))
    lines = [re.findall(r"[^\s│]+", line) for line in console.export_text().splitlines()]
    assert ["[red]", "0.100", "0.100", "0.100", "9,999.0"] in lines
    assert ["x-x", "0.821", "★", "0.052", "0.143", "4,652.1"] in lines
    assert ["hybrid", "0.812", "0.763", "★", "0.735", "★", "340.3", "★"] in lines
