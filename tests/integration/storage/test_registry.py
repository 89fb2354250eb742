"""Models and versions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from storage import deployments, registry
from storage.engine import writing
from storage.predictions import UnknownVersion
from storage.records import Model, Task
from storage.registry import LayoutLookup, RegistryError
from tests.factories import NOW, at, make_signature, make_version, register_model


def test_a_version_comes_back_as_it_was(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c, versions=())
        version = make_version(layout.id, alias="staging", details={"why": "équal", "seconds": 0.5}, signature=make_signature())
        registry.insert_version(c, version)

        assert registry.get_version(c, "churn", "1") == version
        assert registry.list_versions(c) == registry.list_versions(c, "churn") == [version]
        assert registry.get_version(c, "churn", "2") is None
        assert registry.list_versions(c, "none") == []


def test_models_are_listed_by_name(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, "b")
        register_model(c, "a")

        assert [model.name for model in registry.list_models(c)] == ["a", "b"]
        assert registry.get_model(c, "a") == Model(name="a", task=Task.CLASSIFICATION, created_at=NOW)
        assert registry.get_model(c, "c") is None


def test_a_model_that_is_there_is_refused(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)
        with pytest.raises(RegistryError, match="There is a model churn already"):
            registry.insert_model(c, Model(name="churn", task=Task.REGRESSION, created_at=NOW))


def test_a_version_that_is_there_is_refused(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        with pytest.raises(RegistryError, match="churn has a version 1 already"):
            registry.insert_version(c, make_version(layout.id))


def test_a_version_that_differs_only_in_case_is_refused(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c, versions=("rc1",))
        with pytest.raises(RegistryError, match="differs from rc1 only in case"):
            registry.insert_version(c, make_version(layout.id, version="RC1"))


def test_a_version_of_no_model_is_refused(engine: Engine) -> None:
    with writing(engine) as c, pytest.raises(RegistryError, match="no model churn"):
        registry.insert_version(c, make_version(1))


@pytest.mark.parametrize(
    ("names", "following"), [((), "1"), (("1", "2"), "3"), (("1", "10", "9"), "11"), (("beta",), "1"), (("3", "4.1", "7b"), "4")]
)
def test_versions_are_counted_over_whole_numbers(engine: Engine, names: tuple[str, ...], following: str) -> None:
    with writing(engine) as c:
        register_model(c, versions=names)

        assert registry.next_version_name(c, "churn") == following


def test_an_archived_version_is_out_of_use_but_there(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)
        registry.archive_version(c, "churn", "1", at(5))
        registry.archive_version(c, "churn", "1", at(9))
        version = registry.get_version(c, "churn", "1")

    assert version is not None
    assert version.archived_at == at(5)


def test_deployed_and_unknown_versions_are_not_archived(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)
        deployments.promote(c, "churn", "1", actor="ana", reason="", now=NOW)

        with pytest.raises(RegistryError, match="Version 1 of churn is deployed"):
            registry.archive_version(c, "churn", "1", NOW)
        with pytest.raises(RegistryError, match="churn has no version 2"):
            registry.archive_version(c, "churn", "2", NOW)


def test_layouts_are_found_by_version_and_kept(engine: Engine) -> None:
    known: dict[tuple[str, str], object] = {}
    with writing(engine) as c:
        layout = register_model(c)
        lookup = LayoutLookup(c, known)  # type: ignore[arg-type]

        assert lookup("churn", "1") == layout
        assert lookup("churn", "1") is known["churn", "1"]
        with pytest.raises(UnknownVersion, match="no version 2 of a model churn"):
            lookup("churn", "2")
    assert known == {("churn", "1"): layout}
    assert replace(layout, id=0) != layout
