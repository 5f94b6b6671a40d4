"""Every objective through a real encoder and DeepSpeed: one process and plain torch are the truth."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from exact import ROWS, ExactChunks, encoder_of, whole_batch
from losses_made import STEP, STEPS, objectives
from reference import Global, objective
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig, EngineConfig, InfoNCEConfig, OptimizerConfig, PlanConfig, TrainConfig
from hbt_ray.train import checkpoint, engine, step
from hbt_ray.train.batch import Batch, Collator
from hbt_ray.train.loop import largest_of_ranks, make_moments
from hbt_ray.train.losses.objective import Objective
from hbt_ray.train.losses.temperature import temperatures_at

CHUNK_TOKENS = 100
Gradients = dict[str, torch.Tensor]
Agree = Callable[[list[int]], list[int]]


class Case(NamedTuple):
    """What is one training step."""

    name: str
    stage: int
    gradcache: bool
    negatives: int
    dropout: float


class Grid(NamedTuple):
    """What every objective is tried with, plain and with GradCache."""

    stages: tuple[int, ...] = (0, 1, 2, 3)
    negatives: tuple[int, ...] = (0, 1)
    dropouts: tuple[float, ...] = (0.0, 0.1)
    names: tuple[str, ...] = tuple(objectives(1))

    def cases(self) -> Iterator[Case]:
        for stage, negatives, dropout, name in product(*self):
            if name in objectives(negatives):
                yield from (Case(name, stage, gradcache, negatives, dropout) for gradcache in (False, True))


def batch_of(folder: str, model: ExactChunks, case: Case, rank: int, ranks: int, agree: Agree) -> Batch:
    part = whole_batch(folder)
    part = part._replace(pairs=part.pairs.slice(rank * ROWS // ranks, ROWS // ranks))
    read = Wanted(case.negatives, scores=case.negatives > 0)
    losses = objectives(case.negatives)[case.name]
    batch = Collator(model.encoder, read, torch.device("cpu"), CHUNK_TOKENS, agree, losses)(part, seed=1000 * rank)
    known = torch.cat([batch.labels.query_keys, batch.labels.keys]).tolist()
    teacher = torch.stack([vector_of(key, model.encoder.width) for key in known])
    return batch._replace(labels=batch.labels._replace(teacher=teacher))


def vector_of(key: int, width: int) -> torch.Tensor:
    """What some teacher gives for the text with this key."""
    generator = torch.Generator().manual_seed(key % 2**63)
    return functional.normalize(torch.randn(width, dtype=torch.float64, generator=generator), dim=-1)


def truth(folder: str, case: Case, ranks: int, counts: list[int]) -> Gradients:
    """Loss and gradients of one process, which encodes the chunks of all ranks, of which each has `counts` of queries
    and of passages: so that, with dropout, the same random numbers fall on the same texts."""
    losses = objectives(case.negatives)[case.name]
    model = ExactChunks(encoder_of(folder, case.dropout), losses).train()
    queries, passages, known = [], [], []
    for rank in range(ranks):
        batch = batch_of(folder, model, case, rank, ranks, lambda _: counts)
        vectors = model(batch.chunks)[0].double()[batch.order]
        queries.append(vectors[: ROWS // ranks])
        passages.append(vectors[ROWS // ranks :].view(1 + case.negatives, ROWS // ranks, -1))
        known.append(batch.labels)
    scores = [labels.scores for labels in known if labels.scores is not None]
    teachers = [labels.teacher for labels in known if labels.teacher is not None]
    whole = Global(
        torch.cat(queries),
        torch.cat(passages, dim=1),
        torch.cat([labels.groups for labels in known]),
        torch.cat([labels.query_keys for labels in known]),
        torch.cat([labels.keys.view(1 + case.negatives, -1) for labels in known], dim=1),
        whole_batch(folder).pairs["source"].to_pylist(),
        torch.cat(scores) if scores else None,
        torch.cat([one.view(2 + case.negatives, ROWS // ranks, -1) for one in teachers], dim=1),
    )
    loss = objective(losses, whole, temperatures_at(losses, model.temperatures(), STEP, STEPS))
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"loss": loss.detach(), **found}


def settings_of(folder: str, stage: int) -> TrainConfig:
    return TrainConfig(
        data="/none",
        out="/out",
        steps=1,
        encoder=EncoderConfig(model="tiny", precision="fp32"),
        batches=PlanConfig(batch_size=ROWS),
        optimizer=OptimizerConfig(max_grad_norm=1e9),
        engine=EngineConfig(zero_stage=stage, deepspeed=f"{folder}/deepspeed.json"),
    )


def one_rank(rank: int, ranks: int, port: int, folder: str, out: str, grid: Grid) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    found: dict[Case, Gradients] = {}
    counts: dict[int, list[int]] = {}
    agree = largest_of_ranks()

    def agreed(negatives: int, own: list[int]) -> list[int]:
        counts[negatives] = agree(own)
        return counts[negatives]

    @cache
    def trainer_of(stage: int, dropout: float, trained: tuple[float, ...]) -> Any:
        """An engine for losses that train temperatures which begin with these."""
        losses = [InfoNCEConfig(temperature=one, learn_temperature=True) for one in trained]
        model = ExactChunks(encoder_of(folder, dropout), losses)
        # a step with a rate of 0 changes nothing, and makes room for the next gradients
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=0.0)
        return engine.build_engine(model, settings_of(folder, stage), ranks, optimizer)

    for case in grid.cases():
        losses = objectives(case.negatives)[case.name]
        trained = tuple(one.temperature for one in losses if one.learn_temperature)
        trainer = trainer_of(case.stage, case.dropout, trained)
        batch = batch_of(folder, trainer.module, case, rank, ranks, partial(agreed, case.negatives))
        of_batch = partial(Objective(losses, STEPS), labels=batch.labels, step=STEP)
        loss, _ = step.backward(trainer, batch, of_batch, case.gradcache)
        dist.all_reduce(loss)
        found[case] = {"loss": loss / ranks, **gradients_of(trainer)}
        engine.take_step(trainer)
    if rank == 0:
        torch.save({"found": {tuple(case): found[case] for case in found}, "counts": counts}, f"{out}/gradients.pt")
    if ranks == 2:
        resumed(rank, folder, out, agree)
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def weights_of(trainer: Any) -> Gradients:
    """Each trained parameter, whole."""
    from deepspeed.utils import safe_get_full_fp32_param

    trained = [(name, weight) for name, weight in trainer.module.named_parameters() if weight.requires_grad]
    return {
        name: (safe_get_full_fp32_param(weight) if trainer.zero_optimization() else weight).detach().clone()
        for name, weight in trained
    }


def gradients_of(trainer: Any) -> Gradients:
    """What the optimizer is given for each parameter, whole."""
    from deepspeed.utils import safe_get_full_grad

    trained = [(name, weight) for name, weight in trainer.module.named_parameters() if weight.requires_grad]
    return {
        name: (safe_get_full_grad(weight) if trainer.zero_optimization() else weight.grad).clone()
        for name, weight in trained
    }


def trained_on(trainer: Any, folder: str, case: Case, rank: int, ranks: int, steps: range, agree: Agree) -> Gradients:
    """All weights after these steps of AdamW."""
    losses = objectives(case.negatives)[case.name]
    for number in steps:
        batch = batch_of(folder, trainer.module, case, rank, ranks, agree)
        of_batch = partial(Objective(losses, STEPS), labels=batch.labels, step=number)
        engine.set_learning_rate(trainer, 0.01)
        step.backward(trainer, batch, of_batch, case.gradcache)
        engine.take_step(trainer)
    return weights_of(trainer)


def resumed(rank: int, folder: str, out: str, agree: Agree) -> None:
    """Two steps of two ranks, a checkpoint and two more; and the last two from the checkpoint, at another stage."""
    ranks = dist.get_world_size()
    case = Case("learned temperature", 2, True, 0, 0.0)
    losses = objectives(0)[case.name]
    models = [ExactChunks(encoder_of(folder), losses) for _ in range(2)]
    first = engine.build_engine(models[0], settings_of(folder, 2), ranks)
    found = [trained_on(first, folder, case, rank, ranks, range(2), agree)]
    saver = checkpoint.Saver(
        out, {"model": checkpoint.identity(models[0]), "plan_hash": "", "plan": {}}, 1, lambda steps: set()
    )
    saver.save(first, 2)
    saver.wait()
    found.append(trained_on(first, folder, case, rank, ranks, range(2, 4), agree))
    point = checkpoint.at(out, 2)
    checkpoint.check_same_model(point, models[1])
    point.load_weights(models[1])
    second = engine.build_engine(models[1], settings_of(folder, 3), ranks)
    found.append(weights_of(second))
    make_moments(second, batch_of(folder, second.module, case, rank, ranks, agree), case.gradcache)
    point.load_moments(second)
    found.append(trained_on(second, folder, case, rank, ranks, range(2, 4), agree))
    if rank == 0:
        torch.save(found, f"{out}/resumed.pt")


SHORT = Grid((2,), (1,), (0.1,), ("all directions, margin", "several by source", "KL and InfoNCE"))


@pytest.fixture(scope="module")
def two_ranks(exact_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks found for some of the grid, and of a resumed run."""
    out = tmp_path_factory.mktemp("ranks")
    spawn(one_rank, (2, free_port(), exact_folder, str(out), SHORT), nprocs=2)
    return out


