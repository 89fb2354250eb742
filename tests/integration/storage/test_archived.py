"""Reading archives with DuckDB: by time, each prediction once, within bounds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import archived
from storage.archive import SCHEMA
from storage.archived import END, START, Archive, ArchiveError, check, digest_of, open_archives
from tests.factories import NOW, at


def make_archive(path: Path, ids: list[str], *, number: int = 1, label: str | None = None) -> Archive:
    """A file with one prediction a second, all with the same label."""
    same: dict[str, Any] = {"version": "2", "features": "[42.5, 1]", "prediction": "yes", "label": label}
    same |= {"label_received_at": at(1000 + number) if label else None}
    rows = [dict.fromkeys(SCHEMA.names) | same | {"id": row, "at": at(place)} for place, row in enumerate(ids)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return Archive(
        id=number,
        model="churn",
        version="1",
        day=NOW,
        path=str(path),
        digest=digest_of(path),
        rows=len(rows),
        labels=len(rows) if label else 0,
        size_bytes=path.stat().st_size,
        created_at=NOW,
        removed_at=None,
    )


def read(*found: Archive, without: list[str] | None = None) -> list[tuple[str, str | None]]:
    with open_archives(found) as reader:
        reader.leave_out(without or [])
        batches = list(reader.batches(["id", "label"]))
    return [(row["id"], row["label"]) for batch in batches for row in batch.to_pylist()]


def test_rows_of_a_time_are_read_in_its_order(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.parquet", [f"p{n}" for n in range(10)])

    with open_archives([archive]) as reader:
        batches = list(reader.batches(["at", "id"], at(3), at(6)))

    assert [row for batch in batches for row in batch.to_pylist()] == [{"at": at(n), "id": f"p{n}"} for n in (3, 4, 5)]


def test_a_prediction_in_several_files_is_read_from_the_first_with_its_label(tmp_path: Path) -> None:
    old = make_archive(tmp_path / "z.parquet", ["a", "b", "c"], number=1)
    middle = make_archive(tmp_path / "m.parquet", ["b", "d"], number=2, label="yes")
    new = make_archive(tmp_path / "a.parquet", ["b", "c", "d", "e"], number=3, label="no")
    last = make_archive(tmp_path / "b.parquet", ["a", "e"], number=4)

    found = read(old, last, new, middle)

    assert found == [("a", None), ("b", "yes"), ("d", "yes"), ("c", "no"), ("e", "no")]


def test_what_the_database_has_is_left_out(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.parquet", ["a", "b", "c"])

    assert read(archive, without=["b", "nobody"]) == [("a", None), ("c", None)]
    assert read(archive, without=["a", "b", "c"]) == []


def test_the_first_label_of_a_prediction_is_the_label(tmp_path: Path) -> None:
    first = make_archive(tmp_path / "a.parquet", ["a", "b"], number=1, label="yes")
    second = make_archive(tmp_path / "b.parquet", ["b", "c"], number=2, label="no")
    none = make_archive(tmp_path / "c.parquet", ["d"], number=3)

    with open_archives([second, none, first]) as reader:
        found = reader.labels(["b", "c", "d", "nobody"])

    assert found == {"b": ("yes", at(1001)), "c": ("no", at(1002))}


@pytest.mark.parametrize("name", ["it's", "a*", "[ab]", "über 数", "a?b", "a'; DROP TABLE given; --"])
def test_the_name_of_a_folder_is_only_a_name(tmp_path: Path, name: str) -> None:
    archive = make_archive(tmp_path / name / "day.parquet", ["a"])
    make_archive(tmp_path / "ab" / "day.parquet", ["decoy"])

    assert read(archive) == [("a", None)]


def test_nothing_else_can_be_read_and_nothing_is_fetched(tmp_path: Path) -> None:
    archive, other = (make_archive(tmp_path / f"{name}.parquet", [name]) for name in "ab")

    with open_archives([archive], tmp_path / "scratch") as reader:
        for forbidden in (other.path, "/etc/passwd", "https://example.com/a.parquet"):
            with pytest.raises(Exception, match="disabled by configuration"):
                reader.database.execute("SELECT * FROM read_text(?)", [forbidden])
        for statement in ("SET memory_limit = '64GB'", "INSTALL httpfs", "SET autoload_known_extensions = true"):
            with pytest.raises(Exception, match=r"locked|disabled"):
                reader.database.execute(statement)
        known = dict(
            reader.database.execute(
                "SELECT name, value FROM duckdb_settings() WHERE name IN ('memory_limit', 'threads', 'temp_directory')"
            ).fetchall()
        )

    room = Path(known.pop("temp_directory"))
    assert known == {"memory_limit": "244.1 MiB", "threads": "1"}
    assert room.parent == tmp_path / "scratch"
    assert not room.exists()


def test_what_does_not_fit_into_memory_goes_to_the_scratch_folder_and_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(archived.OFFLINE, "memory_limit", "32MB")
    ids = [f"{number:064x}" for number in range(300_000)]
    archives = [make_archive(tmp_path / f"{name}.parquet", ids, number=name) for name in range(2)]

    with open_archives(archives, tmp_path / "scratch") as reader:
        rows = sum(batch.num_rows for batch in reader.batches(["id"], START, END))
        spilled = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]

    assert rows == len(ids)
    assert spilled
    assert list((tmp_path / "scratch").iterdir()) == []
    with (
        open_archives(archives) as reader,
        pytest.raises(ArchiveError, match=r"The archive .*parquet cannot be read \(Out of Memory"),
    ):
        list(reader.batches(["id"]))


def test_what_a_process_that_died_left_in_the_scratch_folder_goes_after_a_day(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.parquet", ["a"])
    old, fresh = (tmp_path / "scratch" / name for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))

    with open_archives([archive], tmp_path / "scratch"):
        pass

    assert (old.exists(), fresh.exists()) == (False, True)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.parquet", ["a"])
    Path(archive.path).write_text("not at all")

    with pytest.raises(ArchiveError, match=r"a\.parquet was changed or damaged"):
        check(archive)
    with pytest.raises(ArchiveError, match=r"a\.parquet was changed or damaged"):
        read(archive)


def test_a_file_that_is_damaged_while_it_is_read_is_named(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.parquet", ["a"])

    with open_archives([archive]) as reader:
        Path(archive.path).write_text("not at all")
        with pytest.raises(ArchiveError, match=r"The archive .*a\.parquet cannot be read"):
            list(reader.batches(["id"], NOW - timedelta(days=1), NOW))


def test_the_documented_query_of_archives_runs(tmp_path: Path) -> None:
    """The block of docs/operations.md, on a day that was archived twice."""
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(import duckdb.*?)```", text, re.DOTALL)
    assert block is not None
    for number, label in enumerate([None, "yes"], start=1):
        make_archive(
            tmp_path / f"archive/churn/2/2026-03-0{number}-x.parquet", ["a", "b"][: 3 - number], number=number, label=label
        )

    ran = subprocess.run([sys.executable, "-c", block[1]], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ran.stdout.splitlines() if line.startswith("│ 2026")]
    assert rows == [["2026-03-02", "2", "2", "1", "1.0", "42.5"]]
