"""Actions on the traffic of a model: in the transaction that marks them as done, so that they happen exactly once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from storage import deployments
from storage.deployments import DeploymentError
from storage.records import Deployment, Mode

TRAFFIC = frozenset({"rollback", "promote", "weight"})


def carry_out(
    c: Connection,
    what: str,
    model: str,
    *,
    failing: str,
    version: str,
    weight: float | None,
    actor: str,
    reason: str,
    now: datetime,
) -> str:
    """Changes who answers, and says what it did. ``failing`` is the version that the alert is about ("" for none).

    Raises DeploymentError where that cannot be, or makes no sense any more.
    """
    present = deployments.current(c, model)
    if present is None:
        raise DeploymentError(f"{model} has no deployment.")
    if what == "promote":
        deployments.promote(c, model, version, actor=actor, reason=reason, now=now)
        return f"version {version} of {model} was promoted"
    if what == "weight":
        return _weigh(c, present, weight or 0.0, actor=actor, reason=reason, now=now)
    return _roll_back(c, present, failing, actor=actor, reason=reason, now=now)


def _roll_back(c: Connection, present: Deployment, failing: str, *, actor: str, reason: str, now: datetime) -> str:
    """Away from the version that fails: from a challenger to its champion, from a champion to the one before it."""
    model = present.model
    if present.challenger and failing in ("", present.challenger):
        deployments.promote(c, model, present.champion, actor=actor, reason=reason, now=now)
        return f"version {present.challenger} of {model} was taken out; version {present.champion} answers everything"
    if failing and failing not in (present.champion, present.challenger):
        raise DeploymentError(f"Version {failing} of {model} does not answer any more, so there is nothing to roll back.")
    after = deployments.rollback(c, model, actor=actor, reason=reason, now=now)
    return f"{model} was rolled back from version {present.champion} to version {after.champion}"


def _weigh(c: Connection, present: Deployment, weight: float, *, actor: str, reason: str, now: datetime) -> str:
    if present.mode is Mode.SINGLE or present.challenger is None:
        raise DeploymentError(f"{present.model} has no challenger whose weight could be changed.")
    deployments.deploy(
        c,
        present.model,
        mode=present.mode,
        champion=present.champion,
        challenger=present.challenger,
        weight=weight,
        actor=actor,
        reason=reason,
        now=now,
    )
    return f"version {present.challenger} of {present.model} gets {100 * weight:.3g} % of the traffic"
