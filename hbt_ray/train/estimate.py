"""What a rank's GPU must hold, by ZeRO stage, before anything starts: parameters and activations are counted on torch's
fake tensors, which have shapes and no memory; what DeepSpeed adds is read off its source (0.19.8, fp32 models).

An upper bound of what is alive at once, since gradients come as activations go. Not in it: CUDA itself, NCCL, the
allocator's gaps, passing temporaries of a layer and of AdamW's step; `USABLE` leaves room for these.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModel, PretrainedConfig

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, LoraConfig, UserError
from hbt_ray.model import tokenizer as tokenizers
from hbt_ray.model.build import SIZES, set_dropout, shape_config
from hbt_ray.model.encoder import with_adapters
from hbt_ray.model.weights import is_trained
from hbt_ray.terminal import console, table
from hbt_ray.train.engine import BUCKET
from hbt_ray.train.loss import BLOCK_SCORES

GIB = 2**30
USABLE = 0.9  # share of a GPU's memory for what is counted here
FP32 = 4  # bytes
FLAT = 500_000_000  # parameters: MEMORY_OPT_ALLREDUCE_SIZE (engine.py)
LIVE = 1_000_000_000  # parameters: max_live_parameters and max_reuse_distance (zero/config.py)


class Work(NamedTuple):
    """What a rank computes in a step.

    Attributes:
        rows: of its slice.
        query_tokens, passage_tokens: of each text, padding and special tokens included.
        hard_negatives: of each row.
        chunk_tokens: GradCache's chunk; None: all texts are kept until backward.
    """

    workers: int
    rows: int
    query_tokens: int
    passage_tokens: int
    hard_negatives: int = 0
    chunk_tokens: int | None = None


@dataclass(frozen=True)
class Memory:
    """Of a rank at one ZeRO stage [bytes].

    Attributes:
        weights: fp32, and whole copies of the sharded ones.
        optimizer: two moments and the fp32 copy of the weights that ZeRO updates.
        buckets: buffers gradients are reduced in.
        activations: what forward keeps for backward, bf16 copies of the weights included.
        batch: token ids, vectors of all ranks, and scores, each with its gradient.
    """

    stage: int
    weights: int
    gradients: int
    optimizer: int
    buckets: int
    activations: int
    batch: int

    @property
    def parts(self) -> tuple[int, ...]:
        return self.weights, self.gradients, self.optimizer, self.buckets, self.activations, self.batch

    @property
    def total(self) -> int:
        return sum(self.parts)


class FakeEncoder:
    """An encoder without memory: transformer and pooling. Layers that sentence-transformers puts behind the pooling
    (LaBSE's, 0.1 % of its parameters) are left out.

    Attributes:
        trained, frozen: parameters.
        width: length of a vector.
    """

    def __init__(
        self,
        config: EncoderConfig,
        tokenizer_uri: str,
        lora: LoraConfig = LoraConfig(),  # noqa: B008  # frozen
        activation_checkpointing: bool = False,
    ) -> None:
        """`tokenizer_uri`: whose vocabulary a random-weight size gets.

        Raises:
            UserError: the model has no readable config.
        """
        settings = _settings(config, tokenizer_uri)
        self._fake = FakeTensorMode(allow_non_fake_inputs=lora.lora_rank is not None)
        self._bf16 = config.precision == "bf16"
        with self._fake:
            self._model = AutoModel.from_config(settings, dtype=torch.float32).train()
            if config.dropout is not None:
                set_dropout(self._model, config.dropout)
        self.width = int(settings.hidden_size)
        self._pooling = Pooling(self.width, "mean" if config.pooling is None else config.pooling)
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(lora.lora_rank is None and is_trained(name))
        if lora.lora_rank is not None:
            with_adapters(self._model, lora)  # real ones, which are small: peft cannot move fake ones
        if activation_checkpointing:
            self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self._model.parameters()]
        self.trained = sum(size for size, trained in sizes if trained)
        self.frozen = sum(size for size, trained in sizes if not trained)

    def kept(self, rows: int, tokens: int) -> int:
        """Bytes that forward of [rows, tokens] keeps for backward on a GPU: distinct storages but the parameters'."""
        found: dict[int, torch.UntypedStorage] = {}  # holds them, so that no number is used again

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            found[storage._cdata] = storage
            return tensor

        with self._fake, _LikeOnGpu(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            ids = torch.ones(rows, tokens, dtype=torch.int64)
            with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
                states = self._model(input_ids=ids, attention_mask=ids).last_hidden_state
                vectors = self._pooling({"token_embeddings": states, "attention_mask": ids})["sentence_embedding"]
            functional.normalize(vectors.float(), dim=-1)
        weights = {parameter.untyped_storage()._cdata for parameter in self._model.parameters()}
        return sum(storage.nbytes() for number, storage in found.items() if number not in weights)


class _LikeOnGpu(TorchFunctionMode):
    """Has fake CPU tensors keep what CUDA's kernels keep: attention without a [tokens, tokens] matrix for each head,
    and dropout's mask as bytes."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is functional.dropout:
            return _dropout(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Torch's memory-efficient kernel: the one for masked texts. It wants the mask in the dtype of the query."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype).expand(*query.shape[:3], key.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    output: torch.Tensor = kernel(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
    return output


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    return torch.native_dropout(input, p, training)[0] if training and p > 0 else input


def estimate(encoder: FakeEncoder, work: Work) -> list[Memory]:
    """At each ZeRO stage, 0 to 3."""
    passages = work.rows * (1 + work.hard_negatives)
    texts = [(work.rows, work.query_tokens), (passages, work.passage_tokens)]
    if work.chunk_tokens is None:
        activations = sum(encoder.kept(*shape) for shape in texts)
    else:
        chunks = [(min(rows, max(work.chunk_tokens // tokens, 1)), tokens) for rows, tokens in texts]
        activations = max(encoder.kept(*shape) for shape in chunks)
    ids = sum(rows * tokens for rows, tokens in texts) * 2 * 8  # and attention mask, int64
    vectors = (work.rows + passages * work.workers) * encoder.width
    scores = min(work.rows * passages * work.workers, BLOCK_SCORES)
    batch = ids + (vectors + scores) * FP32 * 2
    return [Memory(stage, *state(stage, encoder, work.workers), activations, batch) for stage in range(4)]


def state(stage: int, model: FakeEncoder, workers: int) -> tuple[int, int, int, int]:
    """Bytes of weights, gradients, optimizer and buckets on each of `workers` ranks, as DeepSpeed 0.19.8 holds an fp32
    model whose ZeRO settings are ours.

    - 0 (engine.py): AdamW on the parameters themselves; gradients are flattened by buckets to be reduced.
    - 1, 2 (zero/stage_1_and_2.py): the rank's part of the weights has a copy, `single_partition_of_fp32_groups`, also
      when they are fp32; the bucket, `ipg_buckets`, is of `BUCKET` parameters even for smaller models. Stage 1 has all
      gradients until backward ends, stage 2 the rank's part (`grads_in_partition`).
    - 3 (zero/stage3.py): shards of weights (`lp_param_buffer`), of their copy (`fp32_partitioned_groups_flat`) and of
      gradients (`grad_partitions_flat_buffer`); a bucket, and a second one while it is reduced
      (`reduce_scatter_coalesced`). Parameters that come again within `LIVE` parameters are not given back, so a smaller
      model is whole on every rank from forward to backward; those below the persistence threshold are so always.
    """
    trained, frozen = model.trained, model.frozen
    part = math.ceil(trained / workers)
    flat = min(trained, FLAT)
    weights, gradients, optimizer, buckets = {
        0: (trained + frozen, trained, 2 * trained, flat),
        1: (trained + frozen, trained, 3 * part, BUCKET),
        2: (trained + frozen, part, 3 * part, BUCKET),
        3: (
            part + math.ceil(frozen / workers) + (min(trained + frozen, LIVE) if workers > 1 else 0),
            part,
            3 * part,
            BUCKET + min(trained, BUCKET),
        ),
    }[stage]
    return weights * FP32, gradients * FP32, optimizer * FP32, buckets * FP32


def _settings(config: EncoderConfig, tokenizer_uri: str) -> PretrainedConfig:
    if config.model in SIZES:
        return shape_config(SIZES[config.model], tokenizers.load_tokenizer(tokenizer_uri))
    try:
        if "://" not in config.model:
            return AutoConfig.from_pretrained(config.model)
        with tempfile.TemporaryDirectory() as folder:  # not the whole model, which may be large
            with open(os.path.join(folder, "config.json"), "wb") as file:
                file.write(storage.read_bytes(storage.join(config.model, "config.json")))
            return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"--model {config.model} is not a model: {' '.join(str(error).split())[:300]}") from None


def warnings(found: list[Memory], stage: int, work: Work, gpu_memory: float | None) -> list[str]:
    """What to change when `stage` does not fit GPUs of `gpu_memory` GiB: a line, or none when it fits."""
    if gpu_memory is None:
        return []
    room = gpu_memory * GIB * USABLE
    if found[stage].total <= room:
        return []
    fitting = [memory.stage for memory in found if memory.total <= room]
    if fitting:
        return [f"--zero-stage {stage} does not fit {gpu_memory:g} GiB, {fitting[0]} does"]
    least = min(found, key=lambda memory: memory.total)
    if least.activations < least.total / 2:
        advice = "offload the optimizer's state, or take a smaller model"
    elif work.chunk_tokens is None:
        advice = "--gradcache first"
    else:
        advice = f"fewer --chunk-tokens than {work.chunk_tokens}, then --activation-checkpointing"
    return [f"no ZeRO stage fits {gpu_memory:g} GiB: {advice}"]


def show_memory(
    found: list[Memory], encoder: FakeEncoder, work: Work, gpu_memory: float | None, told: list[str]
) -> None:
    """Print a table to stderr, a row a stage [GiB], and the warnings `told`."""
    rows = []
    for memory in found:
        row = [f"ZeRO {memory.stage}", *(f"{part / GIB:.2f}" for part in (*memory.parts, memory.total))]
        if gpu_memory is not None:
            over = memory.total / GIB - gpu_memory * USABLE
            row.append("fits" if over <= 0 else f"{over:.2f} too much")
        rows.append(row)
    screen = console()
    columns = ["GiB a worker", "weights", "gradients", "optimizer", "buckets", "activations", "batch", "total"]
    verdict = [] if gpu_memory is None else [f"{gpu_memory:g} GiB, {USABLE:.0%} usable"]
    screen.print(table([*columns, *verdict], rows))
    kept = f"GradCache, {work.chunk_tokens:,} tokens at once" if work.chunk_tokens else "all kept until backward"
    screen.print(
        f"{encoder.trained:,} parameters trained, {encoder.frozen:,} frozen; a worker has {work.rows:,} queries of "
        f"{work.query_tokens} tokens and {work.rows * (1 + work.hard_negatives):,} passages of {work.passage_tokens}, "
        f"padding included; activations: {kept}",
        highlight=False,
    )
    for line in told:
        screen.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
