"""Actions outside of modelwatch: a web request, a command. They may happen without being marked as done, but never twice."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from alerts.channels.channel import NotDelivered
from alerts.channels.post import Poster
from alerts.channels.secrets import NoSecret, read_secret
from alerts.channels.webhook import signature
from alerts.receivers import Action

LONGEST_OUTPUT = 500
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
"""The environment of a command: nothing in it is a secret of this service."""


class ActionFailed(Exception):
    """Something was tried and did not work; the text says how it ended."""


def call(action: Action, content: Mapping[str, Any], poster: Poster, *, name: str, at: int) -> str:
    """Posts what happened to the action's address. Raises ActionFailed."""
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"Content-Type": "application/json", "webhook-id": name}
    try:
        if action.secret:
            headers |= signature(read_secret(action.secret).value, name, at, body)
        answer = poster.post("the webhook of the action", action.url, body, headers)
    except (NotDelivered, NoSecret) as error:
        raise ActionFailed(str(error)) from None
    return f"the webhook answered {answer.status}"


def run(command: Sequence[str], content: Mapping[str, Any], *, timeout: timedelta) -> str:
    """Runs a command without a shell, what happened as JSON on its standard input. Raises ActionFailed."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        ended = subprocess.run(  # noqa: S603  the operator's own command, a list, no shell; what happened goes to its input only
            list(command),
            input=json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"),
            capture_output=True,
            timeout=timeout.total_seconds(),
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ActionFailed(f"{command[0]} did not end within {timeout.total_seconds():g} s and was stopped") from None
    except OSError as error:
        raise ActionFailed(f"{command[0]} cannot be run ({error.strerror})") from None
    said = (ended.stdout or ended.stderr).decode("utf-8", "replace").strip()[-LONGEST_OUTPUT:]
    if ended.returncode:
        raise ActionFailed(f"{command[0]} ended with {ended.returncode}: {said}")
    return f"{command[0]} ended well" + (f": {said}" if said else "")
