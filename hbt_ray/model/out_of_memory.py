"""Whether an error says that memory has run out: one answer for training and for encoding."""

from __future__ import annotations

import torch

# what errors without a type of their own say: torch's, cuBLAS's and oneDNN's
MESSAGES = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "could not create a")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the GPU or of the machine did not suffice."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in MESSAGES)
