"""What a forward pass keeps in memory, counted on torch's fake tensors, which have shapes and no memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules.pooling import Pooling
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AutoModel, PretrainedConfig

from hbt_ray.config import EncoderConfig, LoraConfig
from hbt_ray.model import tokenizer as tokenizers
from hbt_ray.model.build import shape_config
from hbt_ray.model.dropout import set_dropout
from hbt_ray.model.encoder import with_adapters
from hbt_ray.model.families import Family
from hbt_ray.model.files import ModelFiles
from hbt_ray.model.modules import MODES
from hbt_ray.model.names import is_trained
from hbt_ray.model.shapes import SIZES


class FakeEncoder:
    """An encoder without memory: transformer and pooling. Layers that sentence-transformers puts behind the pooling
    (LaBSE's, 0.1 % of its parameters) are left out.

    Attributes:
        trained, frozen: number of parameters that are trained, and that are not.
        width: length of a vector.
    """

    def __init__(
        self,
        config: EncoderConfig,
        tokenizer_uri: str,
        lora: LoraConfig = LoraConfig(),  # noqa: B008  # frozen
        activation_checkpointing: bool = False,
    ) -> None:
        """`tokenizer_uri`: folder of the tokenizer whose vocabulary a random-weight size gets.

        Raises:
            UserError: the model has no readable config.
        """
        settings, family = _settings(config, tokenizer_uri)
        self._fake = FakeTensorMode(allow_non_fake_inputs=lora.lora_rank is not None)
        self._bf16 = config.precision == "bf16"
        with self._fake:
            self._model = AutoModel.from_config(
                settings, dtype=torch.float32, trust_remote_code=config.trust_remote_code
            ).train()
            if hasattr(self._model, "encoder") and hasattr(self._model, "decoder"):  # T5, whose encoder alone is used
                self._model = self._model.encoder
            if config.dropout is not None:
                set_dropout(self._model, config.dropout)
        self.width = int(settings.hidden_size)
        self._pooling = Pooling(self.width, MODES[config.pooling or "mean"])
        for name, parameter in self._model.named_parameters():
            parameter.requires_grad_(lora.lora_rank is None and is_trained(name))
        if lora.lora_rank is not None:
            with_adapters(self._model, lora, family)  # real ones, which are small: peft cannot move fake ones
        if activation_checkpointing:
            self._model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self._model.parameters()]
        self.trained = sum(size for size, trained in sizes if trained)
        self.frozen = sum(size for size, trained in sizes if not trained)

    def kept(self, rows: int, tokens: int) -> int:
        """What forward of [rows, tokens] keeps for backward on a GPU [bytes]: distinct storages but the parameters'."""
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


def _settings(config: EncoderConfig, tokenizer_uri: str) -> tuple[PretrainedConfig, Family | None]:
    """The transformer's config, and its family."""
    if config.model in SIZES:
        return shape_config(SIZES[config.model], tokenizers.load_tokenizer(tokenizer_uri)), None
    files = ModelFiles.of(config)
    return files.transformer_config(), files.family
