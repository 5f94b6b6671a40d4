"""A batch of texts as one row without padding: attention is told where each text begins, and stays within it.

sentence-transformers hands such a row to the transformer and pools it, but makes one only of strings and for the
flash_attn package. So the row is made here, and the attention that goes into transformers' registry needs torch alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import Transformer
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

try:
    from flash_attn import flash_attn_varlen_func
except ImportError:
    flash_attn_varlen_func = None

NAME = "hbt_packed"  # in the registries; a name with "flash" in it would be taken for that of a kernel to download
TOLERANCE = 1e-4  # of a number in a unit vector: neighbours read by mistake, or wrong positions, change it far more


class CannotPack(Exception):
    """The reason why a model's texts are padded."""


class Packing(NamedTuple):
    """How a model's texts are packed.

    Attributes:
        first: position of a text's first token.
        untrainable: why texts are padded in training; empty: they are not.
        device: kind of device it is done on. On the CPU the kernel is `_reference`, which is there for checks.
    """

    first: int
    untrainable: str = ""
    device: str = "cuda"

    def works(self, device: torch.device, training: bool) -> bool:
        """Whether texts can be packed on this device, in training or not."""
        if device.type != self.device or (training and self.untrainable):
            return False
        return device.type == "cpu" or torch.cuda.get_device_capability(device) >= (8, 0)  # the kernels want Ampere

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Any]:
        """The packed features, as sentence-transformers names them, of padded texts and mask, int64 [texts, tokens].

        Waits for the device once, to fetch the mask; not at all when the mask is on the CPU.
        """
        mask = attention_mask.cpu() != 0
        mask[:, 0] |= ~mask.any(dim=1)  # pooling wants a token of every text
        lengths = mask.sum(dim=1)
        ends = lengths.cumsum(dim=0)
        places = mask.flatten().nonzero().flatten()
        texts = torch.repeat_interleave(lengths)
        positions = torch.arange(len(places)) - (ends - lengths)[texts] + self.first
        places, positions, texts = _put(torch.stack([places, positions, texts]), input_ids.device)
        borders = _put(nn.functional.pad(ends, (1, 0)).int(), input_ids.device)
        return {
            "input_ids": input_ids.flatten()[places][None],
            "position_ids": positions[None],
            "seq_idx": texts[None],  # spares pooling a wait for the device
            **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), borders),
            **dict.fromkeys(("max_length_q", "max_length_k"), int(lengths.max())),
        }


def prepare_packing(model: SentenceTransformer, input_ids: Tensor, attention_mask: Tensor) -> Packing:
    """Make the model's attention take packed texts besides padded ones, and find out how they are packed.

    Nothing known of its positions or attention is trusted: on the CPU, in the precision of the weights, the padded
    texts given, int64 [texts, tokens], must get the same vectors packed.

    Raises:
        CannotPack: they do not. The model is as before.
    """
    transformer = model[0].model if isinstance(model[0], Transformer) else None
    if transformer is None or transformer.config._attn_implementation != "sdpa":
        raise CannotPack("its attention is not transformers' sdpa")
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            padded = model.eval()({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]
            transformer.set_attn_implementation(NAME)
            for packing in (Packing(0), Packing(model.tokenizer.pad_token_id + 1)):  # BERT's way, RoBERTa's way
                vectors = model(packing(input_ids, attention_mask))["sentence_embedding"]
                if torch.allclose(vectors, padded, rtol=0, atol=TOLERANCE):
                    break
            else:
                raise CannotPack("packed texts get other vectors than padded ones")
            try:
                model.train()(packing(input_ids, attention_mask))
            except CannotPack as reason:
                packing = packing._replace(untrainable=str(reason))
            return packing
    except Exception as error:  # a model that is not made for it may fail in any way
        transformer.set_attn_implementation("sdpa")
        if isinstance(error, CannotPack):
            raise
        raise CannotPack(f"packed texts fail: {' '.join(str(error).split())[:300]}") from error
    finally:
        for module, training in modes:
            module.training = training


def _put(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy from the CPU to the device; pinned, since a copy from pageable memory may wait for the device."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention as transformers' registry has it, of [rows, heads, tokens, width]; packed where texts have borders.

    `sliding_window` is what transformers gives flash_attn: a token sees less than that many to either side.
    """
    borders: Tensor | None = options.get("cu_seq_lens_q")
    if borders is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    dropout, scale, reach = options.get("dropout", 0.0), options.get("scaling"), options.get("sliding_window")
    if dropout and flash_attn_varlen_func is None:
        raise CannotPack(
            f"torch's kernel has no dropout of attention, here {dropout}: --attention-dropout 0, or the flash_attn"
            " package"
        )
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal  # sdpa_attention_forward's default
    left = -1 if reach is None else reach - 1
    window = (left, 0 if causal else left)
    groups = query.shape[1] // key.shape[1]
    query, key, value = (x[0].transpose(0, 1) for x in (query, repeat_kv(key, groups), repeat_kv(value, groups)))
    device = query.device.type
    if torch.is_autocast_enabled(device):  # which does not reach into the kernels
        query, key, value = (x.to(torch.get_autocast_dtype(device)) for x in (query, key, value))
    packed = (query, key, value, borders, borders, options["max_length_q"], options["max_length_k"])
    mixed: Any
    if device == "cpu":
        mixed = _reference(query, key, value, borders, scale, window)
    elif flash_attn_varlen_func is None:
        mixed = varlen_attn(*packed, scale=scale, window_size=window)
    else:
        mixed = flash_attn_varlen_func(*packed, dropout_p=dropout, softmax_scale=scale, window_size=window)
    return mixed[None], None


def _reference(
    query: Tensor, key: Tensor, value: Tensor, borders: Tensor, scale: float | None, window: tuple[int, int]
) -> Tensor:
    """What the kernels compute, of [tokens, heads, width]."""
    places = torch.arange(len(query))
    distance = places - places[:, None]
    texts = torch.bucketize(places, borders, right=True)
    left, right = (len(query) if reach < 0 else reach for reach in window)
    seen = (texts == texts[:, None]) & (distance >= -left) & (distance <= right)
    query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
    with torch.autocast("cpu", enabled=False):  # the kernels know nothing of it
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)
    return mixed[0].transpose(0, 1)


def _mask(*, attention_mask: Tensor | None, **options: Any) -> Tensor | None:
    """Packed texts come without a mask; the square one of all their tokens would fill the memory."""
    return None if attention_mask is None else sdpa_mask(attention_mask=attention_mask, **options)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)
