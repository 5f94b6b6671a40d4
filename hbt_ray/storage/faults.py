"""Faults of storage that trying again does not mend, as one line that names the place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from hbt_ray.config import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LASTING = {*FULL, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
# packages of object stores, whose own exceptions (no credentials, nothing that answers) come after their own retries
CLIENTS = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "google"}


@contextmanager
def named(uri: str, writes: bool = False) -> Iterator[None]:
    """Name the place when what is done there fails for good within the block.

    A file that is not there stays a FileNotFoundError, unless the block only writes: then it is the bucket or the disk
    that is missing.

    Raises:
        UserError: there is no permission, no such bucket, no room or no credentials; or nothing answers.
    """
    try:
        yield
    except PermissionError as error:
        raise UserError(f"{uri}: no permission to {'write' if writes else 'read'} there: {_line(error)}") from None
    except FileNotFoundError as error:
        if not writes:
            raise
        raise UserError(f"{uri} cannot be written: {_line(error)}") from None
    except OSError as error:
        if error.errno not in LASTING:
            raise
        raise UserError(f"{uri}: {_line(error)}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in CLIENTS:
            raise
        raise UserError(f"{uri}: {_line(error)}") from None


@contextmanager
def full(uri: str) -> Iterator[None]:
    """Name the place when there is no room for what the block writes; whatever else it does keeps its own errors.

    Raises:
        UserError: there is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(f"{uri}: {_line(error)}") from None


def _line(error: Exception) -> str:
    """What the system or the store says, without the path again."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(said.split())[:300]
