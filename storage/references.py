"""The references that a model has beside its training data, and the times that belong to none."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from storage.dialects import insert_new
from storage.records import Exclusion, ModelReference, ReferenceKind
from storage.rows import columns_of, values_of
from storage.schema import exclusions, model_references


def add_reference(c: Connection, reference: ModelReference) -> bool:
    """Stores the reference; False where the model has one of this name."""
    return insert_new(c, model_references, values_of(reference), key=["model", "name"])


def remove_reference(c: Connection, model: str, name: str) -> bool:
    """False where there is none. Points that were computed with it stay."""
    named = (model_references.c.model == model, model_references.c.name == name)
    return c.execute(delete(model_references).where(*named)).rowcount == 1


def references_of(c: Connection, model: str) -> list[ModelReference]:
    """By name."""
    query = select(*columns_of(model_references, ModelReference)).where(model_references.c.model == model)
    rows = c.execute(query.order_by(model_references.c.name)).mappings()
    return [ModelReference(**{**row, "kind": ReferenceKind(row["kind"])}) for row in rows]


def exclude(c: Connection, exclusion: Exclusion) -> int:
    """Stores the exclusion and returns its id."""
    values = values_of(exclusion, without=("id",))
    number: int = c.execute(insert(exclusions).values(values).returning(exclusions.c.id)).scalar_one()
    return number


def include(c: Connection, exclusion_id: int) -> bool:
    """Takes an exclusion back; False where there is none with this id."""
    return c.execute(delete(exclusions).where(exclusions.c.id == exclusion_id)).rowcount == 1


def exclusions_of(c: Connection, model: str) -> list[Exclusion]:
    """By time."""
    query = select(*columns_of(exclusions, Exclusion)).where(exclusions.c.model == model)
    return [Exclusion(**row) for row in c.execute(query.order_by(exclusions.c.start, exclusions.c.id)).mappings()]
