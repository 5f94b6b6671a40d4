"""What a model's files say of it: read one by one, without its weights, of a folder, a URI or the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hbt_ray import storage
from hbt_ray.config import EncoderConfig, UserError
from hbt_ray.config.base import quoted
from hbt_ray.model.families import Family, family_of
from hbt_ray.model.imports import import_sentence_transformers
from hbt_ray.parsing import parse_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# where sentence-transformers looks for the settings of its transformer, in this order
SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MOST_LAYERS = 1000  # which take minutes to make, also without memory
NO_LIMIT = 10**9  # a tokenizer without a limit names a number above it [tokens]
OWN_MODULES = "sentence_transformers."  # how the classes of its modules begin


@dataclass(frozen=True)
class ModelFiles:
    """A model's files.

    Attributes:
        name: folder, URI or hub id.
        revision: branch, tag or commit of the hub; None: its newest.
        trust_remote_code: whether code in them may be run.
    """

    name: str
    revision: str | None = None
    trust_remote_code: bool = False

    @classmethod
    def of(cls, config: EncoderConfig) -> ModelFiles:
        """The files of the model that is named in the settings.

        Raises:
            UserError: a revision of a folder is asked for.
        """
        files = cls(config.model, config.revision, config.trust_remote_code)
        if files.is_folder and config.revision is not None:
            raise UserError(f"--revision {config.revision}: {config.model} is a folder; only hub ids have revisions")
        return files

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, here or at a URI."""
        return "://" in self.name or os.path.isdir(self.name)

    @property
    def path(self) -> str:
        """What libraries open: a local folder, to which a URI is copied, or a hub id."""
        return storage.local_copy(self.name) if "://" in self.name else self.name

    def read(self, file: str) -> bytes | None:
        """The content of one file; None when there is none of that name.

        Raises:
            UserError: the name is that of no folder and can be none on the hub.
        """
        if self.is_folder:
            uri = storage.join(self.name, file)
            return storage.read_bytes(uri) if storage.exists(uri) else None
        from transformers.utils import cached_file

        flags = ("gated_repo", "missing_entries", "connection_errors")  # what loads the model says them better
        quiet = {f"_raise_exceptions_for_{name}": False for name in flags}
        try:
            found = cached_file(self._hub_id, file, revision=self.revision, **quiet)
        except OSError as error:
            raise UserError(f"--model {self.name} is not a model: {one_line(error)}") from None
        return Path(found).read_bytes() if found else None

    def settings(self, file: str) -> dict[str, Any]:
        """The settings in a JSON file, none when there is no such file.

        Raises:
            UserError: it is not a JSON object.
        """
        found = self._json(file)
        if not isinstance(found, dict | None):
            raise UserError(f"--model {self.name}: {file} is not a JSON object")
        return found or {}

    def _json(self, file: str) -> Any:
        content = self.read(file)
        try:
            return None if content is None else parse_json(content)
        except ValueError as error:
            raise UserError(f"--model {self.name}: {file} {error}") from None

    @cached_property
    def modules(self) -> list[dict[str, Any]]:
        """The modules in sentence-transformers' layout, in their order; none: it is a plain transformers model.

        Raises:
            UserError: it is not a list of modules.
        """
        found = self._json("modules.json")
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(module, dict) for module in found):
            raise UserError(f"--model {self.name}: modules.json is not a list of modules")
        return found

    @cached_property
    def transformer(self) -> str:
        """The folder of the transformer within the model's: "" or such as `0_Transformer`."""
        folder = str(self.modules[0].get("path", "")).strip("/") if self.modules else ""
        if ".." in folder.split("/"):
            raise UserError(f"--model {self.name}: modules.json names a folder outside the model's, {quoted(folder)}")
        return folder

    @cached_property
    def config(self) -> dict[str, Any]:
        """The transformer's config.json."""
        return self.settings(self.within("config.json"))

    @cached_property
    def family(self) -> Family | None:
        """The family that it is known to be of, by its name or by that of the model it was made from."""
        return family_of(self.name, str(self.config.get("_name_or_path") or ""))

    def within(self, file: str) -> str:
        """The place of a file of the transformer within the model's folder."""
        return f"{self.transformer}/{file}" if self.transformer else file

    def check(self) -> None:
        """Look whether it can be a model, without loading anything.

        Raises:
            UserError: a folder has no config.json where it should be, the model has more layers than any, or needs code
                of its own that may not be run.
        """
        if self.is_folder and not storage.exists(storage.join(self.name, self.within("config.json"))):
            raise UserError(f"--model {self.name} is not a model: it has no {self.within('config.json')}")
        for key, value in self.config.items():
            if "layer" in key and isinstance(value, int) and value > MOST_LAYERS:
                raise UserError(
                    f"--model {self.name}: config.json has {key} {value:,}, and no model more than {MOST_LAYERS:,}"
                )
        if not self.trust_remote_code and (what := self._own_code()):
            raise UserError(
                f"--model {self.name} brings code of its own ({what}): read it, then say --trust-remote-code"
            )

    def _own_code(self) -> str:
        """What of it needs code of its own; empty: nothing."""
        for module in self.modules:
            if not str(module.get("type", "")).startswith(OWN_MODULES):
                return str(module.get("type"))
        own = self.config.get("auto_map")
        if not isinstance(own, dict) or not ({"AutoConfig", "AutoModel"} & set(own)):
            return ""
        from transformers import CONFIG_MAPPING

        return (
            "" if self.config.get("model_type") in CONFIG_MAPPING else str(own.get("AutoModel", own.get("AutoConfig")))
        )

    def stated_limit(self) -> int | None:
        """The longest text that its settings or its tokenizer's name [tokens]; None: they name none."""
        for file in SETTINGS:
            found = self.settings(self.within(file)) if self.modules else {}
            if limit := self._limit(file, found.get("max_seq_length")):
                return limit
        file = "tokenizer_config.json"
        return self._limit(file, self.settings(self.within(file)).get("model_max_length"))

    def _limit(self, file: str, value: Any) -> int | None:
        if not isinstance(value, int | float | None):
            raise UserError(f"--model {self.name}: {file} has the limit {quoted(value)}, which is no number")
        return int(value) if value is not None and 0 < value < NO_LIMIT else None

    def transformer_config(self) -> PretrainedConfig:
        """The transformer's config as transformers reads it.

        Raises:
            UserError: it cannot be read.
        """
        from transformers import CONFIG_MAPPING, AutoConfig

        self.check()
        with model_errors(self.name):
            kind = str(self.config.get("model_type"))
            if "://" in self.name and kind in CONFIG_MAPPING:  # not the whole model, which may be large
                return CONFIG_MAPPING[kind].from_dict(self.config)
            return AutoConfig.from_pretrained(
                self.path if self.is_folder else self._hub_id,
                subfolder=self.transformer,
                revision=self.revision,
                trust_remote_code=self.trust_remote_code,
            )

    @property
    def _hub_id(self) -> str:
        """The hub id; one without an owner is sentence-transformers' own, as it has it, unless transformers is."""
        if "/" in self.name:
            return self.name
        import_sentence_transformers()
        from sentence_transformers.util.misc import ORIGINAL_TRANSFORMER_MODELS

        return self.name if self.name.lower() in ORIGINAL_TRANSFORMER_MODELS else f"sentence-transformers/{self.name}"


@contextmanager
def model_errors(name: str, flag: str = "--model", kind: str = "model") -> Iterator[None]:
    """Make whatever a library raises within the block, on files that are no model, one line: each raises what it likes.

    Raises:
        UserError: the files of this name, which `flag` gave, are none of this kind.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{flag} {name} is not a {kind}: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """What an error says, in a line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
