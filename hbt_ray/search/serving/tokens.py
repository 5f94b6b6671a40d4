"""The token that a server wants and a client brings."""

from __future__ import annotations

from hbt_ray.config import UserError
from hbt_ray.storage import read_bytes

FEWEST = 16  # characters


def read_token(uri: str) -> str:
    """The token in a file.

    Raises:
        UserError: it cannot be read, or is none.
    """
    try:
        token = read_bytes(uri).decode("ascii").strip()
    except FileNotFoundError:
        raise UserError(f"--token-file: no file {uri}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token-file {uri} cannot be read: {error}") from None
    if len(token) < FEWEST or not token.isprintable() or " " in token:
        raise UserError(f"--token-file {uri}: a token has at least {FEWEST} letters, digits or signs and no blanks")
    return token
