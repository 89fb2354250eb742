"""slack-sdk without three of its habits: it follows redirects (as GET, and calls the result a success), it sleeps on a rate
limit, and it logs the webhook's address, which is a secret. And what Slack's answers mean.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from http.client import HTTPResponse
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from slack_sdk.errors import SlackApiError
from slack_sdk.web import WebClient
from slack_sdk.webhook import WebhookClient, WebhookResponse

from alerts.channels.channel import Fault, NotDelivered
from alerts.channels.slack_blocks import shorten
from alerts.renderings import one_line
from storage.settings import is_loopback

API_URL = "https://slack.com/api/"
TIMEOUT_SECONDS = 10
LONGEST_ANSWER = 64 * 1024

sdk_log = logging.getLogger(f"{__name__}.sdk")
sdk_log.setLevel(logging.CRITICAL + 1)  # slack-sdk looks at this very logger's level, and logs the address below it

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


# ---------------------------------------------------------------------------------------------- answers


def refused(status: int, body: str, headers: Mapping[str, str]) -> NotDelivered:
    """What an HTTP status means: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/."""
    said = f"Slack answered {status}" + (f" ({quoted(body)})" if body.strip() else "")
    if status == 429:
        return NotDelivered(Fault.RATE_LIMITED, said, retry_after=_retry_after(headers))
    if status >= 500 or status == 408:
        return NotDelivered(Fault.SERVER_ERROR, said)
    if 300 <= status < 400:
        return NotDelivered(Fault.REDIRECTED, f"{said}: it points to another address, which is not followed; correct the address")
    if status in (401, 403, 404, 410) or body.strip() in _AUTHENTICATION:
        return NotDelivered(Fault.AUTHENTICATION, f"{said}: the webhook or token is no longer valid")
    return NotDelivered(Fault.REJECTED, said)


def api_error(error: SlackApiError) -> NotDelivered:
    answer = error.response
    data = answer.data if isinstance(answer.data, Mapping) else {}
    code = str(data.get("error", ""))
    if answer.status_code != 200:
        return refused(answer.status_code, code, answer.headers)
    said = f"Slack answered {code or 'not ok'}"
    if code in _LIMITED:
        return NotDelivered(Fault.RATE_LIMITED, said, retry_after=_retry_after(answer.headers))
    if code in _TRANSIENT:
        return NotDelivered(Fault.SERVER_ERROR, said)
    return NotDelivered(Fault.AUTHENTICATION if code in _AUTHENTICATION else Fault.REJECTED, said)


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return timedelta(seconds=int(value)) if value.isascii() and value.isdigit() and len(value) < 7 else None


def unreachable(error: Exception) -> NotDelivered:
    """A request without an answer, or with one that is not HTTP. Only the kind of the error is told: its text may hold the address."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotDelivered(Fault.CERTIFICATE, f"Slack's certificate is not trusted ({cause.verify_message})")
    if isinstance(cause, TimeoutError):
        return NotDelivered(Fault.UNREACHABLE, "Slack did not answer in time")
    detail = cause.strerror if isinstance(cause, OSError) and cause.strerror else type(cause).__name__
    return NotDelivered(Fault.UNREACHABLE, f"Slack cannot be reached ({detail})")


def quoted(body: str) -> str:
    return shorten(one_line(body), 100)


# ---------------------------------------------------------------------------------------------- slack-sdk, tamed


class _NoRedirects(HTTPRedirectHandler):
    """Makes a redirect the answer instead of following it."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@cache
def _context() -> ssl.SSLContext:
    """To read the system's authorities takes longer than to send a message."""
    return ssl.create_default_context()


def _opener(url: str) -> OpenerDirector:
    handlers: list[Any] = [_NoRedirects, HTTPSHandler(context=_context())]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(ProxyHandler({}))
    return build_opener(*handlers)


def _body(answer: HTTPResponse) -> str:
    return answer.read(LONGEST_ANSWER).decode("utf-8", "replace")


class QuietWebhook(WebhookClient):
    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with _opener(url).open(req, timeout=self.timeout) as answer:
            return WebhookResponse(url="", status_code=answer.status, body=_body(answer), headers=dict(answer.headers.items()))


class QuietWeb(WebClient):
    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with _opener(url).open(req, timeout=self.timeout) as answer:
            return {"status": answer.status, "headers": dict(answer.headers.items()), "body": _body(answer)}
