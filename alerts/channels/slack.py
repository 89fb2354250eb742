"""Slack, through an incoming webhook or through a bot token.

A bot has one message per incident, which it keeps up to date and whose thread tells the story; a webhook can only post.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from slack_sdk.errors import SlackApiError, SlackClientError

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.channels.slack_blocks import blocks, fallback_text
from alerts.channels.slack_client import (
    API_URL,
    TIMEOUT_SECONDS,
    QuietWeb,
    QuietWebhook,
    api_error,
    quoted,
    refused,
    sdk_log,
    unreachable,
)
from alerts.messages import Kind, Message

IN_THE_CHANNEL = frozenset({Kind.REPEAT, Kind.ESCALATION})
"""Replies that are shown in the channel as well: a thread alone is read by those who wrote in it."""


class SlackWebhook:
    """Posts to the one channel that an incoming webhook belongs to. ``url`` is a secret."""

    name = "slack"

    def __init__(self, url: str, *, timeout_seconds: int = TIMEOUT_SECONDS) -> None:
        self._client = QuietWebhook(url, timeout=timeout_seconds, logger=sdk_log, retry_handlers=[])

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Posts the message. A webhook cannot reply to another message, so ``answers`` is not used."""
        try:
            answer = self._client.send(text=fallback_text(message), blocks=blocks(message), unfurl_links=False, unfurl_media=False)
        except (OSError, SlackClientError, HTTPException, ValueError, LookupError) as error:
            raise unreachable(error) from None  # the chain would carry the address
        if answer.status_code != 200:
            raise refused(answer.status_code, answer.body, answer.headers)
        if answer.body.strip() != "ok":
            raise NotDelivered(Fault.REJECTED, f"Slack answered 200 but not ok: {quoted(answer.body)}")
        return Delivered()


class SlackBot:
    """Posts to any channel that the bot is in; what follows a first message changes it, and is a reply in its thread.

    ``buttons``: whether messages have buttons, which only work where something listens to them.
    """

    name = "slack"

    def __init__(self, token: str, *, api_url: str = API_URL, default_channel: str = "", buttons: bool = False) -> None:
        self._client = QuietWeb(token, base_url=api_url, timeout=TIMEOUT_SECONDS, logger=sdk_log, retry_handlers=[])
        self._default_channel = default_channel
        self._buttons = buttons

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Posts the message, in the thread of ``answers`` where there is one. The message id is ``channel ts``."""
        channel, _, thread = (answers or "").partition(" ")
        channel = channel or address.slack_channel or self._default_channel
        if not channel:
            raise NotDelivered(
                Fault.NOT_CONFIGURED, "no Slack channel is named; set MODELWATCH_SLACK_CHANNEL or the receiver's slack.channel"
            )
        posted = self._call(
            "chat.postMessage",
            {
                "channel": channel,
                **self._content(message, buttons=not thread),
                "unfurl_links": False,
                "unfurl_media": False,
                **({"thread_ts": thread, "reply_broadcast": message.kind in IN_THE_CHANNEL} if thread else {}),
            },
        )
        remark = self._keep_up_to_date(channel, thread, message) if thread else ""
        return Delivered(message_id=f"{posted.get('channel') or channel} {posted.get('ts', '')}".strip(), remark=remark)

    def _content(self, message: Message, *, buttons: bool) -> dict[str, Any]:
        return {"text": fallback_text(message), "blocks": blocks(message, buttons=buttons and self._buttons)}

    def _keep_up_to_date(self, channel: str, ts: str, message: Message) -> str:
        """Puts the newest state into the first message, too. What was told stands, so a failure here is only a remark."""
        try:
            self._call("chat.update", {"channel": channel, "ts": ts, **self._content(message, buttons=True)})
        except NotDelivered as error:
            return f"the first message could not be brought up to date ({error})"
        return ""

    def _call(self, method: str, body: dict[str, Any]) -> Mapping[str, Any]:
        try:
            answer = self._client.api_call(method, json=body)
        except SlackApiError as error:
            raise api_error(error) from None
        except (OSError, SlackClientError, HTTPException, ValueError, LookupError) as error:
            raise unreachable(error) from None
        return answer.data if isinstance(answer.data, Mapping) else {}
