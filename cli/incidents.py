"""`modelwatch alerts ack`, `silence` and the like: what people do about incidents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from cli.errors import CommandError, UsageProblem
from cli.output import label_text, print_json, print_table
from cli.session import actor, now, read_database, write_database

T = TypeVar("T")

app = typer.Typer()
"""Its commands are those of ``modelwatch alerts``."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str, typer.Option("--by", help="Who does it (the default: the user of this machine).")]


@app.command(epilog="Example: modelwatch alerts incidents --all")
def incidents(
    every: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    json: Json = False,
) -> None:
    """List the incidents: alerts that people are told of together."""
    from alerts.http import incident_json
    from storage import incidents as stored

    with read_database() as connection:
        found = stored.list_incidents(connection) if every else stored.load_open(connection)[::-1]
    if json:
        print_json([incident_json(incident) for incident in found])
        return
    print_table(
        ("id", "incident", "since", "receiver", "messages", "acknowledged by", "over"),
        [(one.id, one.title, one.opened_at, one.receiver, one.number, one.acked_by, one.closed_at) for one in found],
        empty="There are no incidents." if every else "No incident is open; --all shows the others.",
    )


@app.command(epilog='Example: modelwatch alerts ack 7 --note "rolling back"')
def ack(
    incident: Annotated[int, typer.Argument(metavar="ID", help="The incident.")],
    note: Annotated[str, typer.Option(help="What others should know.")] = "",
    by: By = "",
) -> None:
    """Take care of an incident: it is not repeated and not escalated any more."""
    from alerts import operations

    with write_database() as connection:
        found = _possible(lambda: operations.acknowledge(connection, incident, by=by or actor(), note=note, now=now()))
    print(f"Incident {found.id} ({found.title}) is acknowledged by {found.acked_by}.")


@app.command(epilog="Example: modelwatch alerts silence model=churn feature='income*' --for 2h --comment \"backfill\"")
def silence(
    matchers: Annotated[list[str], typer.Argument(metavar="LABEL=PATTERN…", help="All have to match; `alert` is the rule's name.")],
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 2h.")],
    comment: Annotated[str, typer.Option(help="Why.")],
    by: By = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be hidden.")] = False,
    json: Json = False,
) -> None:
    """Tell nobody of matching alerts for a while; show which of the present ones that hides."""
    from alerts import operations
    from alerts.http import silence_json
    from storage.durations import parse_duration
    from storage.matchers import Matchers

    wanted = _possible(lambda: operations.parse_matchers(matchers))
    try:
        length = parse_duration(lasts)
    except ValueError as error:
        raise UsageProblem(f"--for: {error}.") from error
    with write_database() as connection:
        hidden = operations.preview(connection, Matchers.of(wanted))
        if dry_run:
            made = None
        else:
            made = _possible(
                lambda: operations.silence(connection, wanted, lasts=length, by=by or actor(), comment=comment, now=now())
            )
    if json:
        content = {"silence": silence_json(made) if made else None, "hidden": [alert.fingerprint for alert in hidden.hidden]}
        print_json(content | {"others": hidden.others})
        return
    print_table(
        ("rule", "labels", "state"),
        [(alert.rule, label_text(alert.labels), alert.state) for alert in hidden.hidden],
        empty="It hides no alert that is active now.",
    )
    print(f"{hidden.others} other active alerts are not hidden.")
    if made is not None:
        print(
            f"Silence {made.id} holds until {made.ends_at:%Y-%m-%d %H:%M:%S} UTC; `modelwatch alerts unsilence {made.id}` ends it."
        )


@app.command(epilog="Example: modelwatch alerts silences")
def silences(
    every: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    json: Json = False,
) -> None:
    """List the silences in force or to come."""
    from alerts.http import silence_json
    from storage import silences as stored
    from storage.matchers import Matchers

    with read_database() as connection:
        found = stored.list_silences(connection, since=None if every else now())
    if json:
        print_json([silence_json(one) for one in found])
        return
    rows = [(one.id, Matchers.of(one.matchers), one.starts_at, one.ends_at, one.author, one.comment, one.ended_by) for one in found]
    print_table(
        ("id", "hides", "from", "until", "by", "why", "ended by"),
        rows,
        empty="There are no silences." if every else "No silence is in force; --all shows the others.",
    )


@app.command(epilog="Example: modelwatch alerts unsilence 3")
def unsilence(number: Annotated[int, typer.Argument(metavar="ID", help="The silence.")], by: By = "") -> None:
    """End a silence now."""
    from alerts import operations

    with write_database() as connection:
        ended = _possible(lambda: operations.unsilence(connection, number, by=by or actor(), now=now()))
    print(f"Silence {ended.id} is over.")


@app.command("actions", epilog="Example: modelwatch alerts actions --json")
def actions_(json: Json = False) -> None:
    """List what alerts wanted done, and what became of it."""
    from storage import actions as stored

    with read_database() as connection:
        found = stored.list_actions(connection)
    if json:
        print_json([{name: getattr(one, name) for name in one.__dataclass_fields__} for one in found])
        return
    print_table(
        ("id", "what", "model", "state", "since", "agreed to by", "result"),
        [(one.id, one.what, one.model, one.state, one.created_at, one.decided_by, one.result) for one in found],
        empty="No alert has wanted anything done.",
    )


@app.command(epilog="Example: modelwatch alerts confirm 4")
def confirm(action: Annotated[int, typer.Argument(metavar="ID", help="The action.")], by: By = "") -> None:
    """Agree to an action that waits for somebody; the alerts service does it."""
    _decide(action, by, agree=True)


@app.command(epilog="Example: modelwatch alerts refuse 4")
def refuse(action: Annotated[int, typer.Argument(metavar="ID", help="The action.")], by: By = "") -> None:
    """Refuse an action that waits for somebody."""
    _decide(action, by, agree=False)


def _decide(action: int, by: str, *, agree: bool) -> None:
    from alerts import operations

    with write_database() as connection:
        found = _possible(lambda: operations.decide(connection, action, confirm=agree, by=by or actor(), now=now()))
    print(f"Action {found.id} ({found.what} of {found.model or 'no model'}) is {found.state.value} by {found.decided_by}.")


def _possible(work: Callable[[], T]) -> T:
    """The result, or the sentence that says why not as this command's error."""
    from alerts.operations import NotPossible

    try:
        return work()
    except NotPossible as error:
        raise CommandError(str(error)) from error
