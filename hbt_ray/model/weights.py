"""A model's weights: their digest, and whether a checkpoint has all that are needed; what it lacks would be random."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from hbt_ray.config import UserError
from hbt_ray.model.names import is_trained

POINTER = b"version https://git-lfs"  # how a file that stands for another in git begins
CONTENTS = (".safetensors", ".bin", ".json", ".model")


def check_files(name: str, folder: str) -> None:
    """Look whether the files in a local folder are what their names say.

    Raises:
        UserError: one is a pointer to a file that git-lfs has not fetched, is empty, or holds weights without numbers,
            as a model that ZeRO-3 has in parts is saved.
    """
    for file in sorted(Path(folder).rglob("*")):
        if file.suffix not in CONTENTS or not file.is_file():
            continue
        where = f"--model {name}: {file.relative_to(folder)}"
        with file.open("rb") as content:
            begin = content.read(len(POINTER))
        if not begin:
            raise UserError(f"{where} is empty")
        if begin == POINTER:
            raise UserError(f"{where} is a pointer of git-lfs, not the file: fetch it with git lfs pull")
        if file.suffix == ".safetensors":
            _refuse_empty(where, file)


def _refuse_empty(where: str, file: Path) -> None:
    with safe_open(file, "pt") as weights:
        names = list(weights.keys())
        empty = [name for name in names if not math.prod(weights.get_slice(name).get_shape())]
    if empty:
        raise UserError(
            f"{where} has no numbers for {len(empty)} of {len(names)} weights, such as {empty[0]}: it was saved while"
            " ZeRO-3 had them in parts; save it again, gathered"
        )


def digest(model: nn.Module) -> str:
    """The sha256 of the names and bytes of all weights and buffers that a model saves."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().contiguous().view(torch.uint8).numpy() if tensor.ndim else tensor.numpy())
    return found.hexdigest()


@contextmanager
def complete(name: str, flag: str = "--model") -> Iterator[None]:
    """Check the weights of every transformer that is loaded in the block.

    Weights of a head behind the encoder, such as a language model's, may be there, and the encoder's own pooling layer
    may be absent: it is not used.

    Args:
        flag: the setting that names the model.

    Raises:
        UserError: the checkpoint of the model `name` lacks weights of its encoder, or has some for parts that the
            encoder, as its config describes it, does not have, or weights of other shapes.
    """
    found: list[tuple[nn.Module, Any]] = []
    # where transformers knows what it did not find; `from_pretrained` tells only its direct caller
    finish = PreTrainedModel._finalize_model_loading

    def noted(model: PreTrainedModel, load_config: Any, info: Any) -> Any:
        found.append((model, info))
        return finish(model, load_config, info)

    PreTrainedModel._finalize_model_loading = staticmethod(noted)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of weights that are there or not is replaced by one line
    try:
        yield
    except RuntimeError:
        for _, info in found:
            _refuse_shapes(f"{flag} {name}", info)
        raise
    finally:
        logging.set_verbosity(verbosity)
        PreTrainedModel._finalize_model_loading = staticmethod(finish)
    for model, info in found:
        _refuse_gaps(f"{flag} {name}", model, info)


def _refuse_gaps(name: str, model: nn.Module, info: Any) -> None:
    missing = sorted(info.missing_keys)
    if any(map(is_trained, missing)):
        raise UserError(
            f"{name}: the checkpoint lacks {len(missing)} of the encoder's {len(list(model.parameters()))}"
            f" weights, such as {missing[0]}{_instead(info.unexpected_keys)}"
        )
    buffers = {key for key, _ in model.named_buffers()}
    children = {key for key, _ in model.named_children()}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    strange = sorted(
        key
        for key in info.unexpected_keys
        if is_trained(key) and (bare := key.removeprefix(prefix)).split(".")[0] in children and bare not in buffers
    )
    if strange:
        raise UserError(
            f"{name}: the checkpoint has {len(strange)} weights for which its config has no place, such as {strange[0]}"
        )


def _refuse_shapes(name: str, info: Any) -> None:
    wrong = sorted((key, list(there), list(wanted)) for key, there, wanted in info.mismatched_keys)
    if wrong:
        key, there, wanted = wrong[0]
        raise UserError(
            f"{name}: {len(wrong)} weights of the checkpoint have other shapes than its config says, such as"
            f" {key}: {there}, and not {wanted}"
        )


def _instead(unexpected: set[str]) -> str:
    return f"; it has others, such as {min(unexpected)}" if unexpected else ""
