"""Actions as a channel: a message that arrives here is something to do, at once or once a person has agreed.

An action is stored before anything is done, under a key of its incident: a message that comes twice changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from alerts.actions import outside, traffic
from alerts.actions.outside import ActionFailed
from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.channels.post import Poster
from alerts.messages import Kind, Message
from alerts.receivers import Action
from alerts.routes import Recipient, outbox_item
from storage import actions, outbox
from storage.deployments import DeploymentError
from storage.durations import format_duration
from storage.engine import writing
from storage.records import ActionRow, ActionState, OutboxItem

TRIGGERS = frozenset({Kind.FIRING, Kind.ESCALATION})
"""A repeat or an update of an incident does not do the same again."""
CONFIRM_WITHIN = timedelta(hours=24)
GRACE = timedelta(minutes=1)

_log = logging.getLogger(__name__)


class Actions:
    """Proposes what receivers of the rules file want done, and does what is agreed to."""

    name = "action"

    def __init__(
        self,
        targets: Mapping[str, tuple[Action, ...]],
        engine: Engine,
        poster: Poster,
        *,
        allow_commands: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._targets = targets
        self._engine = engine
        self._poster = poster
        self._allow_commands = allow_commands
        self._clock = clock

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Takes on the actions of the receiver. What fails is told by a message of its own, not by trying again."""
        wanted = self._targets.get(address.target)
        if wanted is None:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the rules no longer have actions for {address.target}")
        if message.kind not in TRIGGERS:
            return Delivered()
        said = [self._take_on(message, address.target, number, action) for number, action in enumerate(wanted)]
        return Delivered(message_id=" ".join(str(row.id) for row in said))

    def run_confirmed(self) -> int:
        """Does what people have agreed to since, and gives up what nobody has; returns how many were taken on."""
        now = self._clock()
        with writing(self._engine) as c:
            actions.expire(c, now - CONFIRM_WITHIN)
            waiting = actions.confirmed(c)
        for row in waiting:
            action = self._action(row)
            if action is None:
                self._finish(row, ActionState.FAILED, "the rules no longer have this action")
            elif row.executed_at is None:
                self._do(row, action)
            elif now - row.executed_at > action.timeout + GRACE:
                self._finish(row, ActionState.FAILED, "it was interrupted; whether it happened is not known")
        return len(waiting)

    # ------------------------------------------------------------------------------------------ propose

    def _take_on(self, message: Message, receiver: str, number: int, action: Action) -> ActionRow:
        now = self._clock()
        row = ActionRow(
            dedup_key=f"{message.incident_key or message.key}:{receiver}:{number}",
            incident_id=message.incident,
            receiver=receiver,
            what=action.do,
            model=message.labels.get("model", ""),
            details={"number": number, "version": message.labels.get("version", ""), "title": message.title},
            state=ActionState.PROPOSED if action.confirm else ActionState.CONFIRMED,
            reason=message.summary,
            created_at=now,
            decided_at=None if action.confirm else now,
            decided_by=None if action.confirm else f"rules:{receiver}",
        )
        with writing(self._engine) as c:
            stored = actions.propose(c, row)
            if stored.created_at == now and stored.state is ActionState.PROPOSED:
                self._tell(
                    c, stored, f"{_words(action, stored)} waits for somebody to agree: modelwatch alerts confirm {stored.id}"
                )
        if stored.state is ActionState.CONFIRMED and stored.executed_at is None:
            return self._do(stored, action)
        return stored

    # ------------------------------------------------------------------------------------------ do

    def _do(self, row: ActionRow, action: Action) -> ActionRow:
        now = self._clock()
        with writing(self._engine) as c:
            if not actions.begin(c, row.id, now):
                return row
            refusal = self._refusal(c, row, action, now)
            if refusal or action.dry_run:
                state = ActionState.REFUSED if refusal else ActionState.REHEARSED
                return self._ended(c, row, state, refusal or f"only a rehearsal: {_words(action, row)} would be done now")
            if action.do in traffic.TRAFFIC:
                return self._change_traffic(c, row, action, now)
        return self._outside(row, action)

    def _refusal(self, c: Connection, row: ActionRow, action: Action, now: datetime) -> str:
        """Why it is not done although it is agreed to ("" for no reason)."""
        if actions.tried_since(c, row.receiver, row.what, row.model, now - action.per) >= action.most:
            return f"{_words(action, row)} was done {action.most} times within {format_duration(action.per)} already"
        if action.do == "command" and not self._allow_commands:
            return "commands are not allowed; set MODELWATCH_ACTION_COMMANDS to allow them"
        return ""

    def _change_traffic(self, c: Connection, row: ActionRow, action: Action, now: datetime) -> ActionRow:
        failing = str(row.details.get("version", ""))
        try:
            with c.begin_nested():
                said = traffic.carry_out(
                    c,
                    action.do,
                    row.model,
                    failing=failing,
                    version=action.version,
                    weight=action.weight,
                    actor=f"alerts:{row.receiver}",
                    reason=f"{row.details.get('title', '')}: {row.reason}",
                    now=now,
                )
        except DeploymentError as error:
            return self._ended(c, row, ActionState.FAILED, str(error))
        return self._ended(c, row, ActionState.DONE, said)

    def _outside(self, row: ActionRow, action: Action) -> ActionRow:
        content = _content(row)
        try:
            if action.do == "command":
                said = outside.run(action.command, content, timeout=action.timeout)
            else:
                poster = replace(self._poster, timeout=action.timeout.total_seconds())
                said = outside.call(action, content, poster, name=f"action_{row.id}", at=int(time.time()))
        except ActionFailed as error:
            return self._finish(row, ActionState.FAILED, str(error))
        return self._finish(row, ActionState.DONE, said)

    def _finish(self, row: ActionRow, state: ActionState, result: str) -> ActionRow:
        with writing(self._engine) as c:
            return self._ended(c, row, state, result)

    def _ended(self, c: Connection, row: ActionRow, state: ActionState, result: str) -> ActionRow:
        finished = actions.finish(c, row, state, result, self._clock())
        done = {ActionState.DONE: "Done", ActionState.FAILED: "Failed", ActionState.REFUSED: "Not done"}.get(state, "Rehearsal")
        self._tell(c, finished, f"{done}: {result}")
        _log.info("Action %d (%s of %s): %s: %s", row.id, row.what, row.model, state.value, result)
        return finished

    # ------------------------------------------------------------------------------------------ tell

    def _tell(self, c: Connection, row: ActionRow, said: str) -> None:
        """Tells everybody who was told of the incident, in the transaction of what it tells of."""
        now = self._clock()
        told = outbox.of_incident(c, row.incident_id) if row.incident_id is not None else []
        first: dict[tuple[str, str], OutboxItem] = {}
        for item in told:
            if item.channel != self.name:
                first.setdefault((item.receiver, item.channel), item)
        for (receiver, channel), item in first.items():
            begun = Message.from_json(item.payload["message"])
            message = Message(
                kind=Kind.ACTION,
                key=f"action:{row.id}:{row.state.value}",
                answers=begun.key,
                title=f"{row.what}: {row.details.get('title', '')}",
                summary=said,
                at=now,
                severity=begun.severity,
                facts=(("Why", row.reason), ("Model", row.model), ("Agreed to by", row.decided_by or "nobody yet")),
                dashboard_url=begun.dashboard_url,
                incident=begun.incident,
                incident_key=begun.incident_key,
                labels=begun.labels,
                card=begun.card if row.state is ActionState.DONE else None,
            )
            recipient = Recipient(receiver=receiver, channel=channel, address=Address.from_json(item.payload["address"]))
            outbox.enqueue(c, replace(outbox_item(message, recipient, now), incident_id=row.incident_id))

    def _action(self, row: ActionRow) -> Action | None:
        wanted, number = self._targets.get(row.receiver, ()), row.details.get("number")
        found = wanted[number] if isinstance(number, int) and number < len(wanted) else None
        return found if found is not None and found.do == row.what else None


def _words(action: Action, row: ActionRow) -> str:
    what = {
        "rollback": f"a rollback of {row.model}",
        "promote": f"the promotion of version {action.version} of {row.model}",
        "weight": f"the weight {action.weight} for the challenger of {row.model}",
        "webhook": "the webhook of the action",
        "command": f"the command {action.command[0] if action.command else ''}",
    }
    return what[action.do]


def _content(row: ActionRow) -> dict[str, Any]:
    """What a webhook or a command is told."""
    return {
        "action": row.id,
        "incident": row.incident_id,
        "model": row.model,
        "version": row.details.get("version", ""),
        "title": row.details.get("title", ""),
        "reason": row.reason,
        "agreed_to_by": row.decided_by,
    }
