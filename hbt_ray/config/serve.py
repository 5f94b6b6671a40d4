"""Settings of `serve`, and what a request to it may hold."""

from __future__ import annotations

import ipaddress
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints, model_validator

from hbt_ray.config.base import FewestAndMost, Section
from hbt_ray.config.index import Recall
from hbt_ray.config.uris import ModelName, Uri

MOST_CHARACTERS = 4096  # of a text
MOST_TEXTS = 64  # of one request to /embed
MOST_HITS = 100  # of a list
MOST_LANGUAGES = 400  # of one request
BODY_BYTES = 2**20  # of one request

Name = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,64}$")]


class ServeConfig(Section):
    """Settings of `serve`: collections, or indexes of them, that are asked over HTTP until the job is stopped."""

    MOST_USED: ClassVar[tuple[str, ...]] = ("collections", "models", "port", "host", "token_file", "replicas")

    collections: dict[Name, Uri] = Field(
        min_length=1, description="what is searched, as NAME=URI: folders written by encode or by index"
    )
    models: dict[Name, ModelName] = Field(
        min_length=1,
        description="what encodes the queries, as NAME=PATH: those that encoded the collections, and others",
    )
    host: str = Field("127.0.0.1", min_length=1, description="address to listen at; others than loopback need a token")
    port: int = Field(8000, ge=0, le=65535, description="port to listen at; 0: a free one")
    token_file: Uri | None = Field(
        None, description="file with the token that requests must bring [URI]; unset: none, on loopback only"
    )
    replicas: FewestAndMost = Field(
        (1, 1), description="of each model and collection, as there are requests; one number: so many [MIN MAX]"
    )
    gpus_per_replica: float = Field(0, ge=0, description="GPUs of each replica of a model; 0: on CPU")
    recall: Recall = Field("0.95", description="approximate index: what was measured to be found [share of the best]")

    @model_validator(mode="after")
    def _open_to_others(self) -> ServeConfig:
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(f"--host {self.host}: others can reach it, so --token-file must name a token")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or a name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
