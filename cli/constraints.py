"""`modelwatch models constraints` and `modelwatch models check`: what rows may hold, as a file, and a table against it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, UsageProblem
from cli.models import Json, ModelName, Reason, VersionName, require_version
from cli.output import print_json, print_table
from cli.session import actor, now, read_database, write_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from collector.statistics.quality import Finding
    from storage.constraints import Constraints
    from storage.records import Layout, Profile, Version


class FileFormat(StrEnum):
    """How an exported file is written."""

    YAML = "yaml"
    JSON = "json"
    SAGEMAKER_CONSTRAINTS = "sagemaker-constraints"
    SAGEMAKER_STATISTICS = "sagemaker-statistics"


def add_to(app: typer.Typer) -> None:
    """Hang the commands into those of the registry."""
    app.command("constraints", epilog="Example: modelwatch models constraints churn 2 --export churn-2.yml")(constraints)
    app.command("check", epilog="Example: modelwatch models check churn 2 today.csv --json")(check)


def constraints(
    name: ModelName,
    version: VersionName,
    export: Annotated[Path | None, typer.Option("--export", help="Write them to this file instead of standard output.")] = None,
    import_: Annotated[
        Path | None,
        typer.Option("--import", help="Take them from this file: YAML, JSON, or SageMaker's constraints.json or statistics.json."),
    ] = None,
    format: Annotated[  # noqa: A002 - the name users see
        FileFormat, typer.Option(help="How they are written.")
    ] = FileFormat.YAML,
    reason: Reason = "",
) -> None:
    """Show, export or import what data quality holds the rows of a version against."""
    if import_ is not None:
        if export is not None:
            raise UsageProblem("Give either --export or --import, not both.")
        _import(name, version, import_, reason)
        return
    with read_database() as connection:
        held = _load(connection, name, version)
    text = _text(held, format)
    if export is None:
        print(text, end="")
        return
    try:
        export.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{export} cannot be written ({error.strerror}).") from error
    print(f"The constraints of version {version} of {name} are in {export}.")


def check(
    name: ModelName,
    version: VersionName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet with rows for the model.")],
    json: Json = False,
) -> None:
    """Hold a table against the constraints of a version; exit 1 where it violates any."""
    from collector.statistics.quality import check_batch
    from storage.samples import plain_columns
    from storage.tables import read_table

    with read_database() as connection:
        held = _load(connection, name, version)
    signature = held.version.signature
    unchecked = {signature.target, *signature.names} - set(held.constraints.features)
    columns = {column: values for column, values in plain_columns(read_table(file)).items() if column not in unchecked}
    findings = check_batch(held.constraints, columns)
    broken = [finding for finding in findings if finding.is_violation]
    if json:
        print_json(
            {"rows": len(next(iter(columns.values()), ())), "violations": len(broken), "findings": [_json(f) for f in findings]}
        )
    else:
        print_table(
            ("feature", "check", "observed", "limit", "values"),
            [[f.feature or "(rows)", f.check, f.observed, f.limit, f.n] for f in broken],
            empty=f"{file} meets the constraints of version {version} of {name}.",
        )
    if broken:
        raise typer.Exit(1)


# ---------------------------------------------------------------------------------------------- what is held


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A version with its reference and its constraints: the stored ones, or those that the reference teaches."""

    version: Version
    layout: Layout
    profile: Profile
    sample: dict[str, list[Any]]
    constraints: Constraints


def _load(connection: Connection, name: str, version: str) -> _Held:
    from storage import profiles, registry, samples
    from storage.constraints import constraints_of

    registered = require_version(connection, name, version)
    layout = registry.LayoutLookup(connection)(name, version)
    profile = profiles.load_profile(connection, name, version, layout)
    if profile is None:
        raise CommandError(f"Version {version} of {name} has no reference to learn constraints from.")
    sample = samples.reference_columns(profile)
    rows = list(zip(*(sample[feature] for feature in registered.signature.names), strict=True)) if sample else []
    found = constraints_of(profile.constraints, registered.signature, layout, profile.counts, rows)
    return _Held(version=registered, layout=layout, profile=profile, sample=sample, constraints=found)


def _text(held: _Held, form: FileFormat) -> str:
    import json

    from storage import sagemaker
    from storage.constraint_files import constraints_text

    if form is FileFormat.YAML:
        return constraints_text(held.constraints, held.version.model, held.version.version)
    if form is FileFormat.JSON:
        return held.constraints.model_dump_json(indent=2) + "\n"
    if form is FileFormat.SAGEMAKER_CONSTRAINTS:
        document = sagemaker.constraints_document(held.constraints)
    else:
        document = sagemaker.statistics_document(held.constraints, held.layout, held.profile.counts, held.sample)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# ---------------------------------------------------------------------------------------------- importing


def _import(name: str, version: str, file: Path, reason: str) -> None:
    from storage import audit, profiles
    from storage.records import AuditEntry

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandError(f"{file} cannot be read ({why}).") from error
    with write_database() as connection:
        held = _load(connection, name, version)
        found = _parse(text, held)
        changed = [feature for feature, said in found.features.items() if said != held.constraints.features.get(feature)]
        profiles.save_constraints(connection, name, version, found.model_dump(mode="json"))
        details = {"file": file.name, "changed": changed}
        entry = AuditEntry(
            at=now(), actor=actor(), action="import constraints", target=f"{name}/{version}", reason=reason, details=details
        )
        audit.record(connection, entry)
    print(f"The constraints of version {version} of {name} are those of {file}; features changed: {', '.join(changed) or 'none'}.")


def _parse(text: str, held: _Held) -> Constraints:
    """Told apart by their content: SageMaker lists its features, our own files map them."""
    import json

    from storage import sagemaker
    from storage.constraint_files import parse_constraints

    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict) and sagemaker.is_statistics(document):
        return sagemaker.with_statistics_document(held.constraints, document)
    if isinstance(document, dict) and sagemaker.is_constraints(document):
        return sagemaker.with_constraints_document(held.constraints, document)
    return parse_constraints(text, held.version.signature.names)


def _json(finding: Finding) -> dict[str, object]:
    return {
        "feature": finding.feature,
        "check": str(finding.check),
        "observed": finding.observed,
        "limit": finding.limit,
        "n": finding.n,
        "verdict": str(finding.verdict),
    }
