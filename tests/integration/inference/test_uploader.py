"""From spool folders into real databases: every record once, bad ones kept aside, an outage waited for."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import random
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text

from inference import spool_folder
from inference.segments import SegmentName, frame, segment_head
from inference.spool import Spool, open_worker_spool
from inference.upload_status import UploadStatus, read_status, write_status
from storage.engine import create_engine, reading, writing
from storage.predictions import get_prediction
from storage.schema import predictions, rollups, spools
from tests.factories import NOW, register_model
from tests.integration.inference.spooled import (
    assert_exactly_once,
    make_uploader,
    payload,
    stored_ids,
    upload_all,
)


@pytest.fixture
def root(home: Path) -> Path:
    return home / "spool"


@pytest.fixture
def registered(engine: Engine) -> Engine:
    """A database that knows version 1 of churn."""
    with writing(engine) as c:
        register_model(c)
    return engine


@pytest.fixture
def spool(root: Path) -> Iterator[Spool]:
    spool = open_worker_spool(root, free_floor=0)
    yield spool
    spool.close()


def quarantined(root: Path) -> list[dict[str, object]]:
    """The lines of all quarantine files."""
    return [json.loads(line) for path in sorted(root.glob("*/quarantine/*.jsonl")) for line in path.read_text().splitlines()]


def test_record_becomes_rows_and_counts(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a", "b", subject="user-7", segment="country=de", warnings={1: ["odd"]}), records=2)

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.duplicates, report.quarantined, report.hindrance) == (2, 0, 0, None)
    assert_exactly_once(registered, ["a", "b"])
    with reading(registered) as c:
        stored = get_prediction(c, "b")
    assert stored is not None
    assert (stored.row.subject, stored.row.segment, stored.row.warnings, stored.row.at) == ("user-7", "country=de", '["odd"]', NOW)


def test_what_is_appended_later_follows(registered: Engine, root: Path, spool: Spool) -> None:
    uploader = make_uploader(registered, root)

    for number in range(5):
        spool.append(payload(f"p{number}"))
        assert uploader.step(NOW).inserted == 1

    assert uploader.step(NOW).is_idle
    assert_exactly_once(registered, [f"p{number}" for number in range(5)])


def test_all_folders_are_uploaded_whether_their_writers_live_or_not(registered: Engine, root: Path, spool: Spool) -> None:
    second = open_worker_spool(root, free_floor=0)
    spool.append(payload("living"))
    second.append(payload("dead"))
    second.close()

    upload_all(make_uploader(registered, root))

    assert_exactly_once(registered, ["living", "dead"])
    assert spool_folder.segment_names(root / "1") == []


def test_segments_are_unlinked_when_stored(registered: Engine, root: Path) -> None:
    spool = Spool.open(root / "0", segment_bytes=2000, free_floor=0)
    ids = [f"p{number}" for number in range(200)]
    for prediction_id in ids:
        spool.append(payload(prediction_id))
    assert len(spool_folder.segment_names(root / "0")) > 10

    uploader = make_uploader(registered, root)
    upload_all(uploader)
    assert len(spool_folder.segment_names(root / "0")) == 1
    spool.close()
    upload_all(uploader)

    assert_exactly_once(registered, ids)
    assert spool_folder.segment_names(root / "0") == []


def test_next_uploader_goes_on_where_the_last_one_was(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("first"))
    upload_all(make_uploader(registered, root))
    spool.append(payload("second"))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.duplicates) == (1, 0)
    assert_exactly_once(registered, ["first", "second"])


def test_lost_position_costs_duplicates_and_no_counts(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a", "b"))
    upload_all(make_uploader(registered, root))
    with writing(registered) as c:
        c.execute(spools.delete())

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.duplicates) == (0, 2)
    assert_exactly_once(registered, ["a", "b"])


def test_first_of_two_contents_with_one_id_stays(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a", predictions=["yes"]))
    spool.append(payload("a", predictions=["no"]))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.duplicates) == (1, 1)
    assert_exactly_once(registered, ["a"])
    with reading(registered) as c:
        assert c.scalar(select(predictions.c.prediction)) == "yes"


def test_large_batches_are_divided_and_complete(registered: Engine, root: Path, spool: Spool) -> None:
    ids = [f"p{number:05d}" for number in range(12_000)]
    spool.append(payload(*ids[:7000]), records=7000)
    for start in range(7000, 12_000, 100):
        spool.append(payload(*ids[start : start + 100]), records=100)

    upload_all(make_uploader(registered, root))

    assert_exactly_once(registered, ids)


def test_folder_in_use_before_the_clock_went_back_is_uploaded(registered: Engine, root: Path) -> None:
    """A segment that sorts before the stored position is not taken for one that was uploaded."""
    future = SegmentName(9_000_000_000_000_000, b"\x01\x02\x03\x04")
    spool_folder_path = root / "0"
    spool_folder_path.mkdir(parents=True)
    (spool_folder_path / str(future)).write_bytes(segment_head(future) + frame(future.marker, payload("future")))
    upload_all(make_uploader(registered, root))
    assert spool_folder.segment_names(spool_folder_path) == []

    spool = Spool.open(spool_folder_path, free_floor=0)
    spool.append(payload("present"))
    upload_all(make_uploader(registered, root))
    spool.close()

    assert_exactly_once(registered, ["future", "present"])


# ---------------------------------------------------------------------------------------------- bad records


def test_unreadable_record_is_kept_aside_and_the_others_go_on(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("before"))
    spool.append(b"not a record")
    spool.append(payload("after"))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.quarantined) == (2, 1)
    assert_exactly_once(registered, ["before", "after"])
    [line] = quarantined(root)
    assert base64.b64decode(str(line["record"])) == b"not a record"
    assert "not a log record" in str(line["reason"])


def test_predictions_of_an_unknown_version_are_kept_aside(registered: Engine, root: Path, spool: Spool) -> None:
    for number in range(50):
        spool.append(payload(f"stranger{number}", version="9"))
        spool.append(payload(f"known{number}"))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.quarantined) == (50, 50)
    assert_exactly_once(registered, [f"known{number}" for number in range(50)])
    lines = quarantined(root)
    assert len(lines) == 50
    assert all("no version 9" in str(line["reason"]) for line in lines)


@pytest.mark.parametrize(
    "culprits", [{0}, {99}, {50}, {3, 4, 77}, set(range(100))], ids=["first", "last", "middle", "three", "all"]
)
def test_rows_that_do_not_fit_are_found_and_kept_aside(registered: Engine, root: Path, spool: Spool, culprits: set[int]) -> None:
    for number in range(100):
        features = [["too", "short"]] if number in culprits else [[30, 0.5, True, "north"]]
        spool.append(payload(f"p{number}", features=features))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.quarantined) == (100 - len(culprits), len(culprits))
    assert_exactly_once(registered, [f"p{number}" for number in range(100) if number not in culprits])
    assert {line["row"]["id"] for line in quarantined(root)} == {f"p{number}" for number in culprits}  # type: ignore[index]


def test_only_the_bad_row_of_a_record_is_kept_aside(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a", "bad", "c", features=[[30, 0.5, True, "north"], ["x"], [31, None, False, "south"]]))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.quarantined) == (2, 1)
    assert_exactly_once(registered, ["a", "c"])


def test_row_beyond_a_limit_of_the_database_stops_nothing(registered: Engine, root: Path, spool: Spool) -> None:
    """PostgreSQL reports an id too long for its index as an operational fault, which looks like an outage."""
    long_id = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=20_000))
    spool.append(payload("before"))
    spool.append(payload(long_id))
    spool.append(payload("after"))

    report = make_uploader(registered, root).step(NOW)

    assert report.hindrance is None
    assert report.inserted + report.quarantined == 3
    assert {"before", "after"} <= set(stored_ids(registered))


def test_nul_characters_are_stored_as_far_as_the_database_can(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a", subject="u\0ser", features=[[30, 0.5, True, "no\0rth"]], error="\0"))

    report = make_uploader(registered, root).step(NOW)

    assert (report.inserted, report.quarantined) == (1, 0)


def test_damaged_range_is_kept_aside_and_counted(registered: Engine, root: Path) -> None:
    spool = Spool.open(root / "0", free_floor=0)
    for number in range(10):
        spool.append(payload(f"p{number}"))
    spool.close()
    [path] = (root / "0").glob("*.spool")
    content = bytearray(path.read_bytes())
    content[content.index(b"p4")] ^= 0xFF
    path.write_bytes(content)

    uploader = make_uploader(registered, root)
    upload_all(uploader)

    assert_exactly_once(registered, [f"p{number}" for number in range(10) if number != 4])
    assert (uploader.status.quarantined_total, uploader.status.torn_total) == (1, 0)
    assert len(list(root.glob("*/quarantine/*.bytes"))) == 1


def test_torn_tail_is_cut_and_counted_apart(registered: Engine, root: Path) -> None:
    spool = Spool.open(root / "0", free_floor=0)
    spool.append(payload("whole"))
    spool.append(payload("torn"))
    spool.close()
    [path] = (root / "0").glob("*.spool")
    os.truncate(path, path.stat().st_size - 5)

    uploader = make_uploader(registered, root)
    upload_all(uploader)

    assert_exactly_once(registered, ["whole"])
    assert (uploader.status.quarantined_total, uploader.status.torn_total) == (0, 1)
    assert spool_folder.segment_names(root / "0") == []


def test_bad_rows_that_are_read_again_are_kept_aside_once(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("stranger", version="9"))
    make_uploader(registered, root).step(NOW)
    with writing(registered) as c:
        c.execute(spools.delete())
    spool.append(payload("stranger too", version="9"))

    make_uploader(registered, root).step(NOW)

    assert [line["row"]["id"] for line in quarantined(root)] == ["stranger", "stranger too"]  # type: ignore[index]


# ---------------------------------------------------------------------------------------------- database away


@contextmanager
def database_away(engine: Engine, home: Path) -> Iterator[None]:
    """SQLite: its folder is gone. PostgreSQL: the database accepts no connections and ends those there are."""
    if engine.dialect.name == "sqlite":
        path = Path(str(engine.url.database))
        engine.dispose()
        aside = path.rename(path.with_suffix(".aside"))
        path.mkdir()
        yield
        path.rmdir()
        aside.rename(path)
        return
    server = create_engine(engine.url.set(database="postgres").render_as_string(hide_password=False))
    name = engine.url.database

    def run(statement: str) -> None:
        with server.connect() as c:
            c.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))

    run(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    yield
    run(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    server.dispose()


def test_outage_is_waited_for_and_nothing_is_lost_or_counted_twice(
    registered: Engine, home: Path, root: Path, spool: Spool
) -> None:
    uploader = make_uploader(registered, root)
    states: list[str] = []
    spool.append(payload("before"))
    upload_all(uploader)

    with database_away(registered, home):
        spool.append(payload("during"))
        for _ in range(3):
            report = uploader.step(NOW)
            assert report.inserted == 0
            assert report.hindrance is not None
        states.append(uploader.status.database)
    spool.append(payload("after"))
    upload_all(uploader)

    states.append(uploader.status.database)
    assert states == ["unavailable", "ok"]
    assert uploader.status.uploaded_total == 3
    assert uploader.status.duplicates_total == 0
    assert_exactly_once(registered, ["before", "during", "after"])


def test_outage_at_the_start_is_waited_for(registered: Engine, home: Path, root: Path, spool: Spool) -> None:
    spool.append(payload("a"))
    uploader = make_uploader(registered, root)

    with database_away(registered, home):
        assert uploader.step(NOW).hindrance is not None
    upload_all(uploader)

    assert_exactly_once(registered, ["a"])


def test_missing_tables_hinder_and_reject_nothing(registered: Engine, root: Path, spool: Spool) -> None:
    """As between the start of a new version and its migration."""
    spool.append(payload("a"))
    with writing(registered) as c:
        c.execute(text("ALTER TABLE predictions RENAME TO predictions_away"))
    uploader = make_uploader(registered, root)

    for _ in range(2):
        assert uploader.step(NOW).hindrance is not None
    with writing(registered) as c:
        c.execute(text("ALTER TABLE predictions_away RENAME TO predictions"))
    upload_all(uploader)

    assert quarantined(root) == []
    assert_exactly_once(registered, ["a"])


def test_fault_that_all_rows_meet_rejects_none_of_them(registered: Engine, root: Path, spool: Spool) -> None:
    for number in range(3000):
        spool.append(payload(f"p{number}"))
    with writing(registered) as c:
        c.execute(text("ALTER TABLE rollups RENAME COLUMN latency TO latency_away"))
    uploader = make_uploader(registered, root)

    assert uploader.step(NOW).hindrance is not None
    with writing(registered) as c:
        c.execute(text("ALTER TABLE rollups RENAME COLUMN latency_away TO latency"))
    upload_all(uploader)

    assert quarantined(root) == []
    assert_exactly_once(registered, [f"p{number}" for number in range(3000)])


def test_folder_that_cannot_be_read_leaves_the_others_going(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a"))
    broken = root / "1"
    broken.mkdir()
    (broken / str(SegmentName(1_790_000_000_000_000, b"\x01\x02\x03\x04"))).mkdir()

    report = make_uploader(registered, root).step(NOW)

    assert report.hindrance is not None
    assert "spool/1" in report.hindrance
    assert_exactly_once(registered, ["a"])


# ---------------------------------------------------------------------------------------------- status


def test_totals_go_on_after_a_restart(registered: Engine, root: Path, spool: Spool) -> None:
    spool.append(payload("a"))
    first = make_uploader(registered, root)
    upload_all(first)
    write_status(root, first.status)
    spool.append(payload("b"))

    second = make_uploader(registered, root)
    upload_all(second)

    assert (second.status.uploaded_total, second.status.database) == (2, "ok")
    assert second.status.last_commit_at is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"uploaded_total": "many"}'])
def test_unreadable_status_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "uploader.json").write_bytes(content)

    assert read_status(tmp_path) == UploadStatus()
    assert read_status(tmp_path / "missing") == UploadStatus()


def test_writers_count_apart_and_the_sum_is_right(registered: Engine, root: Path, spool: Spool) -> None:
    second = open_worker_spool(root, free_floor=0)
    spool.append(payload("a"))
    second.append(payload("b"))

    upload_all(make_uploader(registered, root))
    second.close()

    with reading(registered) as c:
        assert c.scalar(select(func.count()).select_from(rollups)) == 2
        assert set(c.scalars(select(rollups.c.writer))) == {spool_folder.writer_id(root / "0"), spool_folder.writer_id(root / "1")}
    assert_exactly_once(registered, ["a", "b"])


def test_lock_of_the_writer_is_not_disturbed_by_reading(registered: Engine, root: Path, spool: Spool) -> None:
    uploader = make_uploader(registered, root)
    for _ in range(20):
        uploader.step(NOW)

    descriptor = os.open(root / "0" / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
