"""The encoder: texts or token ids to unit vectors, around a model in sentence-transformers' layout."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from hbt_ray.config import LoraConfig, UserError
from hbt_ray.model.flops import transformer_flops
from hbt_ray.model.imports import without
from hbt_ray.model.names import is_trained
from hbt_ray.model.tokenizer import Template

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

    from hbt_ray.model import packed

Role = Literal["query", "passage"]
ROLES: tuple[Role, ...] = ("query", "passage")
log = logging.getLogger(__name__)


class Encoder(nn.Module):
    """Texts or token ids to unit vectors.

    Attributes:
        model: the sentence-transformers model: transformer, pooling, whatever the model adds, normalisation.
        prefixes: role to the text put before every query or passage.
        instructions: source to the text put before every query of that source, instead of the role's.
        limits: role to the longest text, special tokens and prefix included [tokens].
        bf16: whether the forward pass computes in bf16.
        packing: how texts are encoded without padding, where that works; None: they are padded.
        must_pack: whether texts that would be padded are an error.
    """

    def __init__(self, model: SentenceTransformer, prefixes: dict[Role, str], limits: dict[Role, int], bf16: bool):
        super().__init__()
        self.model = model
        self.prefixes = prefixes
        self.limits = limits
        self.bf16 = bf16
        self.instructions: dict[str, str] = {}
        self.packing: packed.Packing | None = None
        self.must_pack = False
        self._adapted: list[Any] = []  # what can merge the adapters; in a list, since its weights are the model's
        for name, parameter in model.named_parameters():
            if not is_trained(name):
                parameter.requires_grad_(False)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self.model.tokenizer  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """The length of a vector."""
        width = self.model.get_embedding_dimension()
        assert width is not None
        return int(width)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors, fp32 [rows, width], of padded token ids and mask, int64 [rows, tokens]; it may stay on the CPU.

        Raises:
            UserError: the settings demand packed texts, which this device cannot do.
        """
        device = input_ids.device
        if self.packing is not None and self.packing.works(device, self.training):
            features = self.packing(input_ids, attention_mask)
        elif self.must_pack:
            raise UserError(f"--attention varlen: needs a CUDA device, Ampere or newer, not {device}")
        else:
            features = {"input_ids": input_ids, "attention_mask": attention_mask.to(device, non_blocking=True)}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
            features = self.model(features)
        vectors = features["sentence_embedding"]
        return nn.functional.normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1)

    def adapt(self, lora: LoraConfig, seed: int) -> None:
        """Freeze all weights and put adapters into all linear layers, if `lora` says so; `seed` draws their weights.

        Raises:
            UserError: peft is not installed.
        """
        if lora.lora_rank is None:
            return
        self.model.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._adapted.append(with_adapters(self.model[0].auto_model, lora))

    def prepare(self, activation_checkpointing: bool, compiled: bool) -> None:
        """Set up the transformer for training: keep the inputs of layers only, and compile it for any shape."""
        transformer = self.model[0].auto_model
        if activation_checkpointing:
            transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if compiled:
            transformer.forward = torch.compile(transformer.forward, dynamic=True)  # which is what is called

    def flops(self, tokens: int, squares: int, backward: bool = True) -> float:
        """What a forward and, unless it is left out, a backward pass need of texts with `tokens` in all, whose lengths
        squared sum to `squares` [FLOP]: `transformer_flops` of all linear layers."""
        config = self.model[0].auto_model.config
        weights = {True: 0, False: 0}
        for module in self.modules():
            if isinstance(module, nn.Linear):
                for weight in module.parameters(recurse=False):
                    weights[weight.requires_grad] += getattr(weight, "ds_numel", weight.numel())
        return transformer_flops(
            weights[True], config.num_hidden_layers * config.hidden_size, tokens, squares, backward, weights[False]
        )

    def template(self, role: Role) -> Template:
        """The template that is put around stored tokens in this role."""
        return Template(self.tokenizer, self.prefixes[role])

    def templates(self) -> dict[str, Template]:
        """The template for stored queries of each source that has an instruction, by source."""
        return {source: Template(self.tokenizer, prefix) for source, prefix in self.instructions.items()}

    def tokenize(self, texts: Sequence[str], role: Role) -> list[np.ndarray]:
        """The token ids of each text, int32 [tokens]: with prefix and special tokens, cut to the role's limit."""
        prefix = self.prefixes[role]
        encoded = self.tokenizer(
            [prefix + text for text in texts],
            truncation=True,
            max_length=self.limits[role],
            return_attention_mask=False,
        )
        return [np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"]]

    def pad(self, rows: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, int64 [rows, longest row], of rows of token ids, int32 [tokens] each."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        mask = np.arange(lengths.max(initial=1))[None, :] < lengths[:, None]
        ids = np.full(mask.shape, self.tokenizer.pad_token_id, dtype=np.int64)
        ids[mask] = np.concatenate(list(rows)) if len(rows) else []
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}

    def export(self, folder: str) -> None:
        """Write the model in sentence-transformers' layout, prompts included and adapters merged, to a local folder."""
        while self._adapted:
            self._adapted.pop().merge_and_unload()
        self.model.prompts = {
            "query": self.prefixes["query"],
            "passage": self.prefixes["passage"],
            "document": self.prefixes["passage"],
            **self.instructions,
        }
        self.model.max_seq_length = max(self.limits.values())
        with without("deepspeed"):  # whose sharded weights a model that is saved here does not have
            self.model.save(folder, create_model_card=False)  # its card would have blank parts


def with_adapters(transformer: nn.Module, lora: LoraConfig) -> Any:
    """Put adapters into all linear layers of a transformers model; what is returned can merge them.

    Raises:
        UserError: peft is not installed.
    """
    try:
        import peft  # here, since it is optional
    except ImportError:
        raise UserError("--lora-rank: peft is not installed: pip install 'hbt-ray[lora]'") from None
    settings = peft.LoraConfig(
        r=lora.lora_rank, lora_alpha=lora.lora_alpha, lora_dropout=lora.lora_dropout, target_modules="all-linear"
    )
    return peft.LoraModel(transformer, settings, "default")
