"""Which parameters of an encoder are trained, by their names."""

from __future__ import annotations


def is_trained(name: str) -> bool:
    """Whether the parameter is trained: pooling is ours, so the transformer's own pooling layer gets no gradient."""
    return "pooler" not in name.split(".")
