"""A loss of the user's, by its import path."""

from __future__ import annotations

import importlib

import torch
from torch import nn

from hbt_ray.config import OwnLossConfig, UserError
from hbt_ray.train.losses.whole import Loss, Whole


class OwnLoss:
    """What the user's class makes, called as any `Loss`."""

    def __init__(self, config: OwnLossConfig) -> None:
        """Import the class and make it with the options.

        Raises:
            UserError: it cannot be imported, is no class, cannot be made with the options, or has weights.
        """
        self._flag = f"--loss.path {config.path}"
        module, _, name = config.path.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UserError(f"{self._flag}: {error}") from None
        if not isinstance(found, type):
            raise UserError(f"{self._flag}: is no class")
        try:
            self._loss: Loss = found(**config.options)
        except TypeError as error:
            raise UserError(f"{self._flag} with --loss.options {config.options}: {error}") from None
        if isinstance(self._loss, nn.Module) and any(True for _ in self._loss.parameters()):
            raise UserError(f"{self._flag}: has weights, which no run trains")

    def __call__(self, whole: Whole, temperature: torch.Tensor) -> torch.Tensor:
        """The loss of each of this rank's rows, floating [rows].

        Raises:
            UserError: it gave something else.
        """
        found = self._loss(whole, temperature)
        rows = len(whole.queries)
        if found.shape != (rows,):
            raise UserError(f"{self._flag}: gave {list(found.shape)}, not a loss for each of {rows} rows")
        return found
