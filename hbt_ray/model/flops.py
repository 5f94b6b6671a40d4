"""What a device can compute and a transformer needs: the two sides of model FLOPs utilisation (MFU)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# dense bf16 arithmetic, as NVIDIA's data sheets give it [FLOP/s]
PEAK_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
}


def peak_flops(device: torch.device) -> float | None:
    """The most that the GPU can compute in bf16 [FLOP/s]; None when the device is not a GPU that is known."""
    import torch  # here, so that what estimates a cost needs none

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def transformer_flops(
    weights: int, attention: int, tokens: float, squares: float, backward: bool = True, frozen: int = 0
) -> float:
    """What a forward and, unless it is left out, a backward pass of a transformer need [FLOP].

    6 a weight and token (4 if it is frozen), and 12 a layer, width and pair of tokens for attention; forward alone 2
    and 4 (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). Embedding tables are looked up, not multiplied.

    Args:
        weights: number of trained weights that every token is multiplied by.
        attention: number of layers times the width of attention's heads together.
        tokens: number of tokens in all texts.
        squares: sum of the squares of the texts' lengths [tokens²].
        frozen: number of weights that are not trained.
    """
    of_token = 6 * weights + 4 * frozen if backward else 2 * (weights + frozen)
    return float(of_token) * tokens + (12.0 if backward else 4.0) * attention * squares
