"""`modelwatch doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import print_json
from cli.session import now

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from storage.settings import Settings

LEAST_FREE_BYTES = 2 * 1024**3
MOST_CLOCK_DIFFERENCE_SECONDS = 5.0
FIXED_SQLITE = (3, 51, 3)


class Level(StrEnum):
    """How serious a finding is; only a problem makes the command fail."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw, in a sentence that says what to do where that is needed."""

    check: str
    level: Level
    sentence: str


def add_to(app: typer.Typer) -> None:
    """Hang the command into the application."""
    app.command("doctor", epilog="Example: modelwatch doctor")(doctor)


def doctor(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """Say what is wrong with this installation and what to do; exit 1 if there is a problem."""
    findings = list(examine())
    if json:
        print_json([{"check": f.check, "level": f.level.value, "sentence": f.sentence} for f in findings])
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            print(f"{finding.level.upper():<8} {finding.check:<{width}}  {finding.sentence}")
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """All checks in order; those that need what an earlier one did not find are left out."""
    from storage.settings import Settings, SettingsError

    yield from check_setting_names()
    try:
        settings = Settings.load()
        yield from check_services_settings()
    except SettingsError as error:
        yield Finding(check="settings", level=Level.PROBLEM, sentence=str(error))
        return
    yield check_home(settings.home)
    yield check_disk(settings.home)
    yield check_sqlite(settings)
    yield from check_ports(settings.home)
    yield from check_rules()
    engine = yield from check_database(settings)
    if engine is not None:
        yield check_clock(engine)
        yield from check_model_files(engine, settings.models_folder)
        engine.dispose()


def check_setting_names() -> Iterator[Finding]:
    from cli import setting_names

    for sentence in setting_names.warnings():
        yield Finding(check="settings", level=Level.NOTE, sentence=sentence)


def check_services_settings() -> Iterator[Finding]:
    """Raises SettingsError for the first value that a service would refuse."""
    from cli.up import make_plan

    plan = make_plan()
    yield Finding(check="settings", level=Level.OK, sentence=f"All settings are valid; the home folder is {plan.home}.")


def check_home(home: Path) -> Finding:
    """Whether the home folder, or the folder it would be made in, can be written."""
    folder = next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
    if not folder.is_dir():
        return Finding(check="home", level=Level.PROBLEM, sentence=f"{folder} is a file; set MODELWATCH_HOME to a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            check="home",
            level=Level.PROBLEM,
            sentence=f"{folder} cannot be written by this user; change its owner or set MODELWATCH_HOME.",
        )
    return Finding(
        check="home", level=Level.OK, sentence=f"{home.resolve()} " + ("can be written." if home.exists() else "can be created.")
    )


def check_disk(home: Path) -> Finding:
    """Whether there is room for spool, database and logs."""
    folder = next(path for path in (home.resolve(), *home.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    sentence = f"{free / 1024**3:.1f} GiB are free on the disk of {folder}."
    if free < LEAST_FREE_BYTES:
        return Finding(check="disk", level=Level.PROBLEM, sentence=f"Only {sentence} Make room: a full spool refuses predictions.")
    return Finding(check="disk", level=Level.OK, sentence=sentence)


def check_sqlite(settings: Settings, version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    """Older versions can corrupt a database that two connections write to; modelwatch keeps to one writer at a time."""
    shown = ".".join(map(str, version))
    if not settings.database.startswith("sqlite") or version >= FIXED_SQLITE:
        return Finding(check="sqlite", level=Level.OK, sentence=f"SQLite {shown}.")
    return Finding(
        check="sqlite",
        level=Level.NOTE,
        sentence=f"SQLite {shown} has a bug with several writers (fixed in 3.51.3), which modelwatch keeps clear of; "
        "do not write to the database with other programs while it runs.",
    )


def check_ports(home: Path) -> Iterator[Finding]:
    """Free, or taken: by the stack on this home folder, which is as it should be, or by something else."""
    from cli.supervise import port_problem
    from cli.up import make_plan

    plan = make_plan()
    runs = stack_runs(home)
    for variable, port in plan.ports.items():
        problem = port_problem(plan.host, port)
        if problem is None:
            yield Finding(check="ports", level=Level.OK, sentence=f"{plan.host}:{port} ({variable}) is free.")
        elif runs:
            yield Finding(
                check="ports", level=Level.OK, sentence=f"{plan.host}:{port} ({variable}) is in use; a stack runs on this home."
            )
        else:
            yield Finding(check="ports", level=Level.PROBLEM, sentence=f"{plan.host}:{port} {problem}; free it or set {variable}.")


def stack_runs(home: Path) -> bool:
    """Whether `modelwatch up` holds the home folder."""
    import fcntl

    try:
        descriptor = os.open(home / "run" / "up.pid", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def check_rules() -> Iterator[Finding]:
    """Whether the alerts service can read its rules, and whether there is somebody to tell."""
    from alerts.receivers import Receiver
    from alerts.rule_files import read_rules
    from alerts.rules import RulesError
    from alerts.settings import AlertsSettings, channel_warnings, default_receiver

    settings = AlertsSettings.load()
    receivers: tuple[Receiver, ...] = (default_receiver(settings),)
    if settings.rules.exists():
        try:
            rules = read_rules(settings.rules)
        except RulesError as error:
            yield Finding(check="rules", level=Level.PROBLEM, sentence=f"{error}.")
            return
        receivers = rules.routing.receivers or receivers
        yield Finding(check="rules", level=Level.OK, sentence=f"{settings.rules} has {len(rules.rules)} valid rules.")
        for warning in rules.warnings:
            yield Finding(check="rules", level=Level.NOTE, sentence=f"{settings.rules}: {warning}.")
    else:
        yield Finding(check="rules", level=Level.OK, sentence=f"There is no {settings.rules}; the shipped default rules apply.")
    for warning in channel_warnings(settings, receivers):
        yield Finding(check="channels", level=Level.NOTE, sentence=f"{warning[0].upper()}{warning[1:]}.")


def check_database(settings: Settings) -> Generator[Finding, None, Engine | None]:
    """Whether it can be reached, and its schema; returns the engine where both are well."""
    from storage.engine import DatabaseUnavailable, create_engine
    from storage.migrate import schema_status

    if settings.database.startswith("sqlite:///") and not Path(settings.database.removeprefix("sqlite:///")).exists():
        sentence = "There is no database yet; `modelwatch up` and `modelwatch db upgrade` create it."
        yield Finding(check="database", level=Level.NOTE, sentence=sentence)
        return None
    try:
        engine = create_engine(settings.database)
        status = schema_status(engine)
    except DatabaseUnavailable as error:
        yield Finding(check="database", level=Level.PROBLEM, sentence=str(error))
        return None
    where = engine.url.render_as_string(hide_password=True)
    if status.state == "current":
        yield Finding(check="database", level=Level.OK, sentence=f"{where} is at schema {status.expected}.")
        return engine
    advice = "run `modelwatch db upgrade`" if status.state in ("older", "empty") else "install the modelwatch that made it"
    sentence = f"{where} is {status.state} (schema {status.found or 'none'}, expected {status.expected}); {advice}."
    engine.dispose()
    yield Finding(check="database", level=Level.PROBLEM, sentence=sentence)
    return None


def check_clock(engine: Engine) -> Finding:
    """Whether this machine and the database agree on the time: windows and alerts rest on it."""
    from storage.clock import database_now
    from storage.engine import reading

    if engine.dialect.name == "sqlite":
        year = now().year
        level, sentence = (
            (Level.OK, "The clock is plausible.") if year >= 2025 else (Level.PROBLEM, f"The clock says {year}; set it.")
        )
        return Finding(check="clock", level=level, sentence=sentence)
    with reading(engine) as connection:
        difference = abs((database_now(connection) - now()).total_seconds())
    sentence = f"The clocks of this machine and of the database differ by {difference:.1f} s"
    if difference > MOST_CLOCK_DIFFERENCE_SECONDS:
        return Finding(
            check="clock", level=Level.PROBLEM, sentence=f"{sentence}; synchronise them (NTP), or windows will miss rows."
        )
    return Finding(check="clock", level=Level.OK, sentence=f"{sentence}.")


def check_model_files(engine: Engine, folder: Path) -> Iterator[Finding]:
    """Whether the file of every version in use is there and is the one that was registered."""
    from storage.engine import reading
    from storage.registry import list_versions

    with reading(engine) as connection:
        versions = [version for version in list_versions(connection) if version.archived_at is None]
    wrong = 0
    for version in versions:
        path = folder / version.path
        problem = file_problem(path, version.digest)
        if problem is not None:
            wrong += 1
            sentence = (
                f"The file of version {version.version} of {version.model}, {path}, {problem}; restore it or register it again."
            )
            yield Finding(check="models", level=Level.PROBLEM, sentence=sentence)
    if not wrong:
        yield Finding(check="models", level=Level.OK, sentence=f"The files of {len(versions)} versions are there and unchanged.")


def file_problem(path: Path, digest: str) -> str | None:
    """Why a file is not the one with this SHA-256, or None."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == digest.removeprefix("sha256:") else "is not the file that was registered (its digest differs)"
