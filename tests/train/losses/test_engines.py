"""Every objective through a real encoder and DeepSpeed: one process and plain torch are the truth."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from exact import ROWS, ExactChunks, encoder_of, whole_batch
from losses_made import STEP, STEPS, objectives
from reference import Global, objective
from torch.multiprocessing.spawn import spawn

from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig, EngineConfig, InfoNCEConfig, OptimizerConfig, PlanConfig, TrainConfig
from hbt_ray.train import checkpoint, engine, step
from hbt_ray.train.batch import Batch, Collator
from hbt_ray.train.loop import _largest_of_ranks, make_moments
from hbt_ray.train.losses.objective import Objective
from hbt_ray.train.losses.temperature import temperatures_at

CHUNK_TOKENS = 60
Gradients = dict[str, torch.Tensor]
Agree = Callable[[list[int]], list[int]]


class Case(NamedTuple):
    """What is one training step."""

    name: str
    stage: int
    gradcache: bool
    negatives: int
    dropout: float


def cases(stages: Sequence[int]) -> Iterator[Case]:
    for stage in stages:
        for negatives in (0, 1):
            for dropout in (0.0, 0.1):
                for name in objectives(negatives):
                    yield from (Case(name, stage, gradcache, negatives, dropout) for gradcache in (False, True))


def batch_of(folder: str, model: ExactChunks, case: Case, rank: int, ranks: int, agree: Agree) -> Batch:
    part = whole_batch(folder)
    part = part._replace(pairs=part.pairs.slice(rank * ROWS // ranks, ROWS // ranks))
    read = Wanted(case.negatives, scores=case.negatives > 0)
    losses = objectives(case.negatives)[case.name]
    return Collator(model.encoder, read, torch.device("cpu"), CHUNK_TOKENS, agree, losses)(part, seed=1000 * rank)


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
    whole = Global(
        torch.cat(queries),
        torch.cat(passages, dim=1),
        torch.cat([labels.groups for labels in known]),
        torch.cat([labels.query_keys for labels in known]),
        torch.cat([labels.keys.view(1 + case.negatives, -1) for labels in known], dim=1),
        whole_batch(folder).pairs["source"].to_pylist(),
        torch.cat(scores) if scores else None,
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


def one_rank(rank: int, ranks: int, port: int, folder: str, out: str, stages: Sequence[int]) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    found: dict[Case, Gradients] = {}
    counts: dict[int, list[int]] = {}
    agree = _largest_of_ranks()

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

    for case in cases(stages):
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
        torch.save({"found": {tuple(case): found[case] for case in found}, "counts": counts}, out)
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


@pytest.mark.parametrize(
    ("ranks", "stages"),
    [(2, (2,)), *(pytest.param(ranks, (0, 1, 2, 3), marks=pytest.mark.long) for ranks in (1, 2, 4))],
)
def test_gradients_equal_one_process_on_the_whole_batch(
    folder: str, tmp_path: Path, ranks: int, stages: tuple[int, ...]
) -> None:
    out = str(tmp_path / "found.pt")
    spawn(one_rank, (ranks, free_port(), folder, out, stages), nprocs=ranks)
    saved = torch.load(out)
    expected: dict[tuple[Any, ...], Gradients] = {}
    for case in cases(stages):
        same = (case.name, case.negatives, case.dropout)  # whatever the engine
        if same not in expected:
            expected[same] = truth(folder, case, ranks, saved["counts"][case.negatives])
        got, wanted = saved["found"][tuple(case)], expected[same]
        assert got.keys() == wanted.keys(), case
        assert abs(got.pop("loss") - wanted["loss"]) < 1e-5 * max(1, abs(wanted["loss"])), case
        size = torch.sqrt(sum((wanted[name].double() ** 2).sum() for name in got))
        difference = torch.sqrt(sum(((grad - wanted[name]).double() ** 2).sum() for name, grad in got.items()))
        assert difference / size < 1e-6, f"{case}: {difference / size}"
        for name, grad in got.items():
            if name.startswith("temperatures"):
                assert torch.allclose(grad, wanted[name], rtol=1e-5), case


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


def resumed(rank: int, ranks: int, port: int, folder: str, out: str) -> None:
    """Two steps, a checkpoint and two more; and the last two from the checkpoint, at another stage."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    agree = _largest_of_ranks()
    case = Case("learned temperature", 2, True, 0, 0.0)
    losses = objectives(0)[case.name]
    models = [ExactChunks(encoder_of(folder), losses) for _ in range(2)]
    first = engine.build_engine(models[0], settings_of(folder, 2), ranks)
    found = [trained_on(first, folder, case, rank, ranks, range(2), agree)]
    saver = checkpoint.Saver(out, {"model": checkpoint.identity(models[0])}, 1, lambda steps: set())
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
        torch.save(found, f"{out}/found.pt")
    dist.destroy_process_group()


def test_a_trained_temperature_is_saved_and_restored_exactly(folder: str, tmp_path: Path) -> None:
    spawn(resumed, (2, free_port(), folder, str(tmp_path)), nprocs=2)
    saved, whole, restored, again = torch.load(tmp_path / "found.pt")
    name = "temperatures.log_scales"
    assert restored[name].item() == saved[name].item()
    assert abs(saved[name].item() - math.log(10)) > 0.01 and abs(whole[name].item() - saved[name].item()) > 0.01
    assert again[name].item() == pytest.approx(whole[name].item(), abs=1e-6)
    encoder = encoder_of(folder)
    checkpoint.at(str(tmp_path), 2).load_weights(step.Chunks(encoder, objectives(0)["learned temperature"]))
    for weight, value in encoder.named_parameters():
        if value.requires_grad:
            assert torch.equal(value, saved[f"encoder.{weight}"]), weight
