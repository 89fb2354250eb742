"""What alerts want done: proposed once, decided once, done once; the whole history stays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from storage import audit
from storage.records import ActionRow, ActionState, AuditEntry
from storage.rows import columns_of, values_of
from storage.schema import actions

_COLUMNS = columns_of(actions, ActionRow)
DONE = (ActionState.DONE, ActionState.FAILED)
"""States of something that was really tried, which a limit counts."""


def propose(c: Connection, action: ActionRow) -> ActionRow:
    """Stores what an alert wants done; where it was stored before, what became of it meanwhile."""
    found = _by_key(c, action.dedup_key)
    if found is not None:
        return found
    row = values_of(action, without=("id",))
    stored = replace(action, id=c.execute(insert(actions).values(row).returning(actions.c.id)).scalar_one())
    _audit(c, stored, f"propose {stored.what}", stored.receiver, stored.reason, stored.created_at)
    return stored


def decide(c: Connection, action_id: int, *, confirm: bool, by: str, now: datetime) -> ActionRow | None:
    """A person agrees, or does not; None where there is nothing of that number that waits for somebody."""
    state = ActionState.CONFIRMED if confirm else ActionState.REFUSED
    mine = (actions.c.id == action_id, actions.c.state == ActionState.PROPOSED.value)
    values = {"state": state.value, "decided_at": now, "decided_by": by}
    row = c.execute(update(actions).where(*mine).values(values).returning(*_COLUMNS)).mappings().one_or_none()
    if row is None:
        return None
    decided = _action(row)
    _audit(c, decided, f"{'confirm' if confirm else 'refuse'} {decided.what}", by, decided.reason, now)
    return decided


def begin(c: Connection, action_id: int, now: datetime) -> bool:
    """Takes a confirmed action on, so that nobody else does; False where somebody has."""
    free = (actions.c.id == action_id, actions.c.state == ActionState.CONFIRMED.value, actions.c.executed_at.is_(None))
    return c.execute(update(actions).where(*free).values(executed_at=now).returning(actions.c.id)).one_or_none() is not None


def finish(c: Connection, action: ActionRow, state: ActionState, result: str, now: datetime) -> ActionRow:
    """Says what became of it."""
    finished = replace(action, state=state, result=result, executed_at=action.executed_at or now)
    values = {"state": state.value, "result": result, "executed_at": finished.executed_at}
    c.execute(update(actions).where(actions.c.id == action.id).values(values))
    _audit(c, finished, f"{state.value} {action.what}", action.decided_by or action.receiver, result, now)
    return finished


def confirmed(c: Connection) -> list[ActionRow]:
    """What waits to be done, or was begun and not finished, oldest first."""
    query = select(*_COLUMNS).where(actions.c.state == ActionState.CONFIRMED.value).order_by(actions.c.id)
    return [_action(row) for row in c.execute(query).mappings()]


def expire(c: Connection, before: datetime) -> int:
    """Gives up what nobody has agreed to; returns how many there were."""
    old = (actions.c.state == ActionState.PROPOSED.value, actions.c.created_at < before)
    return len(c.execute(update(actions).where(*old).values(state=ActionState.EXPIRED.value).returning(actions.c.id)).all())


def tried_since(c: Connection, receiver: str, what: str, model: str, since: datetime) -> int:
    """How often something was tried for a model since then."""
    tried = (actions.c.receiver == receiver, actions.c.what == what, actions.c.model == model)
    states = actions.c.state.in_([state.value for state in DONE])
    return int(c.scalar(select(func.count()).where(*tried, states, actions.c.executed_at >= since)) or 0)


def get(c: Connection, action_id: int) -> ActionRow | None:
    row = c.execute(select(*_COLUMNS).where(actions.c.id == action_id)).mappings().one_or_none()
    return None if row is None else _action(row)


def list_actions(c: Connection, *, states: Collection[ActionState] | None = None, limit: int = 200) -> list[ActionRow]:
    """The newest first."""
    query = select(*_COLUMNS).order_by(actions.c.id.desc()).limit(limit)
    if states is not None:
        query = query.where(actions.c.state.in_([state.value for state in states]))
    return [_action(row) for row in c.execute(query).mappings()]


def _by_key(c: Connection, key: str) -> ActionRow | None:
    row = c.execute(select(*_COLUMNS).where(actions.c.dedup_key == key)).mappings().one_or_none()
    return None if row is None else _action(row)


def _action(row: RowMapping) -> ActionRow:
    return ActionRow(**{**row, "state": ActionState(row["state"])})


def _audit(c: Connection, action: ActionRow, what: str, actor: str, reason: str, at: datetime) -> None:
    details = {"action": action.id, "incident": action.incident_id, **action.details}
    audit.record(
        c, AuditEntry(at=at, actor=actor, action=what, target=action.model or f"action {action.id}", reason=reason, details=details)
    )
