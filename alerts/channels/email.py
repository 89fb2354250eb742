"""Mail by SMTP, over TLS with a verified certificate, as text and HTML."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Literal

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.messages import Message
from alerts.pictures import course_png
from alerts.renderings import headline, html_text, one_line, plain_text

TIMEOUT_SECONDS = 15
LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where and how mail is handed over. ``ca_file`` is a certificate authority to trust beside the system's ("" none)."""

    host: str
    port: int
    sender: str
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port}, {self.tls})"


class Email:
    """Sends one mail to all addresses of a receiver."""

    name = "email"

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Sends the mail; it names its predecessor by the key in ``message.answers``, so ``answers`` is not used."""
        if not address.email_to:
            raise NotDelivered(Fault.NOT_CONFIGURED, "no mail address is named; set MODELWATCH_SMTP_TO or the receiver's email.to")
        mail = compose(message, sender=self._server.sender, to=address.email_to)
        try:
            refused = self._hand_over(mail)
        except (OSError, smtplib.SMTPException, UnicodeError, ValueError) as error:
            raise _not_delivered(error, self._server) from error
        remark = f"the mail server took it but not for {', '.join(sorted(refused))}" if refused else ""
        return Delivered(message_id=str(mail["Message-ID"]), remark=remark)

    def _hand_over(self, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """Gives the mail to the server; returns the addresses that it refused while it took others."""
        session = self._connect()
        try:
            if self._server.tls == "starttls":
                session.starttls(context=_context(self._server))  # without a context nothing would be verified
            if self._server.username:
                session.login(self._server.username, self._server.password)
            return session.send_message(mail)
        finally:
            _hang_up(session)

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.tls == "tls":
            return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_SECONDS, context=_context(server))
        return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)


def _hang_up(session: smtplib.SMTP) -> None:
    """Ends the session. The mail is taken or refused by now, so that a server that is lost in farewell changes nothing."""
    with suppress(OSError, smtplib.SMTPException):
        session.quit()
    session.close()


def compose(message: Message, *, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """The mail: text with an HTML alternative. The same message gives the same Message-ID, so that a copy is seen as one."""
    domain = _domain(sender)
    mail = EmailMessage()
    subject = one_line(headline(message))
    mail["Subject"] = subject if len(subject) <= LONGEST_SUBJECT else subject[: LONGEST_SUBJECT - 1] + "…"
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = message_id(_named(message, message.key), domain)
    if message.answers:
        mail["In-Reply-To"] = mail["References"] = message_id(_named(message, message.answers), domain)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if message.severity in ("critical", "page"):
        mail["Importance"] = "high"
    mail.set_content(_sendable(plain_text(message)), cte="quoted-printable")
    picture = course_png(message.card) if message.card else None
    place = message_id(f"{message.key}:chart", domain)
    html = html_text(message, picture=f"cid:{place.strip('<>')}" if picture else "")
    mail.add_alternative(_sendable(html), subtype="html", cte="quoted-printable")
    if picture:
        page = mail.get_payload()[-1]  # type: ignore[index]
        page.add_related(picture, "image", "png", cid=place, disposition="inline", filename="chart.png")  # type: ignore[union-attr]
    return mail


def _named(message: Message, key: str) -> str:
    """A name that no other installation gives: the keys of incidents are numbers, and every database begins with 1."""
    return f"{message.incident_key} {key}" if message.incident_key else key


def message_id(key: str, domain: str) -> str:
    """The Message-ID of the message with this key."""
    return f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"


def _sendable(text: str) -> str:
    """The text without what UTF-8 cannot hold (lone surrogates)."""
    return text.encode("utf-8", "replace").decode()


def _domain(sender: str) -> str:
    """The domain of the sender's address."""
    _, address = parseaddr(sender)
    return MailAddress(addr_spec=address).domain


def _context(server: MailServer) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if server.ca_file:
        context.load_verify_locations(cafile=server.ca_file)
    return context


def _not_delivered(error: Exception, server: MailServer) -> NotDelivered:
    """What an error of smtplib means. 5xx answers are final, 4xx ask to come back later (RFC 5321, 4.2.1)."""
    where = f"the mail server {server.host}:{server.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotDelivered(
            Fault.CERTIFICATE, f"the certificate of {where} is not trusted ({error.verify_message}); see MODELWATCH_SMTP_CA_FILE"
        )
    if isinstance(error, smtplib.SMTPAuthenticationError):
        said = f"{where} does not accept MODELWATCH_SMTP_USERNAME and _PASSWORD ({error.smtp_code})"
        return NotDelivered(Fault.AUTHENTICATION if error.smtp_code >= 500 else Fault.SERVER_ERROR, said)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return NotDelivered(
            Fault.REJECTED, f"{where} does not offer what is asked of it ({_words(error)}); see MODELWATCH_SMTP_TLS"
        )
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return _by_code(max(codes) if min(codes) >= 500 else min(codes), f"{where} refused every address ({_first_reply(error)})")
    if isinstance(error, smtplib.SMTPResponseException):
        return _by_code(error.smtp_code, f"{where} answered {error.smtp_code} {_reply(error.smtp_error)}")
    if isinstance(error, UnicodeError | ValueError):
        return NotDelivered(Fault.REJECTED, f"the mail cannot be written ({_words(error)})")
    detail = error.strerror if isinstance(error, OSError) and error.strerror else _words(error)
    return NotDelivered(Fault.UNREACHABLE, f"{where} cannot be reached ({detail})")


def _by_code(code: int, said: str) -> NotDelivered:
    return NotDelivered(Fault.REJECTED if code >= 500 else Fault.SERVER_ERROR, said)


def _first_reply(error: smtplib.SMTPRecipientsRefused) -> str:
    code, reply = next(iter(error.recipients.values()))
    return f"{code} {_reply(reply)}"


def _reply(reply: bytes | str) -> str:
    return one_line(reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply)[:200]


def _words(error: Exception) -> str:
    return one_line(str(error))[:200] or type(error).__name__
