"""A message as text and as HTML. No I/O but for the template of the mail.

``alerts.channels.slack`` renders the same message as blocks. Values in a message may come from whoever sends requests
(feature names, versions), so each rendering escapes all of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from alerts.messages import Kind, Message

TEMPLATES = Path(__file__).parent / "templates"
MARKS = {
    Kind.FIRING: "FIRING",
    Kind.UPDATE: "UPDATE",
    Kind.REPEAT: "STILL FIRING",
    Kind.ESCALATION: "ESCALATED",
    Kind.ACKNOWLEDGED: "ACKNOWLEDGED",
    Kind.RESOLVED: "RESOLVED",
    Kind.DIGEST: "DIGEST",
    Kind.ACTION: "ACTION",
    Kind.TEST: "TEST",
    Kind.UNDELIVERED: "NOT DELIVERED",
}


def headline(message: Message) -> str:
    """The one line that says it: what a phone shows, and the subject of a mail."""
    mark = message.severity.upper() if message.severity and message.kind is Kind.FIRING else MARKS[message.kind]
    return one_line(f"[{mark}] {message.title}")


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which a header or a title cannot hold."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def plain_text(message: Message) -> str:
    """The message for mail readers without HTML and for any other plain channel."""
    width = max((len(name) for name, _ in message.facts), default=0)
    facts = "\n".join(f"{name + ':':<{width + 1}} {one_line(value)}" for name, value in message.facts)
    links = [f"{name}: {url}" for name, url in (("Dashboard", message.dashboard_url), ("Runbook", message.runbook_url)) if url]
    parts = [headline(message), message.summary, message.description, facts, "\n".join(links), message.note]
    return "\n\n".join(part for part in parts if part) + "\n"


def html_text(message: Message) -> str:
    """The message as a HTML mail: one column, inline styles, readable without images."""
    return _html_template().render(message=message, headline=headline(message), colour=_colour(message))


def _colour(message: Message) -> str:
    if message.kind is Kind.RESOLVED:
        return "#1a7f37"
    if message.kind is Kind.TEST:
        return "#57606a"
    return "#b42318" if message.severity in ("critical", "page", "error") else "#b54708"


@cache
def _html_template() -> Template:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined).get_template("mail.html")
