"""API keys: shown once as ``mw_<id>_<secret>``, stored as the SHA-256 of the secret.

A plain hash is enough, because the secret is 256 random bits and not a password that somebody chose.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, insert, select, update

from storage.records import Scope
from storage.schema import api_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret."""

    id: str
    scope: Scope
    note: str
    created_at: datetime
    revoked_at: datetime | None = None


def create_key(c: Connection, scope: Scope, note: str, now: datetime) -> str:
    """Makes a key and returns its text, which is not stored anywhere and cannot be shown again."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    c.execute(insert(api_keys).values(id=key_id, secret_hash=_digest(secret), scope=Scope(scope).value, note=note, created_at=now))
    return f"mw_{key_id}_{secret}"


def authenticate(c: Connection, text: str) -> ApiKey | None:
    """The key that ``text`` is, None where it is none or was revoked. Takes the same time for a wrong id as for a wrong secret."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    row = c.execute(
        select(api_keys).where(api_keys.c.id == key_id.replace("\0", ""), api_keys.c.revoked_at.is_(None))
    ).one_or_none()
    expected = row.secret_hash if row is not None else _digest("")
    matches = hmac.compare_digest(_digest(secret).encode(), expected.encode())
    if row is None or not matches or prefix != "mw":
        return None
    return ApiKey(id=row.id, scope=Scope(row.scope), note=row.note, created_at=row.created_at)


def revoke(c: Connection, key_id: str, now: datetime) -> bool:
    """Ends a key; False where there is no such key, or it had been revoked before."""
    live = (api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return c.execute(update(api_keys).where(*live).values(revoked_at=now)).rowcount == 1


def list_keys(c: Connection) -> list[ApiKey]:
    """All keys, the revoked ones too, oldest first."""
    rows = c.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))
    return [
        ApiKey(id=row.id, scope=Scope(row.scope), note=row.note, created_at=row.created_at, revoked_at=row.revoked_at)
        for row in rows
    ]


def any_active(c: Connection) -> bool:
    """Whether there is a key that has not been revoked."""
    return bool(c.scalar(select(exists().where(api_keys.c.revoked_at.is_(None)))))


def any_made(c: Connection) -> bool:
    """Whether there ever was a key: from then on keys are asked for, so that revoking the last one shuts the door, not opens it."""
    return bool(c.scalar(select(exists().select_from(api_keys))))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
