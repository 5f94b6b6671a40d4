"""What the file of a task declares, and how that becomes the task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hbt_ray import storage
from hbt_ray.config import Setting, UserError
from hbt_ray.evaluation.readers.content import Asked, Content
from hbt_ray.evaluation.tasks.base import Task

EVERY: tuple[Setting, ...] = ("monolingual", "cross-lingual", "multilingual")


@dataclass(frozen=True)
class Definition:
    """A task as its file declares it.

    Attributes:
        source: where its files are published, as a URI that can be read, or as a link for people.
        read: its reader.
        settings: what is evaluated unless the user asks for others.
        headline: the measures that are quoted of it, by our names; the first is the main one.
        corpus: where its documents are published when they are apart [URI].
        texts: what a candidate's text may be.
    """

    source: str
    read: Callable[[Asked], Content]
    settings: tuple[Setting, ...]
    headline: tuple[str, ...]
    corpus: str | None = None
    texts: tuple[str, ...] = ("sentence",)

    def load(self, name: str, data: str | None, corpus: str | None, language: str | None, text: str) -> Task:
        """Read the task.

        Args:
            data: its files [URI]; where they are published when None.
            corpus: its documents when they are apart [URI]; where they are published when None.

        Raises:
            UserError: its files are missing or malformed, or it has no such texts.
        """
        if text not in self.texts:
            raise UserError(f"--text {text}: {name} has {' or '.join(self.texts)} only")
        uri = storage.absolute(self.source if data is None else data)
        self._find(name, uri)
        asked = Asked(uri, self.corpus if corpus is None else storage.absolute(corpus), language, text)
        return Task(name, *self.read(asked), self.settings, self.headline)

    def _find(self, name: str, uri: str) -> None:
        try:
            storage.expand(uri)
        except (UserError, OSError) as error:  # OSError: a hub that does not answer, or does not know the place
            raise UserError(
                f"{name}: {' '.join(str(error).split())}; its files are at {self.source}, and --data names a copy"
            ) from None
