"""`modelwatch db archive | prune | recompute`: old predictions go, and counts are made again from what is left."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import UsageProblem
from cli.output import print_json, print_table, say
from cli.session import actor, engine_of, load_settings, now

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from collector.settings import CollectorSettings
    from storage.recompute import Recount
    from storage.retention import RawDay

Model = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Only this model.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def add_to(app: typer.Typer) -> None:
    """Hang the commands into the group `modelwatch db`."""
    app.command("archive", epilog="Example: modelwatch db archive --older-than 30d")(archive)
    app.command("prune", epilog="Example: modelwatch db prune --older-than 90d --yes")(prune)
    app.command("recompute", epilog="Example: modelwatch db recompute --model churn --since 7d")(recompute)


def archive(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Whole days that ended so long ago, for example 30d.")
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Folder of the files (default: MODELWATCH_RETENTION_FOLDER).")
    ] = None,
    model: Model = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which days would go.")] = False,
    json: Json = False,
) -> None:
    """Write old predictions and their labels to Parquet files, one per version and day, and delete them from the database."""
    from storage.archive import archive_day, remove_archived
    from storage.archived import unfinished as find_unfinished
    from storage.engine import reading

    settings = _settings()
    folder = to or settings.retention_folder
    with engine_of(settings) as engine:
        days = _days(engine, now() - _age(older_than), model)
        files: list[str] = []
        if not dry_run:
            with _keeper(engine) as keep:
                with reading(engine) as c:
                    unfinished = find_unfinished(c)
                for left in unfinished:
                    remove_archived(engine, left, now=now(), keep=keep)
                for day in days:
                    made = archive_day(engine, day, folder, now=now(), keep=keep)
                    files += [made.path] if made else []
                _record(engine, "archive", folder.resolve(), _sum(days))
    _report(days, json, "would go to" if dry_run else "went to", str(folder.resolve()), {"dry_run": dry_run, "files": files})


def prune(
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Whole days that ended so long ago.")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option("--max-bytes", metavar="SIZE", help="The oldest days, until the rest takes no more, for example 10GB."),
    ] = None,
    points: Annotated[
        bool, typer.Option("--points", help="Points of metrics that are denser than the settings keep them at their age.")
    ] = False,
    model: Model = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it the command only shows what would go.")] = False,
    json: Json = False,
) -> None:
    """Delete old predictions and their labels, or points of metrics, for ever. Shows what would go until you say --yes."""
    from storage.retention import over_budget, prune_day, prune_lonely_labels

    if [older_than is not None, max_bytes is not None, points].count(True) != 1:
        raise UsageProblem("Name one of --older-than, --max-bytes and --points.")
    settings = _settings()
    if points:
        if model is not None:
            raise UsageProblem("--points looks at all models; leave --model out.")
        _prune_points(settings, yes, json)
        return
    with engine_of(settings) as engine:
        before = now() - (_age(older_than) if older_than is not None else timedelta())
        days = _days(engine, before, model)
        if max_bytes is not None:
            days = over_budget(days, _size(max_bytes))
        lonely = 0
        if yes:
            with _keeper(engine) as keep:
                for day in days:
                    prune_day(engine, day, now=now(), keep=keep)
                if older_than is not None and model is None:
                    lonely = prune_lonely_labels(engine, before=before, keep=keep)
                _record(engine, "prune", older_than or max_bytes, _sum(days))
    done = "were deleted" if yes else "would be deleted; add --yes to do it"
    _report(days, json, done, "", {"dry_run": not yes, "labels_without_prediction": lonely})


def _prune_points(settings: CollectorSettings, yes: bool, json: bool) -> None:
    from storage.thinning import thin_points

    with engine_of(settings) as engine, _keeper(engine) as keep:
        found = thin_points(engine, settings.point_ages, now=now(), since=None, keep=keep, dry_run=not yes)
        if yes:
            _record(engine, "prune", "points", {"points": found})
    if json:
        print_json({"points": found, "dry_run": not yes})
    else:
        print(f"{found} points {'were deleted' if yes else 'would be deleted; add --yes to do it'}.")


def recompute(
    model: Model = None,
    version: Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Only this version of the model.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From the day of this time or age, for example 7d (default: all).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="To the day before this time or age.")] = None,
    from_archives: Annotated[bool, typer.Option("--from-archives", help="Also count what is in Parquet archives.")] = False,
    json: Json = False,
) -> None:
    """Make the counts of whole days again from predictions and labels, by version; days that lack predictions are left."""
    from storage.engine import reading
    from storage.recompute import days_to_recompute

    if version is not None and model is None:
        raise UsageProblem("--version needs --model.")
    settings, start, end = _settings(), _moment(since, datetime(1970, 1, 2, tzinfo=now().tzinfo)), _moment(until, now())
    done: list[Recount] = []
    left: list[str] = []
    with engine_of(settings) as engine:
        with reading(engine) as c:
            days = days_to_recompute(c, start, end, model=model, version=version)
        for name, number, day in days:
            _recompute_one(engine, settings, (name, number, day), from_archives, done, left)
    _report_recount(done, left, json)


def _recompute_one(
    engine: Engine,
    settings: CollectorSettings,
    part: tuple[str, str, datetime],
    from_archives: bool,
    done: list[Recount],
    left: list[str],
) -> None:
    from storage.archived import ArchiveError
    from storage.counting import MisfitRows
    from storage.recompute import DayIncomplete, recompute_day

    try:
        done.append(
            recompute_day(
                engine,
                *part,
                from_archives=from_archives,
                bucket_seconds=settings.rollup_seconds,
                segments=settings.segment_fields,
                scratch=settings.scratch_folder,
            )
        )
    except (DayIncomplete, ArchiveError, MisfitRows) as error:
        left.append(str(error))


# ---------------------------------------------------------------------------------------------- words and parts


def _settings() -> CollectorSettings:
    from collector.settings import CollectorSettings

    return load_settings(CollectorSettings)


def _days(engine: Engine, before: datetime, model: str | None) -> list[RawDay]:
    from cli.models import require_model
    from storage.engine import reading
    from storage.retention import raw_days

    with reading(engine) as c:
        if model is not None:
            require_model(c, model)
        return raw_days(c, before=before, model=model)


def _keeper(engine: Engine) -> Any:
    from storage.retention import sole_keeper

    return sole_keeper(engine, f"cli:{socket.gethostname()}:{os.getpid()}", now)


def _sum(days: list[RawDay]) -> dict[str, int]:
    return {"days": len(days), "predictions": sum(day.rows for day in days)}


def _record(engine: Engine, action: str, target: object, details: dict[str, int]) -> None:
    from storage import audit
    from storage.engine import writing
    from storage.records import AuditEntry

    entry = AuditEntry(at=now(), actor=actor(), action=f"db.{action}", target=str(target), reason="", details=details)
    with writing(engine) as c:
        audit.record(c, entry)


def _report(days: list[RawDay], json: bool, verb: str, where: str, more: dict[str, object]) -> None:
    rows, size = sum(day.rows for day in days), sum(day.size_bytes for day in days)
    if json:
        listed = [
            {"day": f"{day.day:%Y-%m-%d}", "model": day.model, "version": day.version, "rows": day.rows, "bytes": day.size_bytes}
            for day in days
        ]
        print_json({"rows": rows, "bytes": size, "days": listed, **more})
        return
    table = [[f"{day.day:%Y-%m-%d}", day.model, day.version, day.rows, _human(day.size_bytes)] for day in days]
    print_table(("day", "model", "version", "predictions", "about"), table, empty="No whole day is that old.")
    if days:
        print(f"\n{rows} predictions, about {_human(size)}, {verb}{' ' + where if where else ''}.")


def _report_recount(done: list[Recount], left: list[str], json: bool) -> None:
    if json:
        listed = [
            {"day": f"{x.day:%Y-%m-%d}", "model": x.model, "version": x.version, "predictions": x.predictions, "labels": x.labels}
            for x in done
        ]
        print_json({"days": listed, "left": left})
    else:
        rows = [[f"{x.day:%Y-%m-%d}", x.model, x.version, x.predictions, x.labels] for x in done]
        print_table(("day", "model", "version", "predictions", "labels"), rows, empty="No day was counted again.")
        for sentence in left:
            say(f"Left as it was: {sentence}")
    if left:
        raise typer.Exit(1)


def _human(size: int) -> str:
    from pydantic import ByteSize

    return ByteSize(size).human_readable(separator=" ")


def _size(text: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        raise UsageProblem(f"--max-bytes {text} is not a size; write for example 10GB.") from None


def _age(text: str) -> timedelta:
    from storage.durations import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageProblem(f"--older-than: {error}.") from None


def _moment(text: str | None, default: datetime) -> datetime:
    from cli.comparison import parse_since
    from storage.resolution import DAY, floor_time

    return default if text is None else floor_time(parse_since(text, now()), DAY)
