"""Secrets that a rules file refers to: read from an environment variable or a file, and never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from alerts.receivers import Secret


class NoSecret(Exception):
    """A secret cannot be read; the text names the variable or the file."""


@dataclass(frozen=True, slots=True)
class Known:
    """The value of a secret, which no print shows."""

    value: str = field(repr=False)


def read_secret(secret: Secret) -> Known:
    """The secret's value. Raises NoSecret where there is none. Read at each use, so that a rotated one is taken up."""
    if secret.env:
        value = os.environ.get(secret.env, "").strip()
        if not value:
            raise NoSecret(f"the environment variable {secret.env} is not set")
        return Known(value)
    try:
        value = Path(secret.file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise NoSecret(f"the file {secret.file} cannot be read ({reason})") from None
    if not value:
        raise NoSecret(f"the file {secret.file} is empty")
    return Known(value)
