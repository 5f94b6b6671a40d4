"""Cells of a grid: how many there are, what makes one another one, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from small import grid

from hbt_ray.config import UserError
from hbt_ray.study.grid.cell import train_config
from hbt_ray.study.grid.cells import cells_of, store_id, task_id
from hbt_ray.study.grid.folder import StudyFolder
from hbt_ray.study.grid.study import check_languages, parse_grid, preset, read_grid


def test_every_combination_is_a_cell_with_its_settings() -> None:
    cells = cells_of(grid())
    assert [cell.values for cell in cells] == [
        {"alpha": alpha, "seed": seed} for alpha in ("0.0", "0.5") for seed in ("0", "1")
    ]
    assert [(cell.config.batches.alpha, cell.config.batches.seed) for cell in cells] == [
        (0.0, 0), (0.0, 1), (0.5, 0), (0.5, 1),
    ]  # fmt: skip
    assert {cell.config.encoder.model for cell in cells} == {"nano"}
    assert len({cell.id for cell in cells}) == 4


def test_a_named_value_stands_for_several_settings() -> None:
    sizes = {"small": {"model": "nano", "learning_rate": 0.01}, "large": {"model": "mini", "learning_rate": 0.001}}
    study = grid(axes={"size": sizes, "seed": [0]}, answer={"axis": "size"})
    found = {cell.values["size"]: (cell.config.encoder.model, cell.config.optimizer.learning_rate)
             for cell in cells_of(study)}  # fmt: skip
    assert found == {"small": ("nano", 0.01), "large": ("mini", 0.001)}


def test_stores_and_their_weights_are_an_axis() -> None:
    pairs: dict[str, Any] = {"source": "pairs", "input": ["/none/a.parquet"], "tokenizer": "name"}
    stores = {"qa": pairs, "odd name": {**pairs, "seed": 1}, "news": {**pairs, "seed": 2}}

    def cells(*values: Any) -> list[Any]:
        named = {f"v{number}": {"store": value} for number, value in enumerate(values)}
        return cells_of(grid(stores=stores, axes={"which": named}, answer={"axis": "which"}))

    found = cells("qa", "odd name", "qa:2 news", {"news": 3, "qa": 0.5})
    assert [cell.stores for cell in found] == [
        {"qa": 1.0}, {"odd name": 1.0}, {"qa": 2.0, "news": 1.0}, {"news": 3.0, "qa": 0.5},
    ]  # fmt: skip
    assert len({cell.id for cell in found}) == 4
    folder = StudyFolder("/study")
    config = train_config(grid(stores=stores), found[3], folder)
    places = {name: folder.store(store_id(stores[name], name)) for name in ("news", "qa")}
    assert [(one.name, one.uri, one.weight) for one in config.data] == [
        ("news", places["news"], 3.0), ("qa", places["qa"], 0.5),
    ]  # fmt: skip
    plain = cells_of(grid(stores=stores, axes={"store": ["qa", "qa:2 news"]}, answer={"axis": "store"}))
    assert [cell.values["store"] for cell in plain] == ["qa", "qa:2 news"]
    assert [cell.id for cell in plain] == [found[0].id, found[2].id]
    shared = grid(stores=stores, fixed={**grid().fixed, "store": ["qa", "news:2"]})
    assert [cell.stores for cell in cells_of(shared)][:1] == [{"qa": 1.0, "news": 2.0}]
    with pytest.raises(UserError, match="two cells have the same settings"):
        cells("qa:2 news", {"news": 2, "qa": 4})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other", "question": "What else?", "notes": ["A note."]},
        {"fixed": {**grid().fixed, "workers": 4, "zero_stage": 1, "checkpoint_every": 3}},
        {"axes": {"seed": [0, 1], "alpha": [0.0, 0.5]}},
        {"tasks": [{"task": "world-facts"}]},
    ],
)
def test_what_decides_nothing_leaves_a_cell_the_same(changes: dict[str, Any]) -> None:
    assert {cell.id for cell in cells_of(grid(**changes))} == {cell.id for cell in cells_of(grid())}


@pytest.mark.parametrize(
    "changes",
    [
        {"fixed": {**grid().fixed, "steps": 9}},
        {"fixed": {**grid().fixed, "temperature": 0.06}},
        {"stores": {"facts": {"sample": {"languages": ["de", "en"], "tokenizer": "train:2000"}}}},
    ],
)
def test_what_decides_a_result_makes_other_cells(changes: dict[str, Any]) -> None:
    assert not {cell.id for cell in cells_of(grid(**changes))} & {cell.id for cell in cells_of(grid())}


def test_stores_and_evaluations_are_known_by_what_decides_them() -> None:
    settings: dict[str, Any] = {"source": "parallel", "input": ["/a"], "tokenizer": "t"}
    assert store_id(settings, "a") == store_id({**settings, "partitions": 7}, "b")
    assert store_id(settings, "a") != store_id({**settings, "max_tokens": 64}, "a")
    mined = {**settings, "mine": {"corpus": "/c", "encoder": {"model": "m"}}}
    assert store_id(mined, "a") != store_id(settings, "a")
    assert store_id(mined, "a") == store_id(
        {**mined, "mine": {**mined["mine"], "encoding": {"dtype": "float32", "actors": 4}}}, "a"
    )
    assert store_id(mined, "a") != store_id({**mined, "mine": {**mined["mine"], "negatives": 7}}, "a")
    (task,) = grid().tasks
    assert task_id(task) == task_id(task.model_copy(update={"evaluate": {"encoding": {"dtype": "float32"}}}))
    assert task_id(task) != task_id(task.model_copy(update={"evaluate": {"depth": 7}}))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"fixed": {"model": "nano", "steps": 3, "learning_rat": 1}},
            "no setting learning_rat; is learning_rate meant",
        ),
        ({"fixed": {"model": "nano", "steps": 3, "encoder": {"poling": "cls"}}}, "is encoder.pooling meant"),
        ({"axes": {"alpha": [0.5, 0.5], "seed": [0]}}, "two cells have the same settings: alpha 0.5, seed 0"),
        ({"axes": {"alpha": [0.5], "workers": [1, 2]}}, "two cells have the same settings"),
        ({"axes": {"alpha": [7]}}, "cell alpha 7: --batches.alpha: input should be less than or equal to 1"),
        ({"stores": {"facts": {"sample": {"align": 1}}}}, "no setting align; is aligned meant"),
        ({"stores": {"a": {"source": "pairs", "tokeniser": "t"}}}, "no setting tokeniser; is tokenizer meant"),
        ({"axes": {"alpha": [0.5], "store": ["other"]}}, "store: other is none of facts"),
        ({"axes": {"alpha": [0.5], "store": ["facts:2 other"]}}, "store: other is none of facts"),
        ({"axes": {"alpha": [0.5], "store": ["facts facts:2"]}}, "store: facts is there twice"),
        (
            {"axes": {"alpha": [0.5], "store": ["facts:0"]}},
            "the weight of .*facts has to be a number greater than 0",
        ),
        (
            {"axes": {"alpha": [0.5], "store": ["facts:x"]}},
            "the weight of .*facts has to be a number greater than 0",
        ),
        ({"tasks": [{"task": "world-facts", "evaluate": {"dept": 3}}]}, "no setting dept; is depth meant"),
    ],
)
def test_a_bad_grid_is_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line) as told:
        study = grid(**changes)
        cells_of(study)
        task_id(study.tasks[0])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("axes: {alpha: []}", "axes.alpha has no value"),
        ("axes: {seed: [0]}", "answer.axis: alpha is none of the axes seed"),
        ("axs: {seed: [0]}", "no setting axs; is axes meant"),
        ("answer: {axis: alpha, kind: scaling}", "scaling needs the axis and the two values"),
        ("a: [", "is not YAML"),
        ("- a", "holds no grid"),
    ],
)
def test_a_bad_file_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    whole = grid().model_dump_json()

    values = yaml.safe_load(text) if "[" not in text or "{" in text else None
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(whole), **values}) if isinstance(values, dict) else text)
    with pytest.raises(UserError, match=line):
        read_grid(str(file))


def test_a_task_that_lacks_a_language_is_refused() -> None:
    with pytest.raises(UserError, match="world-facts cannot serve sw: it has ar, de,"):
        check_languages(grid(tasks=[{"task": "world-facts", "languages": ["sw"]}]))
    with pytest.raises(UserError, match="xquad-r cannot serve fr"):
        check_languages(grid(tasks=[{"task": "xquad-r", "languages": ["de", "fr"]}]))
    check_languages(grid(tasks=[{"task": "xquad-r", "languages": ["de", "en"]}]))


@pytest.mark.parametrize("scale", ["tiny", "full"])
@pytest.mark.parametrize("name", ["strategies", "ratio", "sizes", "instructions", "large-models"])
def test_presets_are_grids(name: str, scale: str) -> None:
    study = preset(name, scale)
    cells = cells_of(study)
    check_languages(study)
    for task in study.tasks:
        task_id(task)
    assert len(cells) >= 8
    if name in ("strategies", "ratio"):
        assert len(study.axes["seed"]) >= 3


def test_a_grid_is_the_same_in_yaml_and_in_python() -> None:
    told = parse_grid(grid().model_dump(mode="json"), "here")
    assert told.model_dump_json() == grid().model_dump_json()
    assert [cell.id for cell in cells_of(told)] == [cell.id for cell in cells_of(grid())]
