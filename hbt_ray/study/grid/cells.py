"""The cells of a grid: every combination of its axes, checked, and known by what decides its result."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from hbt_ray import storage
from hbt_ray.command import flags_of, kinds_of, validation_line
from hbt_ray.config import (
    EvaluateConfig,
    Grid,
    Mined,
    PrepareConfig,
    Sample,
    Section,
    TaskSettings,
    TrainConfig,
    UserError,
    WeightedStore,
)
from hbt_ray.data.stores import whole_numbers

VERSION = 1  # of what an identity is made of
SOMEWHERE = "/study"  # stands for the study's folder, which decides nothing
STORE, SAMPLE, MINE = "store", "sample", "mine"
S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Cell:
    """A training run of a study.

    Attributes:
        values: axis to the value that the cell has there, as it is shown.
        numbers: axis to its place among the axis' values.
        stores: name of each of its stores to the store's weight.
        config: settings of its run, with `SOMEWHERE` for the study's folder.
        id: hash of what decides its result: neither where it runs, nor what it is called, nor on how many workers.
    """

    values: dict[str, str]
    numbers: dict[str, int]
    stores: dict[str, float]
    config: TrainConfig
    id: str

    @property
    def name(self) -> str:
        """The cell's values, as a reader sees them."""
        return ", ".join(f"{axis} {value}" for axis, value in self.values.items())


def cells_of(grid: Grid) -> list[Cell]:
    """All cells, in the order of the axes, the last of which changes fastest.

    Raises:
        UserError: a setting is unknown or refused, a store is not named, or two cells have the same settings.
    """
    stores = {name: store_id(settings, name) for name, settings in grid.stores.items()}
    options = {axis: _options(axis, values) for axis, values in grid.axes.items()}
    found = []
    for chosen in itertools.product(*(range(len(values)) for values in options.values())):
        numbers = dict(zip(options, chosen, strict=True))
        values = {axis: options[axis][number][0] for axis, number in numbers.items()}
        settings = dict(grid.fixed)
        for axis, number in numbers.items():
            settings |= options[axis][number][1]
        found.append(_cell(grid, values, numbers, settings, stores))
    _refuse_equal(found)
    return found


def store_id(settings: Mapping[str, Any], name: str) -> str:
    """What decides the content of a store, as a short hash.

    Raises:
        UserError: a setting is unknown or refused.
    """
    return storage.fingerprint([VERSION, *store_settings(settings, name)])


