"""Listens to Slack's buttons through a socket that this side opens (Socket Mode), so that nothing has to reach this service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from slack_sdk.errors import SlackClientError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from sqlalchemy import Engine

from alerts.channels.slack_actions import carry_out, read_payload
from alerts.channels.slack_client import TIMEOUT_SECONDS, QuietWeb, sdk_log
from storage.engine import DatabaseUnavailable

_log = logging.getLogger(__name__)


class SlackSocket:
    """A connection that lives until it is closed; slack-sdk opens it again when it breaks. ``app_token`` is a secret."""

    def __init__(self, app_token: str, *, api_url: str, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        web = QuietWeb(base_url=api_url, timeout=TIMEOUT_SECONDS, logger=sdk_log, retry_handlers=[])
        self._client = SocketModeClient(app_token, logger=sdk_log, web_client=web, concurrency=2)
        self._client.socket_mode_request_listeners.append(self._heard)

    def open(self) -> str:
        """Connects; what went wrong in a sentence, or "". Safe to call again later."""
        try:
            self._client.connect()
        except (OSError, SlackClientError, ValueError, LookupError) as error:
            return f"Slack's buttons cannot be listened to ({type(error).__name__}); see MODELWATCH_SLACK_APP_TOKEN"
        return ""

    @property
    def is_open(self) -> bool:
        return bool(self._client.is_connected())

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()

    def _heard(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))  # Slack waits for three seconds
        press = read_payload(request.payload) if request.type == "interactive" else None
        if press is None:
            return
        try:
            carry_out(self._engine, press, self._clock())
        except DatabaseUnavailable:
            _log.warning("A button of %s could not be carried out because the database is away.", press.user)
