"""A user's mistakes in training: one clear line each, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from hbt_ray.config import (
    EncoderConfig,
    EngineConfig,
    OptimizerConfig,
    PlanConfig,
    PrepareConfig,
    TrainConfig,
    UserError,
)
from hbt_ray.data.prepare import prepare
from hbt_ray.data.stores import Stores
from hbt_ray.train import checkpoint, deepspeed_file, engine, problems
from hbt_ray.train.encoders import trained_encoder
from hbt_ray.train.folder import RunFolder
from hbt_ray.train.step import Chunks
from hbt_ray.train.train import train


def config_of(out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(
        data=f"{out}/store",
        out=f"{out}/run",
        steps=8,
        checkpoint_every=2,
        encoder=EncoderConfig(model="tiny", max_query_tokens=24, max_passage_tokens=24, precision="fp32"),
        batches=PlanConfig(batch_size=8),
    )
    return base.model_copy(update=changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    path = tmp_path_factory.mktemp("problems")
    prepare(PrepareConfig(source="world-facts", tokenizer="train:1500", out=f"{path}/store", partitions=1))
    return path


@pytest.mark.long
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_batch(folder: Path) -> None:
    config = config_of(folder, workers=2, optimizer=OptimizerConfig(learning_rate=1e30, warmup=0.0))
    with pytest.raises(UserError, match=r"^step 1: the loss is nan, .*queries in \w.*, passages in \w.*not-finite"):
        train(config)
    kept = sorted((folder / "run" / "not-finite" / "step-000000001").iterdir())
    assert [path.name for path in kept] == ["rank-00000.parquet", "rank-00001.parquet"]
    assert [pq.read_table(path).num_rows for path in kept] == [4, 4]
    assert not (folder / "run" / "checkpoints").exists()  # nothing of it is kept


@pytest.mark.long
def test_a_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    config = config_of(folder).model_copy(update={"out": f"{folder}/one", "steps": 2})
    train(config)
    point = checkpoint.latest(RunFolder.of(config).checkpoints)
    assert point is not None
    other = config.model_copy(update={"encoder": config.encoder.model_copy(update={"model": "mini"})})
    checkpoint.check_same_model(point, Chunks(trained_encoder(config, Stores(config.data))))
    with pytest.raises(UserError, match=r"step-000000002 belongs to another model"):
        checkpoint.check_same_model(point, Chunks(trained_encoder(other, Stores(config.data))))


def test_out_of_memory_says_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    expected: list[tuple[dict[str, Any], str]] = [
        ({}, "--gradcache"),
        ({"gradcache": True}, "--chunk-tokens 8192"),
        ({"gradcache": True, "chunk_tokens": 512}, "--activation-checkpointing"),
        ({"gradcache": True, "chunk_tokens": 512, "activation_checkpointing": True}, "--zero-stage 3"),
    ]
    for settings, advice in expected:
        config = config_of(tmp_path, engine=EngineConfig(**settings))
        assert problems.told(config) is None
        with pytest.raises(RuntimeError), problems.out_of_memory(config, 7):
            torch.empty(2**60)  # more than any machine has
        line = problems.told(config)
        assert line is not None
        assert line.startswith("step 7: out of memory with 8 pairs")
        assert advice in line
        problems.forget(config)
    with pytest.raises(RuntimeError), problems.out_of_memory(config, 7):
        torch.ones(2) @ torch.ones(3)
    assert problems.told(config) is None


CONTRADICTIONS = [
    ({"train_batch_size": 16}, "train_batch_size 16, the run 8"),
    ({"train_micro_batch_size_per_gpu": 8}, "train_micro_batch_size_per_gpu 8, the run 4"),
    ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps 2, the run 1"),
    ({"gradient_clipping": 0.5}, "gradient_clipping 0.5, the run 1.0"),
    ({"zero_optimization": {"stage": 1}}, "zero_optimization.stage 1, the run 3"),
    ([1], "is not a JSON object"),
]
REFUSED = [
    ({"optimizer": {"type": "Adam"}}, "optimizer: the run's own"),
    ({"scheduler": {"type": "WarmupLR"}}, "scheduler: the run's own"),
    ({"fp16": {"enabled": True}}, "fp16.enabled true: fp16 loses"),
    ({"bf16": {"enabled": True}}, "bf16.enabled true: it would lose the fp32 weights"),
    ({"bf16": {"enabled": False, "immediate_grad_update": True}}, "bf16.immediate_grad_update"),
    ({"gradient_allreduce_op": "sum"}, 'gradient_allreduce_op "sum": gradients are averaged'),
    ({"prescale_gradients": True}, "prescale_gradients true"),
    ({"gradient_predivide_factor": 4.0}, "gradient_predivide_factor 4.0"),
    ({"communication_data_type": "fp16"}, 'communication_data_type "fp16"'),
    ({"tensor_parallel": {"autotp_size": 2}}, "tensor_parallel: the model is divided by ZeRO"),
    ({"zero_optimisation": {"stage": 1}}, "zero_optimisation: no run has that setting, but zero_optimization"),
    ({"zero_optimization": {"offload_optimiser": {}}}, "but zero_optimization.offload_optimizer"),
    ({"zero_optimization": {"zero_quantized_gradients": True}}, "zero_quantized_gradients true: gradients are sent"),
    ({"zero_optimization": {"offload_param": {"device": "gpu"}}}, 'offload_param.device "gpu": a run knows "cpu"'),
    ({"zero_optimization": {"stage": "2"}}, 'zero_optimization.stage "2"'),
    ({"zero_optimization": {"stage": True}}, "zero_optimization.stage true: a run knows 0, 1, 2, 3"),
    ({"zero_optimization": 2}, "zero_optimization 2, which is not a JSON object"),
    ({"quantize_training": {}}, "quantize_training: no run has that setting; leave it out"),
]


@pytest.mark.parametrize(("given", "line"), REFUSED)
def test_what_no_run_can_do_is_refused_by_name(tmp_path: Path, given: Any, line: str) -> None:
    file = tmp_path / "deepspeed.json"
    file.write_text(json.dumps(given))
    config = config_of(tmp_path, engine=EngineConfig(deepspeed=str(file)))
    with pytest.raises(UserError, match="^--deepspeed .*deepspeed.json has ") as error:
        engine.deepspeed_settings(config, 2)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_every_setting_taken_is_one_of_deepspeed() -> None:
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    def names(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    taken = deepspeed_file._table()["taken"]["zero_optimization"]
    assert set(taken) <= names(DeepSpeedZeroConfig)
    assert set(taken["offload_param"]) == names(DeepSpeedZeroOffloadParamConfig)
    assert set(taken["offload_optimizer"]) < names(DeepSpeedZeroOffloadOptimizerConfig)


def test_what_is_left_to_the_run_is_not_passed_on(tmp_path: Path) -> None:
    """DeepSpeed itself knows no "auto", which files made for transformers are full of."""
    file = tmp_path / "deepspeed.json"
    zero = {"stage": "auto", "reduce_bucket_size": "auto", "overlap_comm": True}
    fp16 = {"enabled": "auto", "loss_scale": 0}
    file.write_text(json.dumps({"fp16": fp16, "bf16": {"enabled": "auto"}, "zero_optimization": zero}))
    found = engine.deepspeed_settings(config_of(tmp_path, engine=EngineConfig(deepspeed=str(file))), 2)
    assert "auto" not in json.dumps(found)
    assert found["zero_optimization"]["reduce_bucket_size"] == engine.BUCKET
    assert found["zero_optimization"]["overlap_comm"] is True


@pytest.mark.parametrize(("given", "line"), CONTRADICTIONS)
def test_a_deepspeed_file_that_contradicts_the_run(tmp_path: Path, given: Any, line: str) -> None:
    file = tmp_path / "deepspeed.json"
    file.write_text(json.dumps(given))
    config = config_of(tmp_path, engine=EngineConfig(deepspeed=str(file), zero_stage=3))
    with pytest.raises(UserError, match="^--deepspeed .*deepspeed.json") as error:
        engine.deepspeed_settings(config, 2)
    assert line in str(error.value)


def test_a_deepspeed_file_decides_what_the_run_leaves_open(tmp_path: Path) -> None:
    file = tmp_path / "deepspeed.json"
    offload = {"device": "cpu", "pin_memory": True}
    given = {"stage": 1, "offload_optimizer": offload, "reduce_bucket_size": 1000}
    file.write_text(json.dumps({"train_batch_size": "auto", "zero_optimization": given, "wall_clock_breakdown": True}))
    config = config_of(tmp_path, engine=EngineConfig(deepspeed=str(file)))
    found = engine.deepspeed_settings(config, 2)
    assert found["wall_clock_breakdown"] is True
    assert found["timers"] == {"throughput": {"enabled": False}}  # which would wait for the device twice a chunk
    assert found["train_batch_size"] == 8
    assert {name: found["zero_optimization"][name] for name in given} == given
    assert engine.stage_of(config.engine) == 1
    with pytest.raises(UserError, match="no file"):
        engine.deepspeed_settings(config_of(tmp_path, engine=EngineConfig(deepspeed=f"{tmp_path}/other.json")), 2)
