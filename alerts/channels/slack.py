"""Slack, through an incoming webhook or through a bot token.

A bot can reply in the thread of the first message and mark it as resolved; a webhook can only post. slack-sdk builds and
parses the requests; three habits of it are taken away: it follows redirects (as GET, and calls the result a success), it
sleeps on a rate limit, and it logs the webhook's address, which is a secret.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from datetime import timedelta
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import WebClient
from slack_sdk.webhook import WebhookClient, WebhookResponse

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.messages import Kind, Message
from alerts.renderings import headline, one_line
from storage.settings import is_loopback

API_URL = "https://slack.com/api/"
TIMEOUT_SECONDS = 10
LONGEST_ANSWER = 64 * 1024
LONGEST_HEADER = 150
LONGEST_TEXT = 3000
LONGEST_FIELD = 2000
MOST_FIELDS = 10
MARKS = {
    Kind.FIRING: ":red_circle:",
    Kind.UPDATE: ":red_circle:",
    Kind.REPEAT: ":repeat:",
    Kind.ESCALATION: ":rotating_light:",
    Kind.ACKNOWLEDGED: ":eyes:",
    Kind.RESOLVED: ":large_green_circle:",
    Kind.DIGEST: ":newspaper:",
    Kind.ACTION: ":gear:",
    Kind.TEST: ":wave:",
    Kind.UNDELIVERED: ":warning:",
}

_sdk_log = logging.getLogger(f"{__name__}.sdk")
_sdk_log.setLevel(logging.CRITICAL + 1)  # slack-sdk looks at this very logger's level, and logs the address below it

_TRANSIENT = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})
_LIMITED = frozenset({"ratelimited", "rate_limited"})
_AUTHENTICATION = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "missing_scope",
        "invalid_token",
        "no_service",
    }
)


class SlackWebhook:
    """Posts to the one channel that an incoming webhook belongs to. ``url`` is a secret."""

    name = "slack"

    def __init__(self, url: str, *, timeout_seconds: int = TIMEOUT_SECONDS) -> None:
        self._client = _Webhook(url, timeout=timeout_seconds, logger=_sdk_log, retry_handlers=[])

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Posts the message. A webhook cannot reply to another message, so ``answers`` is not used."""
        try:
            answer = self._client.send(text=fallback_text(message), blocks=blocks(message), unfurl_links=False, unfurl_media=False)
        except (OSError, SlackClientError, HTTPException, ValueError, LookupError) as error:
            raise _unreachable(error) from None  # the chain would carry the address
        if answer.status_code != 200:
            raise _refused(answer.status_code, answer.body, answer.headers)
        if answer.body.strip() != "ok":
            raise NotDelivered(Fault.REJECTED, f"Slack answered 200 but not ok: {_quoted(answer.body)}")
        return Delivered()


class SlackBot:
    """Posts to any channel that the bot is in, replies in threads, and marks the first message when it is over."""

    name = "slack"

    def __init__(self, token: str, *, api_url: str = API_URL, default_channel: str = "") -> None:
        self._client = _Web(token, base_url=api_url, timeout=TIMEOUT_SECONDS, logger=_sdk_log, retry_handlers=[])
        self._default_channel = default_channel

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Posts the message, in the thread of ``answers`` where there is one. The message id is ``channel ts``."""
        channel, _, thread = (answers or "").partition(" ")
        channel = channel or address.slack_channel or self._default_channel
        if not channel:
            raise NotDelivered(
                Fault.NOT_CONFIGURED, "no Slack channel is named; set MODELWATCH_SLACK_CHANNEL or the receiver's slack.channel"
            )
        content: dict[str, Any] = {"text": fallback_text(message), "blocks": blocks(message)}
        posted = self._call(
            "chat.postMessage",
            {
                "channel": channel,
                **content,
                "unfurl_links": False,
                "unfurl_media": False,
                **({"thread_ts": thread} if thread else {}),
            },
        )
        remark = self._mark_resolved(channel, thread, message) if thread and message.kind is Kind.RESOLVED else ""
        return Delivered(message_id=f"{posted.get('channel') or channel} {posted.get('ts', '')}".strip(), remark=remark)

    def _mark_resolved(self, channel: str, ts: str, message: Message) -> str:
        """Puts the resolution into the first message, too. What was told stands, so a failure here is only a remark."""
        try:
            self._call("chat.update", {"channel": channel, "ts": ts, "text": fallback_text(message), "blocks": blocks(message)})
        except NotDelivered as error:
            return f"the first message could not be marked as resolved ({error})"
        return ""

    def _call(self, method: str, body: dict[str, Any]) -> Mapping[str, Any]:
        try:
            answer = self._client.api_call(method, json=body)
        except SlackApiError as error:
            raise _api_error(error) from None
        except (OSError, SlackClientError, HTTPException, ValueError, LookupError) as error:
            raise _unreachable(error) from None
        return answer.data if isinstance(answer.data, Mapping) else {}


def address_problem(url: str) -> str:
    """Why an address must not be used ("" for a good one): everything but https, except to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return "is not an address"
    if parts.scheme == "https" and host:
        return ""
    if parts.scheme == "http" and host and is_loopback(host):
        return ""
    return "must begin with https:// (http:// is accepted for this machine only)"


# ---------------------------------------------------------------------------------------------- the message as blocks