def store_settings(settings: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """What kind of store it is, `prepare`, `mine` or `sample`, and its settings, checked, but for where it is made.

    Raises:
        UserError: a setting is unknown or refused.
    """
    where = f"stores.{name}"
    if SAMPLE in settings:
        return SAMPLE, _checked(Sample, settings[SAMPLE] or {}, f"{where}.{SAMPLE}").model_dump(mode="json")
    own = {key: value for key, value in settings.items() if key != MINE}
    config = _checked(PrepareConfig, {**own, "out": f"{SOMEWHERE}/store"}, where)
    decides = config.model_dump(mode="json", exclude=set(PrepareConfig.FREE))
    if MINE not in settings:
        return "prepare", decides
    mined = _checked(Mined, settings[MINE] or {}, f"{where}.{MINE}")
    free: dict[str, Any] = {"encoding": set(mined.encoding.FREE)}
    return MINE, {**decides, MINE: mined.model_dump(mode="json", exclude=free)}


def task_id(task: TaskSettings) -> str:
    """What decides an evaluation besides the model, as a short hash.

    Raises:
        UserError: a setting is unknown or refused.
    """
    config = task_config(task, f"{SOMEWHERE}/evaluation", "model")
    free: dict[str, Any] = {
        "out": True, "streaming": True, "cache": True, "collection": True, "encoder": {"model"},
        "encoding": set(config.encoding.FREE),
    }  # fmt: skip
    told = config.model_dump(mode="json", exclude=free)
    return storage.fingerprint([VERSION, told, sorted(task.languages)])


def task_config(task: TaskSettings, out: str, model: str, **changes: Any) -> EvaluateConfig:
    """The settings of the evaluation of a model on a task.

    Raises:
        UserError: a setting is unknown or refused.
    """
    settings: dict[str, Any] = _nested(EvaluateConfig, task.evaluate, f"tasks: {task.task}")
    encoder = {**settings.pop("encoder", {}), **changes.pop("encoder", {}), "model": model}
    given = {**settings, **changes, "task": task.task, "out": out, "encoder": encoder}
    return _checked(EvaluateConfig, given, f"tasks: {task.task}")


def _options(axis: str, values: Sequence[Any] | Mapping[str, Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """What the axis offers: how a value is shown, and the settings that it stands for."""
    if isinstance(values, Mapping):
        return [(name, dict(settings)) for name, settings in values.items()]
    return [(str(value), {axis: value}) for value in values]


def _cell(
    grid: Grid, values: dict[str, str], numbers: dict[str, int], settings: dict[str, Any], stores: Mapping[str, str]
) -> Cell:
    weights = _weights(settings.pop(STORE, next(iter(grid.stores))), grid)
    where = f"cell {', '.join(f'{axis} {value}' for axis, value in values.items())}"
    nested = _nested(TrainConfig, settings, where)
    data = weighted(weights, {name: f"{SOMEWHERE}/{name}" for name in weights})
    config = _checked(TrainConfig, {**nested, "data": data, "out": f"{SOMEWHERE}/run"}, where)
    decides = config.model_dump(mode="json", exclude=set(TrainConfig.FREE | {"name"}))
    shares = whole_numbers(list(weights.values()))
    several = sorted([name, stores[name], share] for name, share in zip(weights, shares, strict=True))
    which = several if len(weights) > 1 else stores[next(iter(weights))]
    return Cell(values, numbers, weights, config, storage.fingerprint([VERSION, which, decides]))


def weighted(weights: Mapping[str, float], uris: Mapping[str, str]) -> tuple[WeightedStore, ...]:
    """The stores as a run is told of them."""
    several = len(weights) > 1
    return tuple(
        WeightedStore(name=name if several else None, uri=uris[name], weight=weight) for name, weight in weights.items()
    )


def _weights(asked: Any, grid: Grid) -> dict[str, float]:
    """The stores that a cell asks for: a name, several as in `facts:2 more` or in a list, or a mapping of names to
    weights.

    Raises:
        UserError: no store is named, or one twice, or one that cannot be among several, or with a weight that is no
            number greater than 0.
    """
    if isinstance(asked, Mapping):
        told = [(str(name), weight) for name, weight in asked.items()]
    else:
        several = asked if isinstance(asked, Sequence) and not isinstance(asked, str) else None
        names = [str(name) for name in several or ([asked] if str(asked) in grid.stores else str(asked).split())]
        told = [(name, 1.0) if name in grid.stores else _with_weight(name) for name in names]
    found: dict[str, float] = {}
    for name, weight in told:
        if name not in grid.stores:
            raise UserError(f"store: {name} is none of {', '.join(grid.stores)}")
        if name in found:
            raise UserError(f"store: {name} is there twice; a weight draws a store more often")
        given = {"uri": f"{SOMEWHERE}/{name}", "weight": weight, **({"name": name} if len(told) > 1 else {})}
        found[name] = _checked(WeightedStore, given, "store").weight
    if not found:
        raise UserError(f"store: name one of {', '.join(grid.stores)}")
    return found


def _with_weight(text: str) -> tuple[str, Any]:
    name, colon, weight = text.rpartition(":")
    return (name, weight) if colon else (text, 1.0)


def _refuse_equal(cells: Sequence[Cell]) -> None:
    by_id: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_id[cell.id].append(cell)
    for same in by_id.values():
        if len(same) > 1:
            raise UserError(f"two cells have the same settings: {same[0].name}, and {same[1].name}")


def _nested(model: type[Section], settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings by their flags' names (`alpha`, `batches.alpha`, or a section's mapping) as the model has them.

    Raises:
        UserError: there is no such setting.
    """
    names = {flag.name.removeprefix("--").replace("-", "_"): flag.path for flag in flags_of(model)}
    names |= {".".join(flag.path): flag.path for flag in flags_of(model)}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name in model.model_fields and kinds_of(model.model_fields[name].annotation):
            found[name] = value
            continue
        if isinstance(value, Mapping) and name in model.model_fields and name not in names:
            section = _section(model, name)
            for inner, of_inner in value.items():
                if inner not in section.model_fields:
                    raise UserError(
                        unknown_setting(where, f"{name}.{inner}", [f"{name}.{key}" for key in section.model_fields])
                    )
                found.setdefault(name, {})[inner] = of_inner
            continue
        if name not in names:
            raise UserError(unknown_setting(where, name, [*names, STORE]))
        *sections, field = names[name]
        inside = found
        for section_name in sections:
            inside = inside.setdefault(section_name, {})
        inside[field] = value
    return found


def _section(model: type[Section], name: str) -> type[Section]:
    annotation = model.model_fields[name].annotation
    assert isinstance(annotation, type) and issubclass(annotation, Section)
    return annotation


def unknown_setting(where: str, name: str, known: Sequence[str]) -> str:
    """The line about a setting that there is not, with the nearest that there is."""
    short = name.rpartition(".")[2]
    near = get_close_matches(name, known, 1) or get_close_matches(short, known, 1)
    return f"{where}: there is no setting {name}{f'; is {near[0]} meant?' if near else ''}"


def _checked(model: type[S], settings: Any, where: str) -> S:
    unknown = sorted(set(map(str, settings)) - set(model.model_fields)) if isinstance(settings, Mapping) else []
    if unknown:
        raise UserError(unknown_setting(where, unknown[0], list(model.model_fields)))
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise UserError(f"{where}: {validation_line(error)}") from None
