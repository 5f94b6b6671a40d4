"""Queries as texts: encoded by the model that the documents of an index were encoded by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.config.base import first_reason
from hbt_ray.encode.encode import Identity, identify
from hbt_ray.encode.vectors import encode_texts
from hbt_ray.model.build import build_encoder
from hbt_ray.model.encoder import Encoder

TOKENS = 4096  # encoded at once


def same_model(config: EncoderConfig, manifest: Mapping[str, Any]) -> Identity:
    """The identity of the encoder, which must be the one that an index's vectors are of.

    Args:
        manifest: manifest of the index.

    Raises:
        UserError: it is another one, or no model.
    """
    identity = identify(config)
    if identity.fingerprints[manifest["role"]] != manifest["model_fingerprint"]:
        raise UserError(
            f"--model {config.model}: the index is of {manifest['model']} with other weights, prefix, length limit or"
            " precision"
        )
    return identity


class QueryEncoder:
    """Encodes queries by the model of an index, loaded when the first text comes."""

    def __init__(self, manifest: Mapping[str, Any], config: EncoderConfig | None = None) -> None:
        """Note which model is to be loaded.

        Args:
            manifest: manifest of the index.
            config: settings, which must be of the same model; None, or what they leave unset if they name no model: as
                the documents were encoded. That whoever encoded them trusted the model's code is no reason to run it
                here: the settings must say so.

        Raises:
            UserError: the manifest names no model.
        """
        self._manifest = manifest
        told = {**(manifest.get("encoder") or {"model": manifest["model"]}), "trust_remote_code": False}
        told |= config.model_dump(exclude_unset=True) if config else {}
        try:
            self._config = config if config and config.model else EncoderConfig.model_validate(told)
        except ValidationError as error:
            raise UserError(
                f"the index has no model that its queries could be encoded by: {first_reason(error)}"
            ) from None
        self._encoder: Encoder | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """The texts' unit vectors, fp32 [texts, width].

        Raises:
            UserError: the model is another than the index's.
        """
        if self._encoder is None:
            same_model(self._config, self._manifest)
            self._encoder = build_encoder(self._config).eval()
        return encode_texts(self._encoder, texts, "query", TOKENS)
