"""One HTTP POST, once: no redirects, no retries, no private addresses unless allowed, and no secret in an error."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult

from alerts.channels.channel import Fault, NotDelivered
from alerts.channels.hosts import HostPolicy, NotAllowed, connector
from alerts.renderings import one_line

TIMEOUT_SECONDS = 10
LONGEST_ANSWER = 64 * 1024
LONGEST_QUOTE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the other side said."""

    status: int
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poster:
    """Posts to hosts that the policy allows. ``ca_file``: a certificate authority to trust beside the system's ("" none)."""

    policy: HostPolicy
    timeout: float = TIMEOUT_SECONDS
    ca_file: str = ""

    def post(self, who: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Posts, and returns an answer that says the message was taken. ``who`` names the other side in errors.

        Raises NotDelivered for any other answer, or none.
        """
        try:
            parts = self.policy.check(url)
            answer = self._ask(parts, body, headers)
        except NotAllowed as error:
            raise NotDelivered(Fault.REJECTED, f"{who} is not called: {error}") from None
        except (OSError, HTTPException, ValueError) as error:
            raise _unreachable(who, error) from None  # the chain could carry the address
        if not 200 <= answer.status < 300:
            raise _refused(who, answer)
        return answer

    def _ask(self, parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._connection(parts)
        connection._create_connection = connector(self.policy, parts)  # type: ignore[attr-defined]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", target, body, {"User-Agent": "modelwatch", **headers})
            answer = connection.getresponse()
            text = answer.read(LONGEST_ANSWER).decode("utf-8", "replace")
            return Answer(status=answer.status, body=text, headers={name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def _connection(self, parts: SplitResult) -> HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme == "http":
            return HTTPConnection(host, parts.port, timeout=self.timeout)
        context = ssl.create_default_context()
        if self.ca_file:
            context.load_verify_locations(cafile=self.ca_file)
        return HTTPSConnection(host, parts.port, timeout=self.timeout, context=context)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> timedelta | None:
    """What ``Retry-After`` asks for, in seconds or as a date (RFC 9110, 10.2.3); None where it says nothing readable."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 7:
        return timedelta(seconds=int(value))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(at - (now or datetime.now(UTC)), timedelta(0))


def _refused(who: str, answer: Answer) -> NotDelivered:
    status = answer.status
    quoted = one_line(answer.body)[:LONGEST_QUOTE]
    said = f"{who} answered {status}" + (f" ({quoted})" if quoted else "")
    if status == 429:
        return NotDelivered(Fault.RATE_LIMITED, said, retry_after=retry_after(answer.headers))
    if status >= 500 or status == 408:
        return NotDelivered(Fault.SERVER_ERROR, said)
    if 300 <= status < 400:
        return NotDelivered(Fault.REDIRECTED, f"{said}: it points to another address, which is not followed; correct the address")
    if status in (401, 403, 404, 410):
        return NotDelivered(Fault.AUTHENTICATION, f"{said}: the address or its secret is not valid")
    return NotDelivered(Fault.REJECTED, said)


def _unreachable(who: str, error: Exception) -> NotDelivered:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotDelivered(Fault.CERTIFICATE, f"the certificate of {who} is not trusted ({error.verify_message})")
    if isinstance(error, TimeoutError):
        return NotDelivered(Fault.UNREACHABLE, f"{who} did not answer in time")
    detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return NotDelivered(Fault.UNREACHABLE, f"{who} cannot be reached ({detail})")