def test_gradients_of_two_ranks_equal_one_process_on_the_whole_batch(exact_folder: str, two_ranks: Path) -> None:
    compare(exact_folder, two_ranks, 2, SHORT)


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_gradients_equal_one_process_on_the_whole_batch(exact_folder: str, tmp_path: Path, ranks: int) -> None:
    spawn(one_rank, (ranks, free_port(), exact_folder, str(tmp_path), Grid()), nprocs=ranks)
    compare(exact_folder, tmp_path, ranks, Grid())


def compare(folder: str, out: Path, ranks: int, grid: Grid) -> None:
    saved = torch.load(out / "gradients.pt")
    expected: dict[tuple[Any, ...], Gradients] = {}
    for case in grid.cases():
        same = (case.name, case.negatives, case.dropout)  # whatever the engine
        if same not in expected:
            expected[same] = truth(folder, case, ranks, saved["counts"][case.negatives])
        got, wanted = saved["found"][tuple(case)], expected[same]
        assert got.keys() == wanted.keys(), case
        assert abs(got.pop("loss") - wanted["loss"]) < 1e-5 * max(1.0, abs(wanted["loss"].item())), case
        size = torch.stack([wanted[name].norm() for name in got]).norm()
        difference = torch.stack([(grad - wanted[name]).norm() for name, grad in got.items()]).norm()
        assert difference / size < 1e-6, f"{case}: {difference / size}"
        for name, grad in got.items():
            if name.startswith("temperatures"):
                assert torch.allclose(grad, wanted[name], atol=1e-6), case


def test_a_trained_temperature_is_saved_and_restored_exactly(exact_folder: str, two_ranks: Path) -> None:
    saved, whole, restored, again = torch.load(two_ranks / "resumed.pt")
    name = "temperatures.log_scales"
    assert restored[name].item() == saved[name].item()
    assert abs(saved[name].item() - math.log(10)) > 0.01 and abs(whole[name].item() - saved[name].item()) > 0.01
    assert again[name].item() == pytest.approx(whole[name].item(), abs=1e-6)
    encoder = encoder_of(exact_folder)
    checkpoint.at(str(two_ranks), 2).load_weights(step.Chunks(encoder, objectives(0)["learned temperature"]))
    for weight, value in encoder.named_parameters():
        if value.requires_grad:
            assert torch.equal(value, saved[f"encoder.{weight}"]), weight
