"""Models and their versions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from storage import deployments
from storage.dialects import insert_new, one_at_a_time
from storage.predictions import UnknownVersion
from storage.records import Feature, FeatureType, Format, Layout, Model, Signature, Task, Version
from storage.rollups import load_layout
from storage.rows import columns_of, values_of
from storage.schema import models, versions
from storage.views import create_view


class RegistryError(Exception):
    """A model or version that is there already, or is not: the message says which and what to do."""


def insert_model(c: Connection, model: Model) -> None:
    """Adds a model. Raises RegistryError where there is one of this name."""
    if not insert_new(c, models, values_of(model), key=["name"]):
        raise RegistryError(f"There is a model {model.name} already; register a new version of it, or choose another name.")


def get_model(c: Connection, name: str) -> Model | None:
    """The model of this name."""
    row = c.execute(select(*columns_of(models, Model)).where(models.c.name == name)).mappings().one_or_none()
    return None if row is None else _model(row)


def list_models(c: Connection) -> list[Model]:
    """All models by name."""
    return [_model(row) for row in c.execute(select(*columns_of(models, Model)).order_by(models.c.name)).mappings()]


def insert_version(c: Connection, version: Version) -> None:
    """Adds a version and its SQL view. Raises RegistryError where there is one of this name, or no such model."""
    if get_model(c, version.model) is None:
        raise RegistryError(f"There is no model {version.model}; register it first.")
    known = c.scalars(select(versions.c.version).where(versions.c.model == version.model)).all()
    alike = next((name for name in known if name.lower() == version.version.lower()), None)
    if alike is not None and alike != version.version:
        raise RegistryError(f"Version {version.version} of {version.model} differs from {alike} only in case; choose another name.")
    row = values_of(version, without=("signature",)) | {"signature": signature_to_json(version.signature)}
    if not insert_new(c, versions, row, key=["model", "version"]):
        raise RegistryError(
            f"{version.model} has a version {version.version} already; versions never change, so choose another name."
        )
    create_view(c, version.model, version.version, version.signature)


def get_version(c: Connection, model: str, version: str) -> Version | None:
    """One version, archived or not."""
    query = select(*columns_of(versions, Version)).where(versions.c.model == model, versions.c.version == version)
    row = c.execute(query).mappings().one_or_none()
    return None if row is None else _version(row)


def list_versions(c: Connection, model: str | None = None) -> list[Version]:
    """The versions of a model, or of all models, archived ones too, in the order they were registered."""
    query = select(*columns_of(versions, Version)).order_by(versions.c.model, versions.c.created_at, versions.c.version)
    if model is not None:
        query = query.where(versions.c.model == model)
    return [_version(row) for row in c.execute(query).mappings()]


def next_version_name(c: Connection, model: str) -> str:
    """One more than the greatest version whose name is a whole number; ``"1"`` for the first."""
    names = c.scalars(select(versions.c.version).where(versions.c.model == model))
    return str(max((int(name) for name in names if name.isdecimal()), default=0) + 1)


def archive_version(c: Connection, model: str, version: str, now: datetime) -> None:
    """Takes a version out of use; its predictions stay. Raises RegistryError where it is deployed or not there."""
    one_at_a_time(c, "deployments")  # or it could be promoted between the look and the change
    deployment = deployments.current(c, model)
    if deployment is not None and version in (deployment.champion, deployment.challenger):
        raise RegistryError(f"Version {version} of {model} is deployed; promote another version before you archive it.")
    known = (versions.c.model == model, versions.c.version == version)
    if c.execute(update(versions).where(*known, versions.c.archived_at.is_(None)).values(archived_at=now)).rowcount == 1:
        return
    if c.execute(select(versions.c.version).where(*known)).one_or_none() is None:
        raise RegistryError(f"{model} has no version {version}; see `modelwatch models show {model}`.")


class LayoutLookup:
    """The layout of a version, as ``record_predictions`` and ``record_labels`` ask for it.

    ``known`` may be one dictionary for the life of a process: a version's layout never changes.
    """

    def __init__(self, c: Connection, known: dict[tuple[str, str], Layout] | None = None) -> None:
        self._connection = c
        self._known = known if known is not None else {}

    def __call__(self, model: str, version: str) -> Layout:
        """Raises UnknownVersion for a version that is not registered."""
        layout = self._known.get((model, version))
        if layout is None:
            layout = self._known[model, version] = self._load(model, version)
        return layout

    def _load(self, model: str, version: str) -> Layout:
        query = select(versions.c.layout_id).where(versions.c.model == model, versions.c.version == version)
        layout_id = self._connection.scalar(query)
        if layout_id is None:
            raise UnknownVersion(f"There is no version {version} of a model {model} in the registry.")
        return load_layout(self._connection, layout_id)


def signature_to_json(signature: Signature) -> dict[str, Any]:
    """The signature as a JSON object."""
    return asdict(signature)


def signature_from_json(content: dict[str, Any]) -> Signature:
    """The signature that ``signature_to_json`` wrote."""
    features = tuple(
        Feature(**{**feature, "type": FeatureType(feature["type"]), "categories": tuple(feature["categories"])})
        for feature in content["features"]
    )
    return Signature(task=Task(content["task"]), features=features, target=content["target"], classes=tuple(content["classes"]))


def _model(row: RowMapping) -> Model:
    return Model(**{**row, "task": Task(row["task"])})


def _version(row: RowMapping) -> Version:
    return Version(**{**row, "format": Format(row["format"]), "signature": signature_from_json(row["signature"])})
