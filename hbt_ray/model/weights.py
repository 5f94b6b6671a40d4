"""Whether a checkpoint has the weights that its encoder needs: transformers gives what is missing random ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from hbt_ray.config import UserError
from hbt_ray.model.names import is_trained


@contextmanager
def complete(name: str) -> Iterator[None]:
    """Check the weights of every transformer that is loaded in the block.

    Weights of a head behind the encoder, such as a language model's, may be there, and the encoder's own pooling layer
    may be absent: it is not used.

    Raises:
        UserError: the checkpoint of the model `name` lacks weights of its encoder, or has some for parts that the
            encoder, as its config describes it, does not have.
    """
    found: list[tuple[nn.Module, Any]] = []
    # where transformers knows what it did not find; `from_pretrained` tells only its direct caller
    finish = PreTrainedModel._finalize_model_loading

    def noted(model: PreTrainedModel, load_config: Any, info: Any) -> Any:
        info = finish(model, load_config, info)
        found.append((model, info))
        return info

    PreTrainedModel._finalize_model_loading = staticmethod(noted)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report of weights that are there or not is replaced by one line
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        PreTrainedModel._finalize_model_loading = staticmethod(finish)
    for model, info in found:
        _refuse_gaps(name, model, info)


def _refuse_gaps(name: str, model: nn.Module, info: Any) -> None:
    missing = sorted(info.missing_keys)
    if any(map(is_trained, missing)):
        raise UserError(
            f"--model {name}: the checkpoint lacks {len(missing)} of the encoder's {len(list(model.parameters()))}"
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
            f"--model {name}: the checkpoint has {len(strange)} weights for which its config has no place, such as"
            f" {strange[0]}"
        )


def _instead(unexpected: set[str]) -> str:
    return f"; it has others, such as {min(unexpected)}" if unexpected else ""
