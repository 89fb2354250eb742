"""`modelwatch db`: the schema of the database, and how long what is in it is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import retention
from cli.output import print_fields, print_json
from cli.session import engine_of, plain_settings

app = typer.Typer(help="The database: its schema, archives, pruning.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: modelwatch db upgrade")
def upgrade() -> None:
    """Create the tables, or bring them to the schema of this version. Safe to repeat."""
    from storage.migrate import schema_status
    from storage.migrate import upgrade as upgrade_schema

    settings = plain_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    with engine_of(settings, check_schema=False) as engine:
        before = schema_status(engine)
        upgrade_schema(engine)
        after = schema_status(engine)
    print(f"The database is at schema {after.expected}" + (", as before." if before.state == "current" else "."))


@app.command(epilog="Example: modelwatch db status --json")
def status(json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say where the database is and whether its schema fits; exit 1 if it does not."""
    from storage.migrate import schema_status

    with engine_of(plain_settings(), check_schema=False) as engine:
        found = schema_status(engine)
    answer: dict[str, object] = {
        "database": engine.url.render_as_string(hide_password=True),
        "state": str(found.state),
        "found": found.found,
        "expected": found.expected,
    }
    if json:
        print_json(answer)
    else:
        print_fields(answer)
        if found.state in ("older", "empty"):
            print("Run `modelwatch db upgrade`.")
    if found.state != "current":
        raise typer.Exit(1)


retention.add_to(app)
