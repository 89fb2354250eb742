"""`modelwatch keys`: API keys of the inference service."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.errors import CommandError, UsageProblem
from cli.output import print_json, print_table
from cli.session import actor, now, read_database, write_database

app = typer.Typer(help="API keys of the inference service.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: modelwatch keys create --scope predict --note 'checkout service'")
def create(
    scope: Annotated[str, typer.Option(help="predict, read or admin; each includes the ones before it.")],
    note: Annotated[str, typer.Option(help="Who or what uses the key.")] = "",
) -> None:
    """Create a key and print it once; only its hash is stored."""
    from storage import audit
    from storage.keys import create_key
    from storage.records import AuditEntry, Scope

    if scope not in list(Scope):
        raise UsageProblem(f"--scope {scope} is not one of {', '.join(Scope)}.")
    with write_database() as connection:
        key = create_key(connection, Scope(scope), note, now())
        entry = AuditEntry(at=now(), actor=actor(), action="create key", target=key.rsplit("_", 1)[0], reason=note)
        audit.record(connection, entry)
    print(key)


@app.command("list", epilog="Example: modelwatch keys list")
def list_(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """List all keys, revoked ones included; secrets are not stored and not shown."""
    from storage.keys import list_keys

    with read_database() as connection:
        keys = list_keys(connection)
    fields = ("id", "scope", "note", "created_at", "revoked_at")
    if json:
        print_json([{field: getattr(key, field) for field in fields} for key in keys])
        return
    print_table(fields, [[getattr(key, field) for field in fields] for key in keys], empty="There are no keys.")


@app.command(epilog="Example: modelwatch keys revoke 3fa4c1")
def revoke(id: Annotated[str, typer.Argument(metavar="ID", help="As `modelwatch keys list` shows it.")]) -> None:  # noqa: A002 - the name users see
    """Make a key useless from now on."""
    from storage import audit
    from storage import keys as stored
    from storage.records import AuditEntry

    with write_database() as connection:
        if not stored.revoke(connection, id, now()):
            raise CommandError(f"There is no active key {id}; `modelwatch keys list` shows all keys.")
        audit.record(connection, AuditEntry(at=now(), actor=actor(), action="revoke key", target=id))
    print(f"Key {id} is revoked.")
