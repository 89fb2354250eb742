"""A message as Slack blocks, within Slack's limits and with nothing in it that calls anybody. Pure."""

from __future__ import annotations

from typing import Any

from alerts.messages import AlertLine, Kind, Message
from alerts.renderings import MOST_LINES, headline, one_line
from alerts.sparklines import sparkline

LONGEST_HEADER = 150
LONGEST_TEXT = 3000
LONGEST_FIELD = 2000
MOST_FIELDS = 10
LONGEST_LINE = 280
MOST_MOVERS = 5
SILENCE_HOURS = (1, 24)
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

STATE_MARKS = {"new": ":new:", "firing": ":red_circle:", "resolved": ":white_check_mark:"}


def blocks(message: Message, *, buttons: bool = False) -> list[dict[str, Any]]:
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
    found += [*_alerts(message), *_card(message)]
    if links := _links(message):
        found.append(_section(links))
    if message.note:
        found.append({"type": "context", "elements": [_markdown(escaped(message.note, LONGEST_TEXT))]})
    if buttons and message.incident is not None and message.kind is not Kind.RESOLVED:
        found.append(_buttons(message.incident, acknowledged=message.kind is Kind.ACKNOWLEDGED))
    return found


def _alerts(message: Message) -> list[dict[str, Any]]:
    """The alerts of an incident that has several, one in a line, as many as one block takes."""
    if len(message.lines) < 2:
        return []
    shown, length = [], 0
    for line in message.lines[:MOST_LINES]:
        text = _line(line)
        if length + len(text) > LONGEST_TEXT - 100:
            break
        shown.append(text)
        length += len(text) + 1
    more = len(message.lines) - len(shown) + message.more
    return [_section("\n".join([*shown, *([f"… and {more} more"] if more else [])]))]


def _line(line: AlertLine) -> str:
    title = escaped(one_line(line.title), 120)
    linked = f"<{_link_target(line.url)}|{title.replace('|', '¦')}>" if line.url and len(line.url) < 300 else title
    return f"{STATE_MARKS.get(line.state, '•')} {linked}: {escaped(one_line(line.detail), LONGEST_LINE - 130)}"


def _card(message: Message) -> list[dict[str, Any]]:
    """Why: what moved, the worst segment, what changed about then."""
    card = message.card
    if card is None:
        return []
    lines = []
    for mover in card.movers[:MOST_MOVERS]:
        course = f" `{sparkline(mover.course)}`" if len(mover.course) > 1 else ""
        bound = f" (threshold {mover.threshold:.3g})" if mover.threshold is not None else ""
        moved = f", {escaped(mover.movement, 150)}" if mover.movement else ""
        lines.append(f"• {escaped(one_line(mover.name), 80)}: {mover.value:.3g}{bound}{moved}{course}")
    if card.worst_segment:
        lines.append(f"Worst segment: {escaped(card.worst_segment, 200)}")
    lines += [
        f"{'*' if change.likely else ''}{escaped(change.at[:16].replace('T', ' '), 20)} {escaped(change.what, 150)}{'*' if change.likely else ''}"
        for change in card.changes[:MOST_MOVERS]
    ]
    return [_section(shorten("\n".join(lines), LONGEST_TEXT))] if lines else []


def _buttons(incident: int, *, acknowledged: bool) -> dict[str, Any]:
    """Buttons whose values name the incident; ``alerts.channels.slack_actions`` reads them."""
    silences = [_button(f"Silence {hours} h", "silence", f"{incident} {hours}") for hours in SILENCE_HOURS]
    first = [] if acknowledged else [{**_button("Acknowledge", "acknowledge", str(incident)), "style": "primary"}]
    return {"type": "actions", "block_id": f"incident_{incident}", "elements": [*first, *silences]}


def _button(text: str, action: str, value: str) -> dict[str, Any]:
    name = f"{action}_{value.replace(' ', '_')}"
    return {"type": "button", "text": {"type": "plain_text", "text": text}, "action_id": name, "value": f"{action} {value}"}


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
