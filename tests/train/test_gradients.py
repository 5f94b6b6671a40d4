"""What DeepSpeed's optimizer is given: one process on the whole batch, in plain torch, is the truth."""

from __future__ import annotations

import itertools
import json
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from hbt_ray.batches.chunk import Slice
from hbt_ray.batches.wanted import Wanted
from hbt_ray.config import EncoderConfig, EngineConfig, OptimizerConfig, PlanConfig, TrainConfig
from hbt_ray.data.sources import world_facts
from hbt_ray.model import tokenizer
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder
from hbt_ray.train import engine, step
from hbt_ray.train.batch import Collator
from hbt_ray.train.loop import _largest_of_ranks
from hbt_ray.train.loss import info_nce

ROWS, CHUNK_TOKENS, CLIP, RATE, TEMPERATURE = 16, 60, 0.5, 1000.0, 0.1


def encoder_of(folder: str) -> Encoder:
    config = EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24, precision="fp32", dropout=0.0)
    return build_encoder(config, folder)


def in_double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


class InDouble(TorchFunctionMode):
    """What weights take part in is computed in fp64. DeepSpeed knows fp32 weights only, and two orders of adding up a
    gradient in fp32 already differ by 1e-6."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (functional.linear, functional.embedding, functional.layer_norm):
            args, kwargs = tree_map_only(
                torch.Tensor, lambda x: x.double() if x.is_floating_point() else x, (args, kwargs)
            )
        return func(*args, **kwargs)


class ExactChunks(step.Chunks):
    def forward(self, chunks: list[dict[str, Any]]) -> torch.Tensor:
        with InDouble():
            return super().forward(chunks)


def whole_batch(folder: str) -> Slice:
    """Texts of many lengths, with what makes masks: translations, a repeated passage, missing hard negatives."""
    known = tokenizer.load_tokenizer(folder)
    texts = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[: 90 * ROWS : 30]]

    def tokens(rows: list[str]) -> list[list[int]]:
        return known(rows, add_special_tokens=False)["input_ids"] if rows else []

    passages = [text[: 4 + 3 * row] for row, text in enumerate(texts[:ROWS])]
    passages[7] = passages[3]
    negatives = [[] if row % 5 == 0 else [texts[ROWS + row][: 60 - 3 * row]] for row in range(ROWS)]
    groups = list(range(ROWS))
    groups[9] = groups[2]
    columns = {
        "group": pa.array(groups, pa.int64()),
        "query": pa.array(tokens([text[::-1][: 50 - 2 * row] for row, text in enumerate(texts[:ROWS])])),
        "passage": pa.array(tokens(passages), pa.list_(pa.int32())),
        "negatives": pa.array([tokens(rows) for rows in negatives], pa.list_(pa.list_(pa.int32()))),
    }
    columns["query"] = columns["query"].cast(pa.list_(pa.int32()))
    return Slice(0, "mono:de", {}, {}, pa.table(columns))


def truth(folder: str, negatives: int) -> dict[str, torch.Tensor]:
    """The step a plain optimizer takes, clipping included, as weight changes over the learning rate."""
    encoder = encoder_of(folder)
    batch = Collator(encoder, Wanted(negatives), torch.device("cpu"), 10**6)(whole_batch(folder))
    vectors = ExactChunks(encoder)(batch.chunks)
    loss, _ = info_nce(vectors[:ROWS], vectors[ROWS:], batch.groups, batch.keys, TEMPERATURE)
    loss.backward()
    trained = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    norm = torch.nn.utils.clip_grad_norm_(trained.values(), CLIP)
    assert norm > CLIP  # or clipping would not show
    gradients = {name: weight.grad for name, weight in trained.items() if weight.grad is not None}
    assert gradients.keys() == trained.keys()
    return {"loss": loss.detach(), "norm": norm, **gradients}


def one_rank(rank: int, ranks: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed asks for it
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    found: dict[tuple[Any, ...], dict[str, torch.Tensor]] = {}
    agree = _largest_of_ranks()
    part = whole_batch(folder)
    part = part._replace(pairs=part.pairs.slice(rank * ROWS // ranks, ROWS // ranks))
    for stage, gradcache, negatives in itertools.product((0, 1, 2, 3), (False, True), (0, 1)):
        config = TrainConfig(
            data="/none",
            out="/out",
            steps=1,
            encoder=EncoderConfig(model="tiny", precision="fp32"),
            batches=PlanConfig(batch_size=ROWS),
            optimizer=OptimizerConfig(max_grad_norm=CLIP),
            engine=EngineConfig(zero_stage=stage, deepspeed=f"{folder}/deepspeed.json"),
        )
        encoder = encoder_of(folder)
        batch = Collator(encoder, Wanted(negatives), torch.device("cpu"), CHUNK_TOKENS, agree)(part)
        model = ExactChunks(encoder)
        before = {name: weight.detach().clone() for name, weight in encoder.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=RATE)
        trainer = engine.build_engine(model, config, ranks, optimizer)
        loss_of = partial(info_nce, groups=batch.groups, keys=batch.keys, temperature=TEMPERATURE)
        loss, _ = step.backward(trainer, batch, loss_of, gradcache)
        norm = engine.take_step(trainer)
        dist.all_reduce(loss)
        after = weights_of(trainer)
        found[stage, gradcache, negatives] = {
            "loss": loss / ranks,
            "norm": torch.tensor(norm),
            **{name: (weight - after[name]) / RATE for name, weight in before.items()},
        }
        trainer.destroy()
    if rank == 0:
        torch.save(found, Path(folder) / f"{ranks}.pt")
    dist.destroy_process_group()


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    from deepspeed.utils import safe_get_full_fp32_param

    return {
        name.removeprefix("encoder."): (
            safe_get_full_fp32_param(weight) if trainer.zero_optimization() else weight.detach()
        ).clone()
        for name, weight in trainer.module.named_parameters()
        if weight.requires_grad
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("gradients"))
    texts = [str(text) for text in world_facts.fact_rows("train")["passage"].to_pylist()[:300]]
    tokenizer.learn([f"query: passage: {text}" for text in texts * 5], 500).save_pretrained(path)
    # ZeRO 3 would put its own function in the place of torch's linear
    Path(path, "deepspeed.json").write_text(json.dumps({"zero_optimization": {"memory_efficient_linear": False}}))
    return path


@pytest.mark.parametrize("ranks", [2, *(pytest.param(ranks, marks=pytest.mark.long) for ranks in (1, 4))])
def test_steps_equal_one_process_on_the_whole_batch(folder: str, ranks: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (ranks, port, folder), nprocs=ranks)
    expected = {negatives: truth(folder, negatives) for negatives in (0, 1)}
    found = torch.load(Path(folder) / f"{ranks}.pt")
    assert len(found) == 16
    for (stage, gradcache, negatives), got in found.items():
        wanted = expected[negatives]
        case = f"ZeRO {stage}, {'GradCache' if gradcache else 'plain'}, {negatives} hard negatives"
        assert abs(got.pop("loss") - wanted["loss"]) < 1e-5, case
        assert abs(got.pop("norm") / wanted["norm"] - 1) < 1e-5, case
        assert got.keys() | {"loss", "norm"} == wanted.keys()
        difference = torch.sqrt(sum(((grad - wanted[name]) ** 2).sum() for name, grad in got.items()))
        assert difference / CLIP < 1e-6, f"{case}: {difference / CLIP}"
