"""Limits for whoever talks to the alerts service over HTTP: the process that judges must not be stopped by its own port.

Bodies are bounded before anything reads them, also those of callers without a key. A connection that does not get to the
end of a request's head, or of its body, in time is closed, and only so many are open at once: each costs a file, and without
files neither the database nor a mail server can be reached.
"""

from __future__ import annotations

import asyncio

import h11
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_BODY = 256 * 1024
PATIENCE_SECONDS = 15.0
MOST_CONNECTIONS = 200


class BoundedBodies:
    """Refuses a body that is too long (413) or does not come (408)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length, deadline = 0, asyncio.get_running_loop().time() + PATIENCE_SECONDS
        whole = False

        async def bounded() -> Message:
            nonlocal length, whole
            if whole:
                return await receive()  # what comes after a body is the end of the connection, for which there is no hurry
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the request did not come in time") from None
            length += len(message.get("body", b""))
            if length > LONGEST_BODY:
                raise HTTPException(413, "the request is too large")
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, bounded, send)


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, for those who come to the point."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, unless there are too many."""
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.abort()
            return
        super().connection_made(transport)
        self.loop.call_later(PATIENCE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection, if it was one."""
        if self in self.connections:
            super().connection_lost(exc)

    def _look(self) -> None:
        """Closes a connection whose next request has not begun, or is still at its head."""
        if self not in self.connections:
            return
        if self.conn.their_state is h11.IDLE:
            self.transport.close()
        else:
            self.loop.call_later(PATIENCE_SECONDS, self._look)
