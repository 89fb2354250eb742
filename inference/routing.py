"""Which version answers. Pure.

A subject's place in ``[0, 1)`` is a hash of the deployment's salt and the subject, so the same subject meets the same
version on every replica, without a cookie or a table. Places below the weight belong to the challenger: as the weight
grows subjects only ever move to it, never back.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from storage.records import Deployment, Mode, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The version that answers, in which role, and why."""

    version: str
    role: Role
    reason: str


def place(salt: str, subject: str) -> float:
    """Where a subject stands in ``[0, 1)``."""
    digest = blake2b(f"{salt}:{subject}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def only_champion(deployment: Deployment) -> Route:
    return Route(version=deployment.champion, role=Role.CHAMPION, reason="all traffic")


def pinned(version: str) -> Route:
    return Route(version=version, role=Role.PINNED, reason="asked for by the caller")


def split(deployment: Deployment, subject: str | None, request_id: str) -> Route:
    """The route of one request; without a subject the request's id decides, so that nothing ties two requests together."""
    challenger = deployment.challenger
    if deployment.mode is Mode.SINGLE or challenger is None:
        return only_champion(deployment)
    where = place(deployment.salt, request_id if subject is None else subject)
    who = "request (no subject)" if subject is None else "subject"
    if where < deployment.weight:
        return Route(version=challenger, role=Role.CHALLENGER, reason=f"{who} at {where:.4f}, weight {deployment.weight:g}")
    return Route(version=deployment.champion, role=Role.CHAMPION, reason=f"{who} at {where:.4f}, weight {deployment.weight:g}")
