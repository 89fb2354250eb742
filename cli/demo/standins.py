"""Where the demo's messages go: a real SMTP server and an HTTP server that answers as Slack does.

Both write what they received into a JSON-lines file, which the dashboard shows.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

ADDRESS = "127.0.0.1"
SLACK_CHANNEL = "#ml-oncall"
MAILBOX = "oncall@example.com"


class Inbox:
    """Appends messages to a file, one JSON object per line; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts = {"slack": 0, "email": 0}
        self._titles: dict[str, list[str]] = {"slack": [], "email": []}
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, channel: str, receiver: str, title: str, text: str, **more: object) -> None:
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        message = {"at": at, "channel": channel, "receiver": receiver, "title": title, "text": text, **more}
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(message, ensure_ascii=False) + "\n")
            self.counts[channel] += 1
            self._titles[channel].append(f"{title} {text}")

    def heard_of(self, word: str) -> bool:
        """Whether both channels have received a message that mentions the word."""
        with self._lock:
            return all(any(word in title for title in titles) for titles in self._titles.values())


class StandIns:
    """Both servers, on free ports of this machine, while the ``with`` block lasts."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self._slack = ThreadingHTTPServer((ADDRESS, 0), _handler(inbox))
        self._slack.daemon_threads = True
        self._mail = Controller(MailHandler(inbox), hostname=ADDRESS, port=free_port())

    def __enter__(self) -> StandIns:
        threading.Thread(target=self._slack.serve_forever, name="slack-stand-in", daemon=True).start()
        self._mail.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._mail.stop()
        self._slack.shutdown()
        self._slack.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which the alerts service tells these servers, and nobody else."""
        slack = f"http://{ADDRESS}:{self._slack.server_address[1]}"
        return {
            "MODELWATCH_SLACK_BOT_TOKEN": "xoxb-demo",
            "MODELWATCH_SLACK_CHANNEL": SLACK_CHANNEL,
            "MODELWATCH_SLACK_API_URL": f"{slack}/api/",
            "MODELWATCH_SMTP_HOST": ADDRESS,
            "MODELWATCH_SMTP_PORT": str(self._mail.port),
            "MODELWATCH_SMTP_TLS": "none",
            "MODELWATCH_SMTP_FROM": "modelwatch@example.com",
            "MODELWATCH_SMTP_TO": MAILBOX,
        }


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


# ---------------------------------------------------------------------------------------------- slack


def _handler(inbox: Inbox) -> type[BaseHTTPRequestHandler]:
    class SlackHandler(BaseHTTPRequestHandler):
        """Web hooks answer ``ok``, the web API answers JSON; of its calls, new messages are kept and changes only answered."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            message = slack_message(body, self.headers.get("Content-Type", ""))
            receiver = str(message.get("channel") or SLACK_CHANNEL)
            is_hook = self.path.startswith("/services/")
            if is_hook or self.path.endswith("/chat.postMessage"):
                blocks = message.get("blocks") or _attached_blocks(message)
                title, text = slack_texts(message, blocks)
                inbox.add("slack", receiver, title, text, blocks=blocks)
            stamp = message.get("ts") or f"{datetime.now(UTC).timestamp():.6f}"
            answer = b"ok" if is_hook else json.dumps({"ok": True, "channel": receiver, "ts": stamp}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if is_hook else "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Nothing: the inbox is the log."""

    return SlackHandler


def slack_message(body: bytes, content_type: str) -> dict[str, Any]:
    """The message in a request: JSON, or a form whose nested fields are JSON."""
    if "form-urlencoded" in content_type:
        form: dict[str, Any] = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        for name in ("blocks", "attachments"):
            if isinstance(form.get(name), str):
                form[name] = json.loads(form[name])
        return cast("dict[str, Any]", json.loads(form["payload"])) if "payload" in form else form
    return cast("dict[str, Any]", json.loads(body or b"{}"))


def _attached_blocks(message: Mapping[str, Any]) -> list[Any]:
    return [block for attachment in message.get("attachments") or [] for block in attachment.get("blocks") or []]


def slack_texts(message: Mapping[str, Any], blocks: list[Any]) -> tuple[str, str]:
    """Title and text: the header block and the fallback text, or the first line of what there is."""
    text = str(message.get("text") or "")
    header = next((block["text"]["text"] for block in blocks if block.get("type") == "header"), "")
    return str(header or text.split("\n", 1)[0]), text


# ---------------------------------------------------------------------------------------------- mail


class MailHandler:
    """Takes every message for every address."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd calls it
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content or "").encode()
        message = message_from_bytes(content, policy=policy.default)
        receiver = ", ".join(map(str, envelope.rcpt_tos))
        self._inbox.add("email", receiver, str(message["Subject"] or ""), _part(message, "plain"), html=_part(message, "html"))
        return "250 OK"


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""
