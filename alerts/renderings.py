"""A message as text and as HTML. No I/O but for the template of the mail.

``alerts.channels.slack`` renders the same message as blocks. Values in a message may come from whoever sends requests
(feature names, versions), so each rendering escapes all of it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from alerts.cards import Mover
from alerts.messages import AlertLine, Kind, Message
from alerts.pictures import describe_course
from alerts.sparklines import sparkline

TEMPLATES = Path(__file__).parent / "templates"
MOST_LINES = 20
"""Alerts of an incident that a text shows; the rest is counted."""
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
    alerts = "\n".join(f"{line.state:<8} {one_line(line.title)}: {one_line(line.detail)}" for line in several(message))
    alerts += f"\n… and {left_out(message)} more" if left_out(message) else ""
    links = [f"{name}: {url}" for name, url in (("Dashboard", message.dashboard_url), ("Runbook", message.runbook_url)) if url]
    said = [headline(message), message.summary, message.description, alerts, card_text(message), facts]
    return "\n\n".join(part for part in (*said, "\n".join(links), message.note) if part) + "\n"


def several(message: Message) -> tuple[AlertLine, ...]:
    """The alerts that a text lists: none where there is only one, which the message itself is about."""
    return message.lines[:MOST_LINES] if len(message.lines) + message.more > 1 else ()


def left_out(message: Message) -> int:
    """How many alerts of the incident a text does not list."""
    return max(len(message.lines) - MOST_LINES, 0) + message.more


def card_text(message: Message) -> str:
    """The cause card in lines; "" where nothing is known."""
    card = message.card
    if card is None:
        return ""
    lines = [f"  {mover_text(mover)}" for mover in card.movers]
    lines += [f"Worst segment: {one_line(card.worst_segment)}"] if card.worst_segment else []
    lines += [f"  {change.at[:16].replace('T', ' ')} UTC  {one_line(change.what)}" for change in card.changes]
    return "\n".join(lines)


def mover_text(mover: Mover) -> str:
    """A feature that moved, in a line."""
    bound = "" if mover.threshold is None else f" (threshold {mover.threshold:.3g})"
    movement = f", {one_line(mover.movement)}" if mover.movement else ""
    course = f"  {sparkline(mover.course)}" if len(mover.course) > 1 else ""
    return f"{one_line(mover.name)}: {one_line(mover.metric)} {mover.value:.3g}{bound}{movement}{course}"


def html_text(message: Message, *, picture: str = "") -> str:
    """The message as a HTML mail: one column, inline styles, readable without images. ``picture`` is the address of the chart."""
    return _html_template().render(
        message=message,
        headline=headline(message),
        mark=MARKS[message.kind],
        colour=_colour(message),
        lines=several(message),
        left_out=left_out(message),
        mover_text=mover_text,
        picture=picture,
        described=describe_course(message.card) if message.card else "",
    )


def _colour(message: Message) -> str:
    if message.kind is Kind.RESOLVED:
        return "#1a7f37"
    if message.kind is Kind.TEST:
        return "#57606a"
    return "#b42318" if message.severity in ("critical", "page", "error") else "#b54708"


@cache
def _html_template() -> Template:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined).get_template("mail.html")
