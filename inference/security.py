"""Who may call: API keys as ``Authorization: Bearer …``, known from memory so that no request waits for SQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

from sqlalchemy import Engine

from inference.problems import Problem, unavailable
from inference.settings import InferenceSettings
from storage import keys
from storage.engine import DatabaseUnavailable, reading
from storage.records import Scope
from storage.settings import SettingsError

REMEMBER_SECONDS = 5.0
"""How long a key is believed, so also how long a revoked one may still work."""
OUTAGE_SECONDS = 24 * 3600.0
"""How long a key that was good is believed while the database cannot be asked."""
MOST_REMEMBERED = 10_000
_ORDER = list(Scope)


class Gate:
    """Lets requests through that need no key, or carry one whose scope is wide enough."""

    def __init__(self, engine: Engine, settings: InferenceSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._is_open_port = not settings.is_loopback and not settings.trusted_network
        self._known: dict[str, tuple[Scope | None, float]] = {}
        self.keys_exist = False

    @property
    def needs_key(self) -> bool:
        return self.keys_exist or self._is_open_port

    async def check(self, headers: Iterable[tuple[bytes, bytes]], scope: Scope) -> None:
        """Raises Problem: 401 without a good key, 403 with one of too narrow a scope, 503 when that cannot be found out."""
        if not self.needs_key:
            return
        text = bearer(headers)
        if text is None:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "This server needs an API key; send it as `Authorization: Bearer …`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        held, until = self._known.get(text, (None, -1.0))
        if self._clock() > until:
            held = await self._ask(text, held, until)
        if held is None:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "The API key is not valid; `modelwatch keys list` shows the keys.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if _ORDER.index(held) < _ORDER.index(scope):
            raise Problem(HTTPStatus.FORBIDDEN, f"The API key has the scope {held}; this call needs {scope}.")

    async def _ask(self, text: str, held: Scope | None, until: float) -> Scope | None:
        now = self._clock()
        try:
            held = await asyncio.to_thread(self._authenticate, text)
        except DatabaseUnavailable as error:
            if held is not None and now - until < OUTAGE_SECONDS:
                return held
            raise unavailable("The database is away, so the API key cannot be checked; try again.") from error
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[text] = (held, now + REMEMBER_SECONDS)
        return held

    def _authenticate(self, text: str) -> Scope | None:
        with reading(self._engine) as c:
            key = keys.authenticate(c, text)
        return None if key is None else key.scope


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in the request's headers."""
    for name, value in headers:
        if name == b"authorization":
            kind, _, text = value.decode("latin-1").partition(" ")
            return text.strip() if kind.lower() == "bearer" and text.strip() else None
    return None


def require_keys(engine: Engine, settings: InferenceSettings) -> None:
    """Refuses to open a port to others without keys. Raises SettingsError or DatabaseUnavailable."""
    if settings.is_loopback or settings.trusted_network:
        return
    with reading(engine) as c:
        if keys.any_active(c):
            return
    raise SettingsError(
        f"MODELWATCH_HOST is {settings.host}, which others can reach, and there is no API key; make one with "
        "`modelwatch keys create --scope predict`, or set MODELWATCH_TRUSTED_NETWORK=true where something else decides who gets in."
    )
