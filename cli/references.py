"""`modelwatch references`: what else than its training data a model's traffic is held against, and which times it must not be."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, UsageProblem
from cli.output import print_json, print_table
from cli.session import actor, now, read_database, write_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.records import Exclusion, ModelReference, ReferenceKind

app = typer.Typer(help="What a model's traffic is held against.", no_args_is_help=True, rich_markup_mode=None)
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list", epilog="Example: modelwatch references list churn")
def list_(model: ModelName, json: Json = False) -> None:
    """List a model's references and the times that belong to none."""
    from cli.models import require_model
    from storage.references import exclusions_of, references_of

    with read_database() as connection:
        require_model(connection, model)
        references, exclusions = references_of(connection, model), exclusions_of(connection, model)
    if json:
        print_json({"references": [reference_json(one) for one in references], "exclusions": list(map(exclusion_json, exclusions))})
        return
    rows = [("training", "the data that a version was registered with"), *((one.name, describe(one)) for one in references)]
    print_table(("reference", "what it is"), rows, empty="")
    if exclusions:
        print()
        print_table(("id", "excluded from", "to", "reason"), [(e.id, e.start, e.end, e.reason) for e in exclusions], empty="")


@app.command(epilog="Example: modelwatch references add churn last-weeks --kind same-hours --weeks 4")
def add(
    model: ModelName,
    name: Annotated[str, typer.Argument(metavar="REFERENCE", help="How its points are called: segment reference=REFERENCE.")],
    kind: Annotated[str, typer.Option(help="pinned, previous, sliding, same-hours or other-arm.")],
    start: Annotated[str | None, typer.Option(help="Where a pinned period begins, as 2026-11-01 or 2026-11-01T10:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option(help="Where a pinned period ends.")] = None,
    length: Annotated[str | None, typer.Option(help="How long a sliding reference is, such as 7d.")] = None,
    gap: Annotated[str | None, typer.Option(help="How far before the window a sliding reference ends, such as 1d.")] = None,
    weeks: Annotated[int | None, typer.Option(help="How many weeks back same-hours goes.")] = None,
) -> None:
    """Hold a model's windows against a further reference, from the next window on."""
    from cli.models import require_model
    from storage.references import add_reference

    reference = parse_reference(model, name, kind, start=start, end=end, length=length, gap=gap, weeks=weeks, at=now())
    with write_database() as connection:
        require_model(connection, model)
        if not add_reference(connection, reference):
            raise CommandError(f"{model} has a reference {name} already; remove it first, or take another name.")
        _record(connection, "add reference", f"{model}/{name}", describe(reference))
    print(f"Windows of {model} are held against {name} too: {describe(reference)}.")


@app.command(epilog="Example: modelwatch references remove churn last-weeks")
def remove(model: ModelName, name: Annotated[str, typer.Argument(metavar="REFERENCE", help="Its name.")]) -> None:
    """Stop holding a model's windows against a reference; the points that were computed stay."""
    from storage.references import remove_reference

    with write_database() as connection:
        if not remove_reference(connection, model, name):
            raise CommandError(f"{model} has no reference {name}; `modelwatch references list {model}` lists them.")
        _record(connection, "remove reference", f"{model}/{name}", "")
    print(f"Removed {name} of {model}.")


@app.command(epilog="Example: modelwatch references exclude churn 2026-11-03T10:00 2026-11-03T16:00 --reason 'upstream outage'")
def exclude(
    model: ModelName,
    start: Annotated[str, typer.Argument(metavar="START", help="From when, UTC where nothing else is said.")],
    end: Annotated[str, typer.Argument(metavar="END", help="To when.")],
    reason: Annotated[str, typer.Option(help="Why; kept with it.")] = "",
) -> None:
    """Keep a time out of every reference of a model that is made of its traffic."""
    from cli.models import require_model
    from storage.records import Exclusion
    from storage.references import exclude as store

    first, last = parse_period(start, end)
    with write_database() as connection:
        require_model(connection, model)
        exclusion = Exclusion(model=model, start=first, end=last, reason=reason, created_at=now(), created_by=actor())
        number = store(connection, exclusion)
        _record(connection, "exclude from references", model, reason)
    print(f"Excluded as number {number}; `modelwatch references include {number}` takes it back.")


@app.command(epilog="Example: modelwatch references include 3")
def include(number: Annotated[int, typer.Argument(metavar="ID", help="As `references list` shows it.")]) -> None:
    """Take an exclusion back."""
    from storage.references import include as remove_exclusion

    with write_database() as connection:
        if not remove_exclusion(connection, number):
            raise CommandError(f"There is no exclusion {number}; `modelwatch references list NAME` lists those of a model.")
        _record(connection, "include in references", str(number), "")
    print(f"Exclusion {number} is taken back.")


def parse_reference(
    model: str,
    name: str,
    kind: str,
    *,
    start: str | None,
    end: str | None,
    length: str | None,
    gap: str | None,
    weeks: int | None,
    at: datetime,
) -> ModelReference:
    """The reference that the options describe. Raises UsageProblem where they do not fit together."""
    from storage.records import ModelReference, ReferenceKind

    if not name or name == "training" or not name.isprintable() or set(name) & set(",="):
        raise UsageProblem(f"{name!r} is no name for a reference; use letters and digits, and not the word training.")
    chosen = _kind(kind)
    given = {"start": start, "end": end, "length": length, "gap": gap, "weeks": weeks}
    _check_options(chosen, {option for option, value in given.items() if value is not None})
    period = parse_period(start, end) if start and end else (None, None)
    if chosen is ReferenceKind.SAME_HOURS and not 1 <= (weeks or 0) <= 53:
        raise UsageProblem(f"--weeks {weeks} is not between 1 and 53.")
    return ModelReference(
        model=model,
        name=name,
        kind=chosen,
        start=period[0],
        end=period[1],
        length_seconds=_seconds("--length", length),
        gap_seconds=_seconds("--gap", gap),
        weeks=weeks or 0,
        created_at=at,
        created_by=actor(),
    )


def _kind(text: str) -> ReferenceKind:
    from storage.records import ReferenceKind

    try:
        return ReferenceKind(text)
    except ValueError:
        raise UsageProblem(f"--kind {text} is not one of {', '.join(ReferenceKind)}.") from None


def _check_options(kind: ReferenceKind, given: set[str]) -> None:
    needed = {"pinned": {"start", "end"}, "sliding": {"length"}, "same-hours": {"weeks"}}.get(kind, set())
    possible = needed | ({"gap"} if kind == "sliding" else set())
    if missing := sorted(needed - given):
        raise UsageProblem(f"--kind {kind} needs --{' and --'.join(missing)}.")
    if beyond := sorted(given - possible):
        raise UsageProblem(f"--kind {kind} takes no --{' and no --'.join(beyond)}.")


def _seconds(option: str, text: str | None) -> int:
    from storage.durations import parse_duration

    if text is None:
        return 0
    try:
        seconds = round(parse_duration(text).total_seconds())
    except ValueError as error:
        raise UsageProblem(f"{option}: {error}.") from None
    if option == "--length" and seconds <= 0:
        raise UsageProblem(f"{option} {text} is no time at all.")
    return seconds


def parse_period(start: str, end: str) -> tuple[datetime, datetime]:
    """Two moments in order. Raises UsageProblem."""
    from datetime import UTC

    moments = []
    for text in (start, end):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise UsageProblem(f"{text} is not a time; write 2026-11-01 or 2026-11-01T10:00:00Z.") from None
        moments.append(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
    if moments[0] >= moments[1]:
        raise UsageProblem(f"{start} is not before {end}.")
    return moments[0], moments[1]


def describe(reference: ModelReference) -> str:
    """The reference in a few words."""
    from datetime import timedelta

    from cli.output import cell
    from storage.durations import format_duration

    length, gap = (format_duration(timedelta(seconds=s)) for s in (reference.length_seconds, reference.gap_seconds))
    match reference.kind:
        case "pinned":
            return f"what it answered from {cell(reference.start)} to {cell(reference.end)}"
        case "previous":
            return "the time right before the window, as long as the window"
        case "sliding":
            return f"the {length} that end {gap} before the window" if reference.gap_seconds else f"the {length} before the window"
        case "same-hours":
            return f"the window's hours in each of the {reference.weeks} weeks before"
    return "what the other version of the deployment answered in the window"


def reference_json(reference: ModelReference) -> dict[str, object]:
    return {
        "name": reference.name,
        "kind": str(reference.kind),
        "start": reference.start,
        "end": reference.end,
        "length_seconds": reference.length_seconds,
        "gap_seconds": reference.gap_seconds,
        "weeks": reference.weeks,
        "created_at": reference.created_at,
        "created_by": reference.created_by,
    }


def exclusion_json(exclusion: Exclusion) -> dict[str, object]:
    return {"id": exclusion.id, "start": exclusion.start, "end": exclusion.end, "reason": exclusion.reason}


def _record(connection: Connection, action: str, target: str, reason: str) -> None:
    from storage import audit
    from storage.records import AuditEntry

    audit.record(connection, AuditEntry(at=now(), actor=actor(), action=action, target=target, reason=reason))
