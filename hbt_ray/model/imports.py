"""sentence-transformers without what it imports for a measure that nothing here uses."""

from __future__ import annotations

import sys
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
