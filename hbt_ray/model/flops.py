"""What a device can compute: the yardstick of model FLOPs utilisation (MFU)."""

from __future__ import annotations

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
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
