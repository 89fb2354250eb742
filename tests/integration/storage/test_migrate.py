"""Migrations make exactly the tables of the schema, and a database says in which state it is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from storage.engine import DatabaseUnavailable, create_engine, reading, writing
from storage.migrate import SCRIPTS, SchemaMismatch, open_database, require_current, revisions, schema_status, upgrade
from storage.schema import metadata
from tests.programs import run_side_by_side


def test_migrations_make_exactly_the_tables_of_the_schema(engine: Engine) -> None:
    with reading(engine) as c:
        context = MigrationContext.configure(c, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_a_new_database_is_empty_then_current(empty_url: str) -> None:
    engine = create_engine(empty_url)

    before = schema_status(engine)
    upgrade(engine)
    upgrade(engine)
    after = schema_status(engine)

    assert (before.state, before.found) == ("empty", None)
    assert (after.state, after.found) == ("current", after.expected)
    open_database(empty_url).dispose()
    engine.dispose()


def test_an_empty_database_is_refused_with_the_command_to_run(empty_url: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"no modelwatch tables yet; run `modelwatch db upgrade`, or set MODELWATCH_HOME"):
        open_database(empty_url)


def test_a_newer_database_is_refused_and_left_alone(engine: Engine) -> None:
    with writing(engine) as c:
        c.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    assert schema_status(engine).state == "newer"
    with pytest.raises(SchemaMismatch, match=r"made by a newer modelwatch .*9999.*upgrade the program"):
        require_current(engine)
    with pytest.raises(SchemaMismatch, match="upgrade the program"):
        upgrade(engine)


def test_an_older_database_is_refused_with_the_command_to_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "versions").mkdir()
    for name in ("0001_first.py", "0002_second.py"):
        (tmp_path / "versions" / name).write_text("")
    monkeypatch.setattr("storage.migrate.SCRIPTS", tmp_path)

    assert schema_status(engine).state == "older"
    with pytest.raises(SchemaMismatch, match=r"older modelwatch \(0001 instead of 0002\); run `modelwatch db upgrade`\.$"):
        require_current(engine)


def test_asking_for_the_state_makes_no_file(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/none/modelwatch.db")

    assert schema_status(engine).state == "empty"
    assert list(tmp_path.iterdir()) == []


def test_upgrade_makes_the_folder_of_a_sqlite_file(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/new%20folder/deeper/modelwatch.db")

    upgrade(engine)

    require_current(engine)
    engine.dispose()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DatabaseUnavailable, match="cannot be made"):
        upgrade(create_engine(f"sqlite:///{tmp_path}/file/modelwatch.db"))


def test_the_names_of_the_scripts_are_their_revisions_in_order() -> None:
    scripts = list(ScriptDirectory(str(SCRIPTS)).walk_revisions())

    assert revisions() == [script.revision for script in reversed(scripts)]


def test_several_processes_may_upgrade_at_once(empty_url: str) -> None:
    program = "import sys; from storage.engine import create_engine; from storage.migrate import upgrade; upgrade(create_engine(sys.argv[1]))"

    run_side_by_side([[program, empty_url]] * 4)

    engine = create_engine(empty_url)
    require_current(engine)
    with reading(engine) as c:
        assert set(inspect(c).get_table_names()) == {*metadata.tables, "alembic_version"}
        assert c.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    engine.dispose()


def test_a_failed_migration_leaves_nothing(empty_url: str) -> None:
    engine = create_engine(empty_url)
    with writing(engine) as c:
        c.execute(text("CREATE TABLE versions (x integer)"))  # the last table that the first migration makes

    with pytest.raises(Exception, match="versions"):
        upgrade(engine)

    with reading(engine) as c:
        assert inspect(c).get_table_names() == ["versions"]
    engine.dispose()


def test_the_scripts_travel_in_the_wheel(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    builder = "import os, sys; from hatchling.build import build_wheel; os.chdir(sys.argv[1]); print(build_wheel(sys.argv[2]))"

    done = subprocess.run([sys.executable, "-c", builder, root, tmp_path], check=True, capture_output=True, text=True)

    names = zipfile.ZipFile(tmp_path / done.stdout.split()[-1]).namelist()
    assert {"storage/migrations/env.py", "storage/migrations/versions/0001_first.py"} <= set(names)
