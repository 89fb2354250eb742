"""Stand-ins for the outside world that speak its real protocols: Slack over HTTP, a mail server over SMTP with TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LOOPBACK = "127.0.0.1"


# ---------------------------------------------------------------------------------------------- slack


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the fake answers next. ``delay`` seconds before; ``drop``: closes the connection instead."""

    status: int = 200
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False


@dataclass(frozen=True, kw_only=True)
class Posted:
    """One request that the fake got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    raw: bytes = b""

    @property
    def text(self) -> str:
        return str(self.body.get("text", ""))

    @property
    def everything(self) -> str:
        return json.dumps(self.body, ensure_ascii=False)


class FakeSlack:
    """Answers webhooks with ``ok`` and the web API with JSON, or whatever ``script`` says is next."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.script: deque[Answer] = deque()
        self.arrived = threading.Condition()
        self._server = _QuietServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    @property
    def webhook_url(self) -> str:
        return f"{self.url}/services/T000/B000/the-secret-of-the-webhook"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    def wait_for(self, number: int, seconds: float = 60.0) -> list[Posted]:
        """The requests, once there are ``number`` of them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.posted) >= number, seconds), f"only {len(self.posted)} requests came"
            return list(self.posted)

    def take(self, request: Posted) -> Answer:
        with self.arrived:
            self.posted.append(request)
            number = len(self.posted)
            self.arrived.notify_all()
            if self.script:
                return self.script.popleft()
        if request.path.startswith("/services/"):
            return Answer(body="ok")
        answer = {"ok": True, "channel": request.body.get("channel", ""), "ts": f"1700000000.{number:06d}"}
        return Answer(body=json.dumps(answer), headers={"Content-Type": "application/json; charset=utf-8"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(
                    slack.take(Posted(method="POST", path=self.path, headers=dict(self.headers), body=_decoded(raw), raw=raw))
                )

            def do_GET(self) -> None:
                self._answer(slack.take(Posted(method="GET", path=self.path, headers=dict(self.headers), body={})))

            def _answer(self, answer: Answer) -> None:
                time.sleep(answer.delay)
                if answer.drop:
                    self.close_connection = True
                    return
                content = (answer.body or "").encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the base class
                """Nothing: ``posted`` is the log."""

        return Handler


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up on a slow answer is what some tests are about."""


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        content = json.loads(raw)
        return content if isinstance(content, dict) else {"": content}
    except ValueError:
        return {name: values[0] for name, values in parse_qs(raw.decode()).items()}


# ---------------------------------------------------------------------------------------------- mail


class FakeMail:
    """A real SMTP server. With ``authority`` it wants STARTTLS and a password, or speaks TLS at once."""

    USERNAME = "watch"
    PASSWORD = "the-password-of-the-mail-server"

    def __init__(self, *, authority: trustme.CA | None = None, tls_at_once: bool = False) -> None:
        self.received: list[EmailMessage] = []
        self.replies: deque[str] = deque()
        self.refused: set[str] = set()
        self.arrived = threading.Condition()
        context = None if authority is None else _server_context(authority)
        options: dict[str, Any] = {"hostname": LOOPBACK, "port": 0, "ready_timeout": 60}
        if context is not None and tls_at_once:
            options |= {"ssl_context": context}
        elif context is not None:
            options |= {"tls_context": context, "require_starttls": True}
        if authority is not None and not tls_at_once:  # aiosmtpd takes a connection that began with TLS for an open one
            options |= {"authenticator": self._authenticate, "auth_required": True}
        self._controller = _Controller(self, **options)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        return int(self._controller.port)

    def wait_for(self, number: int, seconds: float = 60.0) -> list[EmailMessage]:
        """The mails, once there are ``number`` of them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= number, seconds), f"only {len(self.received)} mails came"
            return list(self.received)

    async def handle_RCPT(  # noqa: N802  the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.replies:
            return self.replies.popleft()
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        with self.arrived:
            self.received.append(mail)
            self.arrived.notify_all()
        return "250 taken"

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        right = LoginPassword(self.USERNAME.encode(), self.PASSWORD.encode())
        return AuthResult(success=data == right, handled=False)


class _Controller(Controller):
    """A controller that finds its port itself: port 0 stands for any free one."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(LOOPBACK).configure_cert(context)
    return context
