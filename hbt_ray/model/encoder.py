"""The encoder: texts or token ids to unit vectors, around a model in sentence-transformers' layout."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import safetensors.torch
import torch
from torch import nn

from hbt_ray.config import LoraConfig, UserError
from hbt_ray.model.flops import transformer_flops
from hbt_ray.model.imports import without
from hbt_ray.model.names import is_trained

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase

    from hbt_ray.model import packed
    from hbt_ray.model.families import Family

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
        notes: lines about its prompts that the user should see.
        family: what is known of the model beside what it says; None: nothing.
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
        self.notes: tuple[str, ...] = ()
        self.family: Family | None = None
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

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, unpooled: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Unit vectors, fp32 [rows, width], of padded token ids and mask, int64 [rows, tokens]; it may stay on the CPU.

        Args:
            unpooled: number of tokens that pooling leaves out at the beginning of each text, int64 [rows], on the CPU;
                None: none (`left_out`).

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
            for module in self.model:
                features = module(features) if unpooled is None else _without_prompts(module, features, unpooled)
        vectors = features["sentence_embedding"]
        if self.model.truncate_dim is not None:
            vectors = vectors[..., : self.model.truncate_dim]
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
            self._adapted.append(with_adapters(self.model[0].auto_model, lora, self.family))

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

    def left_out(self, prefix: str) -> int:
        """How many tokens pooling leaves out of a text with this prefix: those up to the prefix's end, for a model with
        `include_prompt: false`, as sentence-transformers counts them; else 0."""
        if not prefix or all(getattr(module, "include_prompt", True) for module in self.model):
            return 0
        ids = self.tokenizer(prefix)["input_ids"]
        return len(ids) - (ids[-1] in self.tokenizer.all_special_ids)

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

    def save_adapter(self, folder: str, base: str) -> bool:
        """Write the adapters as peft does, for the transformer of the model `base`, to a local folder; returns whether
        there are any. `peft.PeftModel.from_pretrained(transformer, folder)` puts them into that transformer."""
        if not self._adapted:
            return False
        import peft

        (adapted,) = self._adapted
        settings = adapted.peft_config["default"]
        settings.base_model_name_or_path, settings.inference_mode = base, True
        settings.save_pretrained(folder)
        weights = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)  # or it would ask the hub
        named = {f"base_model.{name}": weight.contiguous() for name, weight in weights.items()}
        safetensors.torch.save_file(named, os.path.join(folder, "adapter_model.safetensors"), metadata={"format": "pt"})
        return True

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


def _without_prompts(module: nn.Module, features: dict[str, Any], unpooled: torch.Tensor) -> dict[str, Any]:
    """What a module makes of the features; one that pools leaves out so many tokens of each text, int64 [rows]."""
    if getattr(module, "include_prompt", True):
        return module(features)  # type: ignore[no-any-return]
    vectors: torch.Tensor | None = None
    for count in unpooled.unique().tolist():  # which has one value but where sources have instructions of their own
        found = module({**features, "prompt_length": count})["sentence_embedding"]
        chosen = (unpooled == count).to(found.device)[:, None]
        vectors = found if vectors is None else torch.where(chosen, found, vectors)
    return {**features, "sentence_embedding": vectors}


def with_adapters(transformer: nn.Module, lora: LoraConfig, family: Family | None = None) -> Any:
    """Put adapters into the linear layers of a transformers model, those that its family names, else all; what is
    returned can merge them.

    Raises:
        UserError: peft is not installed.
    """
    try:
        import peft  # here, since it is optional
    except ImportError:
        raise UserError("--lora-rank: peft is not installed: pip install 'hbt-ray[lora]'") from None
    ends = {name.rpartition(".")[2] for name, _ in transformer.named_modules()}
    known = sorted(ends & set(family.lora)) if family else []
    settings = peft.LoraConfig(
        r=lora.lora_rank,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=known or "all-linear",
    )
    return peft.LoraModel(transformer, settings, "default")
