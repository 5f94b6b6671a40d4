"""Libraries without what they import for things that nothing here uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def import_sentence_transformers() -> None:
    """Import sentence-transformers, to be called before anything is taken from it.

    It imports scikit-learn, and with it scipy.stats, for one distance between sparse vectors: a fifth of what starting
    an encoder takes. Here that function imports scikit-learn when it is called.
    """
    if "sentence_transformers" in sys.modules or "sklearn" in sys.modules:
        return
    package, metrics = ModuleType("sklearn"), ModuleType("sklearn.metrics")
    package.__spec__, metrics.__spec__ = find_spec("sklearn"), ModuleSpec("sklearn.metrics", None)
    metrics.pairwise_distances = _pairwise_distances  # type: ignore[attr-defined]
    sys.modules.update({"sklearn": package, "sklearn.metrics": metrics})
    try:
        import sentence_transformers  # noqa: F401
    finally:
        del sys.modules["sklearn"], sys.modules["sklearn.metrics"]


def _pairwise_distances(*arguments: Any, **options: Any) -> Any:
    from sklearn.metrics import pairwise_distances

    return pairwise_distances(*arguments, **options)


@contextmanager
def without(name: str) -> Iterator[None]:
    """In the block, a package that nobody has imported yet is as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what Python defines as: there is no such module
    try:
        yield
    finally:
        del sys.modules[name]
