"""Which versions answer for a model. The newest row of a model is in force; the rows before it are its history."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, insert, select

from storage import audit
from storage.dialects import one_at_a_time
from storage.records import AuditEntry, Deployment, Mode
from storage.rows import columns_of, values_of
from storage.schema import deployments, versions

_COLUMNS = columns_of(deployments, Deployment)


class DeploymentError(Exception):
    """A deployment that cannot be: the message says why."""


def current(c: Connection, model: str) -> Deployment | None:
    """The deployment in force; None before the first one."""
    query = select(*_COLUMNS).where(deployments.c.model == model).order_by(deployments.c.id.desc()).limit(1)
    row = c.execute(query).mappings().one_or_none()
    return None if row is None else _deployment(row)


def all_current(c: Connection) -> dict[str, Deployment]:
    """The deployment in force of every model that has one."""
    newest = select(func.max(deployments.c.id)).group_by(deployments.c.model)
    rows = c.execute(select(*_COLUMNS).where(deployments.c.id.in_(newest))).mappings()
    return {row["model"]: _deployment(row) for row in rows}


def newest_id(c: Connection) -> int:
    """A number that grows with every deployment of any model; 0 before the first."""
    return int(c.scalar(select(func.max(deployments.c.id))) or 0)


def history(c: Connection, model: str) -> list[Deployment]:
    """All deployments of the model, newest first."""
    query = select(*_COLUMNS).where(deployments.c.model == model).order_by(deployments.c.id.desc())
    return [_deployment(row) for row in c.execute(query).mappings()]


def promote(c: Connection, model: str, version: str, *, actor: str, reason: str, now: datetime) -> Deployment:
    """Gives the version all traffic. Raises DeploymentError."""
    return _put(c, model, Mode.SINGLE, version, None, 0.0, actor=actor, action="promote", reason=reason, now=now)


def rollback(c: Connection, model: str, *, actor: str, reason: str, now: datetime) -> Deployment:
    """Gives all traffic to the champion before the present one; done again, it goes back one further.

    Archived versions are passed over. Raises DeploymentError where nothing earlier is left.
    """
    one_at_a_time(c, "deployments")
    archived = set(c.scalars(select(versions.c.version).where(versions.c.model == model, versions.c.archived_at.is_not(None))))
    earlier = [name for name in champions(reversed(history(c, model)))[:-1] if name not in archived]
    if not earlier:
        raise DeploymentError(f"{model} has no earlier champion to roll back to; see `modelwatch models history {model}`.")
    return _put(c, model, Mode.SINGLE, earlier[-1], None, 0.0, actor=actor, action="rollback", reason=reason, now=now)


def deploy(
    c: Connection,
    model: str,
    *,
    mode: Mode,
    champion: str,
    challenger: str | None,
    weight: float,
    actor: str,
    reason: str,
    now: datetime,
) -> Deployment:
    """Spreads the traffic: ``weight`` of the subjects to the challenger, the rest to the champion. Raises DeploymentError."""
    return _put(c, model, Mode(mode), champion, challenger, weight, actor=actor, action="deploy", reason=reason, now=now)


def champions(oldest_first: Iterable[Deployment]) -> list[str]:
    """The champions in the order they came, without those that a rollback has left behind; the last is the present one."""
    trail: list[str] = []
    for deployment in oldest_first:
        if deployment.action == "rollback" and deployment.champion in trail:
            last = len(trail) - trail[::-1].index(deployment.champion)
            del trail[last:]
        elif trail[-1:] != [deployment.champion]:
            trail.append(deployment.champion)
    return trail


def _put(
    c: Connection,
    model: str,
    mode: Mode,
    champion: str,
    challenger: str | None,
    weight: float,
    *,
    actor: str,
    action: str,
    reason: str,
    now: datetime,
) -> Deployment:
    # Ids must become visible in ascending order, or whoever watches newest_id misses one.
    one_at_a_time(c, "deployments")
    _check_split(model, mode, champion, challenger, weight)
    for version in filter(None, (champion, challenger)):
        _check_version(c, model, version)
    before = current(c, model)
    same_pair = before is not None and (before.champion, before.challenger) == (champion, challenger)
    deployment = Deployment(
        model=model,
        mode=mode,
        champion=champion,
        challenger=challenger,
        weight=float(weight) if challenger else 0.0,
        # A subject's place is hashed with the salt: kept while the pair is, nobody changes sides as the weight grows.
        salt=before.salt if before is not None and same_pair else secrets.token_hex(8),
        at=now,
        actor=actor,
        action=action,
        reason=reason,
    )
    row = values_of(deployment, without=("id",))
    deployment = replace(deployment, id=c.execute(insert(deployments).values(row).returning(deployments.c.id)).scalar_one())
    details = {"mode": mode.value, "champion": champion, "challenger": challenger, "weight": deployment.weight}
    details["previous_champion"] = before.champion if before is not None else None
    audit.record(c, AuditEntry(at=now, actor=actor, action=action, target=model, reason=reason, details=details))
    return deployment


def _check_split(model: str, mode: Mode, champion: str, challenger: str | None, weight: float) -> None:
    if not 0 <= weight <= 1:
        raise DeploymentError(f"The weight of the challenger is a share from 0 to 1, not {weight:g}.")
    if mode is Mode.SINGLE and challenger is not None:
        raise DeploymentError(f"Mode single sends all traffic of {model} to the champion; for a challenger use mode ab or canary.")
    if mode is not Mode.SINGLE and challenger is None:
        raise DeploymentError(f"Mode {mode} splits the traffic of {model}, so it needs a challenger.")
    if challenger == champion:
        raise DeploymentError(f"The champion and the challenger of {model} are both version {champion}; name two different ones.")


def _check_version(c: Connection, model: str, version: str) -> None:
    known = c.execute(select(versions.c.version, versions.c.archived_at).where(versions.c.model == model)).all()
    if not known:
        raise DeploymentError(f"There is no model {model} with a registered version; see `modelwatch models list`.")
    found = next((row for row in known if row.version == version), None)
    if found is None:
        names = ", ".join(sorted(row.version for row in known if row.archived_at is None))
        raise DeploymentError(f"{model} has no version {version}; it has {names or 'only archived ones'}.")
    if found.archived_at is not None:
        raise DeploymentError(f"Version {version} of {model} is archived and cannot be deployed.")


def _deployment(row: RowMapping) -> Deployment:
    return Deployment(**{**row, "mode": Mode(row["mode"])})
