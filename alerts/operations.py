"""What people do to alerts, by whichever way they ask: command, HTTP or a button. Each is audited where it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from alerts.lifecycle import LIVE
from storage import actions, alerts, incidents, silences
from storage.matchers import Matchers, labels_for_matching
from storage.records import ActionRow, AlertRow, Incident, Silence

LONGEST_SILENCE = timedelta(days=90)


class NotPossible(Exception):
    """What was asked for cannot be; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a silence would hide now: the alerts that match, and how many others there are."""

    hidden: tuple[AlertRow, ...]
    others: int


def acknowledge(c: Connection, incident_id: int, *, by: str, note: str, now: datetime) -> Incident:
    """Somebody takes care of an incident. Raises NotPossible where it is over or was never."""
    found = incidents.acknowledge(c, incident_id, by=by, note=note, now=now)
    if found is None:
        raise NotPossible(f"There is no open incident {incident_id}; `modelwatch alerts incidents` lists them.")
    return found


def preview(c: Connection, matchers: Matchers) -> Preview:
    """What a silence with these matchers would hide at this moment."""
    live = alerts.load_alerts(c, states=LIVE)
    hidden = tuple(alert for alert in live if matchers.match(labels_for_matching(alert.rule, alert.labels)))
    return Preview(hidden=hidden, others=len(live) - len(hidden))


def silence(
    c: Connection,
    matchers: Mapping[str, str | Sequence[str]],
    *,
    lasts: timedelta,
    by: str,
    comment: str,
    now: datetime,
    starts_at: datetime | None = None,
) -> Silence:
    """Silences matching alerts for a time. Raises NotPossible for one that would hide everything, or for ever."""
    if not comment.strip():
        raise NotPossible("A silence needs a comment that says why, for whoever finds it.")
    if lasts > LONGEST_SILENCE:
        raise NotPossible(f"A silence may last {LONGEST_SILENCE.days} days at most; one that is for ever belongs into the rules.")
    begins = starts_at or now
    made = Silence(
        matchers=Matchers.of(matchers).to_json(),
        starts_at=begins,
        ends_at=begins + lasts,
        author=by,
        comment=comment,
        created_at=now,
    )
    if all(pattern == "*" for patterns in made.matchers.values() for pattern in patterns):
        raise NotPossible("This silence would hide every alert; name at least one label with more than `*`.")
    try:
        return silences.add(c, made)
    except ValueError as error:
        raise NotPossible(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def unsilence(c: Connection, silence_id: int, *, by: str, now: datetime) -> Silence:
    """Ends a silence. Raises NotPossible where there is none in force or to come."""
    ended = silences.end(c, silence_id, by=by, now=now)
    if ended is None:
        raise NotPossible(f"There is no silence {silence_id} that could be ended; `modelwatch alerts silences` lists them.")
    return ended


def decide(c: Connection, action_id: int, *, confirm: bool, by: str, now: datetime) -> ActionRow:
    """Agrees to an action that waits for somebody, or refuses it. Raises NotPossible where it does not wait."""
    decided = actions.decide(c, action_id, confirm=confirm, by=by, now=now)
    if decided is None:
        found = actions.get(c, action_id)
        state = f"is {found.state.value}" if found else "does not exist"
        raise NotPossible(f"Action {action_id} {state}; `modelwatch alerts actions` lists those that wait.")
    return decided


def parse_matchers(texts: Sequence[str]) -> dict[str, list[str]]:
    """From ``label=pattern`` texts; a label named twice matches either. Raises NotPossible.

    >>> parse_matchers(["model=churn", "feature=age", "feature=inc*"])
    {'model': ['churn'], 'feature': ['age', 'inc*']}
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, sign, pattern = text.partition("=")
        if not sign or not name.strip() or not pattern.strip():
            raise NotPossible(f"{text!r} is not a matcher; write for example model=churn or feature='inc*'.")
        found.setdefault(name.strip(), []).append(pattern.strip())
    return found