def blocks(message: Message) -> list[dict[str, Any]]:
    """The message as Slack blocks, within Slack's limits (https://docs.slack.dev/reference/block-kit/blocks)."""

    found: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": shorten(_unbracketed(headline(message)), LONGEST_HEADER), "emoji": False},
        },
        _section(f"{MARKS[message.kind]} {escaped(message.summary, LONGEST_TEXT - 50)}"),
    ]
    if message.description:
        found.append(_section(escaped(message.description, LONGEST_TEXT)))
    if message.facts:
        fields = [
            _markdown(f"*{escaped(name, 100)}*\n{escaped(value, LONGEST_FIELD - 110)}") for name, value in _shown(message.facts)
        ]
        found.append({"type": "section", "fields": fields})
    if links := _links(message):
        found.append(_section(links))
    if message.note:
        found.append({"type": "context", "elements": [_markdown(escaped(message.note, LONGEST_TEXT))]})
    return found


def fallback_text(message: Message) -> str:
    """What a notification on a phone shows, and readers without blocks."""
    return escaped(f"{headline(message)}\n{message.summary}", LONGEST_TEXT)


def escaped(text: str, limit: int) -> str:
    """The text with Slack's three control characters escaped (``<!channel>`` would call everybody), at most ``limit`` long.

    >>> escaped("<!channel> & more", 100)
    '&lt;!channel&gt; &amp; more'
    """
    parts: list[str] = []
    length = 0
    for character in text:
        part = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(character, character)
        if length + len(part) > limit - 1:
            return "".join(parts) + "…"
        parts.append(part)
        length += len(part)
    return "".join(parts)


def _unbracketed(text: str) -> str:
    """For plain text, where Slack documents no escapes: look-alikes of the two characters that could call somebody."""
    return text.replace("<", "‹").replace(">", "›")


def shorten(text: str, limit: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``limit``."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shown(facts: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """As many facts as Slack takes; what does not fit shares the last place."""
    shown = [(name, one_line(value) or "–") for name, value in facts]
    if len(shown) <= MOST_FIELDS:
        return shown
    rest = ", ".join(f"{name}: {value}" for name, value in shown[MOST_FIELDS - 1 :])
    return [*shown[: MOST_FIELDS - 1], ("More", rest)]


def _links(message: Message) -> str:
    named = (("Open the dashboard", message.dashboard_url), ("Runbook", message.runbook_url))
    links = [f"<{_link_target(url)}|{name}>" for name, url in named if url and len(url) < 1400]
    return " · ".join(links)


def _link_target(url: str) -> str:
    return url.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _markdown(text)}


def _markdown(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


# ---------------------------------------------------------------------------------------------- answers


def _refused(status: int, body: str, headers: Mapping[str, str]) -> NotDelivered:
    """What an HTTP status means: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/."""
    said = f"Slack answered {status}" + (f" ({_quoted(body)})" if body.strip() else "")
    if status == 429:
        return NotDelivered(Fault.RATE_LIMITED, said, retry_after=_retry_after(headers))
    if status >= 500 or status == 408:
        return NotDelivered(Fault.SERVER_ERROR, said)
    if 300 <= status < 400:
        return NotDelivered(Fault.REDIRECTED, f"{said}: it points to another address, which is not followed; correct the address")
    if status in (401, 403, 404, 410) or body.strip() in _AUTHENTICATION:
        return NotDelivered(Fault.AUTHENTICATION, f"{said}: the webhook or token is no longer valid")
    return NotDelivered(Fault.REJECTED, said)


def _api_error(error: SlackApiError) -> NotDelivered:
    answer = error.response
    data = answer.data if isinstance(answer.data, Mapping) else {}
    code = str(data.get("error", ""))
    if answer.status_code != 200:
        return _refused(answer.status_code, code, answer.headers)
    said = f"Slack answered {code or 'not ok'}"
    if code in _LIMITED:
        return NotDelivered(Fault.RATE_LIMITED, said, retry_after=_retry_after(answer.headers))
    if code in _TRANSIENT:
        return NotDelivered(Fault.SERVER_ERROR, said)
    return NotDelivered(Fault.AUTHENTICATION if code in _AUTHENTICATION else Fault.REJECTED, said)


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return timedelta(seconds=int(value)) if value.isascii() and value.isdigit() and len(value) < 7 else None


def _unreachable(error: Exception) -> NotDelivered:
    """A request without an answer, or with one that is not HTTP. Only the kind of the error is told: its text may hold the address."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotDelivered(Fault.CERTIFICATE, f"Slack's certificate is not trusted ({cause.verify_message})")
    if isinstance(cause, TimeoutError):
        return NotDelivered(Fault.UNREACHABLE, "Slack did not answer in time")
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__
    return NotDelivered(Fault.UNREACHABLE, f"Slack cannot be reached ({detail})")


def _quoted(body: str) -> str:
    return shorten(one_line(body), 100)


# ---------------------------------------------------------------------------------------------- slack-sdk, tamed


class _NoRedirects(HTTPRedirectHandler):
    """Makes a redirect the answer instead of following it."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _opener(url: str) -> OpenerDirector:
    handlers: list[Any] = [_NoRedirects, HTTPSHandler(context=ssl.create_default_context())]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(ProxyHandler({}))
    return build_opener(*handlers)


def _body(answer: HTTPResponse) -> str:
    return answer.read(LONGEST_ANSWER).decode("utf-8", "replace")


class _Webhook(WebhookClient):
    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with _opener(url).open(req, timeout=self.timeout) as answer:
            return WebhookResponse(url="", status_code=answer.status, body=_body(answer), headers=dict(answer.headers.items()))


class _Web(WebClient):
    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with _opener(url).open(req, timeout=self.timeout) as answer:
            return {"status": answer.status, "headers": dict(answer.headers.items()), "body": _body(answer)}
