"""The spool on a real disk: what append took is there, what it refused is not, whatever the disk does."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inference import segments, spool_folder
from inference.spool import Spool, SpoolFailed, SpoolFull, SpoolInUse, open_worker_spool
from inference.spool_reader import Position, SpoolReader

PAYLOAD = b"x" * 400


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Spool]:
    spool = Spool.open(folder, **{"free_floor": 0, **options})
    try:
        yield spool
    finally:
        spool.close()


def everything_in(folder: Path) -> list[bytes]:
    """All payloads, read as the uploader reads; the folder is empty afterwards if its writer is gone."""
    reader = SpoolReader(folder, writer_check_seconds=0)
    position: Position | None = None
    payloads: list[bytes] = []
    while batch := reader.read(position):
        payloads += batch.payloads
        position = Position(str(batch.segment), batch.end)
        if batch.is_finished:
            reader.discard(batch.segment)
    return payloads


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


def numbered(count: int, size: int = 40) -> list[bytes]:
    return [f"{number:06d}".encode().ljust(size, b".") for number in range(count)]


def test_appended_payloads_are_read_in_order(tmp_path: Path) -> None:
    payloads = numbered(1000)

    with opened(tmp_path / "0") as spool:
        for payload in payloads:
            spool.append(payload)

    assert everything_in(tmp_path / "0") == payloads


def test_payload_can_be_read_as_soon_as_append_returns(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path / "0")
    with opened(tmp_path / "0") as spool:
        spool.append(b"now")

        batch = reader.read(None)

        assert batch is not None
        assert batch.payloads == [b"now"]
        assert reader.read(Position(str(batch.segment), batch.end)) is None


def test_segments_end_at_their_size_and_lose_nothing(tmp_path: Path) -> None:
    payloads = numbered(2000)
    with opened(tmp_path / "0", segment_bytes=4096) as spool:
        for payload in payloads:
            spool.append(payload)

        sizes = [(tmp_path / "0" / str(name)).stat().st_size for name in spool_folder.segment_names(tmp_path / "0")]
        assert len(sizes) > 20
        assert max(sizes) <= 4096

    assert everything_in(tmp_path / "0") == payloads


def test_payload_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    large = os.urandom(50_000)
    with opened(tmp_path / "0", segment_bytes=4096) as spool:
        for payload in (b"before", large, b"after"):
            spool.append(payload)

    assert everything_in(tmp_path / "0") == [b"before", large, b"after"]


def test_payload_over_the_limit_is_an_error_and_leaves_the_spool_usable(tmp_path: Path) -> None:
    with opened(tmp_path / "0") as spool:
        with pytest.raises(ValueError, match="split it"):
            spool.append(bytes(segments.MAX_PAYLOAD_BYTES + 1))
        spool.append(b"fine")

    assert everything_in(tmp_path / "0") == [b"fine"]


def test_quiet_segment_ends_with_age_so_that_it_can_be_unlinked(tmp_path: Path) -> None:
    with opened(tmp_path / "0", segment_seconds=0.01, sync_seconds=0.01) as spool:
        spool.append(b"alone")
        wait_until(lambda: len(spool_folder.segment_names(tmp_path / "0")) > 1)

        assert everything_in(tmp_path / "0") == [b"alone"]
        wait_until(lambda: spool.state().oldest_at is None)


def test_new_segment_sorts_after_the_old_when_the_clock_went_back(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    future = segments.SegmentName(9_000_000_000_000_000, b"\x01\x02\x03\x04")
    (folder / str(future)).write_bytes(segments.segment_head(future) + segments.frame(future.marker, b"old"))

    with opened(folder) as spool:
        spool.append(b"new")

    assert everything_in(folder) == [b"old", b"new"]


def test_many_threads_may_append(tmp_path: Path) -> None:
    payloads = numbered(4000)

    def append_all(part: list[bytes]) -> None:
        for payload in part:
            spool.append(payload)

    with opened(tmp_path / "0", segment_bytes=8192, sync_seconds=0.005) as spool:
        threads = [threading.Thread(target=append_all, args=[payloads[i::4]]) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(everything_in(tmp_path / "0")) == payloads


def test_closed_spool_takes_nothing_and_leaves_no_empty_segment(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "0")
    spool.close()
    spool.close()

    with pytest.raises(SpoolFailed):
        spool.append(b"late")
    with pytest.raises(SpoolFailed):
        asyncio.run(spool.append_durable(b"late"))
    assert not spool.state().writable
    assert spool_folder.segment_names(tmp_path / "0") == []


# ---------------------------------------------------------------------------------------------- who writes


def test_one_writer_per_folder(tmp_path: Path) -> None:
    with opened(tmp_path / "0"), pytest.raises(SpoolInUse):
        Spool.open(tmp_path / "0")


def test_worker_takes_the_first_folder_that_nobody_writes(tmp_path: Path) -> None:
    first, second = open_worker_spool(tmp_path), open_worker_spool(tmp_path)
    assert (first.folder.name, second.folder.name) == ("0", "1")

    first.close()
    third = open_worker_spool(tmp_path)

    assert third.folder.name == "0"
    second.close()
    third.close()


def test_folder_keeps_its_name_in_sql_for_ever_and_folders_differ(tmp_path: Path) -> None:
    with opened(tmp_path / "0"), opened(tmp_path / "1"):
        first, second = spool_folder.writer_id(tmp_path / "0"), spool_folder.writer_id(tmp_path / "1")
    with opened(tmp_path / "0"):
        assert spool_folder.writer_id(tmp_path / "0") == first != second


def test_unreadable_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "writer").write_bytes(b"\x00\xff")

    name = spool_folder.writer_id(tmp_path)

    assert len(name) == 32
    assert spool_folder.writer_id(tmp_path) == name


# ---------------------------------------------------------------------------------------------- several at once


def test_payloads_appended_at_once_stand_behind_each_other(tmp_path: Path) -> None:
    with opened(tmp_path / "0") as spool:
        spool.append(b"before")
        outcomes = spool.append_all([(payload, 2) for payload in numbered(50)])
        spool.append(b"after")

        assert outcomes == [None] * 50
        assert spool.state().records_total == 102

    assert everything_in(tmp_path / "0") == [b"before", *numbered(50), b"after"]


def test_payloads_that_do_not_fit_into_the_segment_together_begin_the_next(tmp_path: Path) -> None:
    with opened(tmp_path / "0", segment_bytes=1000) as spool:
        outcomes = spool.append_all([(payload, 1) for payload in numbered(50)])

        assert len(spool_folder.segment_names(tmp_path / "0")) > 1

    assert outcomes == [None] * 50
    assert everything_in(tmp_path / "0") == numbered(50)


def test_of_payloads_appended_at_once_only_those_without_room_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "0", max_bytes=1000) as spool:
        outcomes = spool.append_all(
            [(b"small", 1), (bytes(5000), 3), (bytes(segments.MAX_PAYLOAD_BYTES + 1), 1), (b"small too", 1)]
        )

        assert [type(outcome) for outcome in outcomes] == [type(None), SpoolFull, ValueError, type(None)]
        assert spool.state().rejected_total == 3

    assert everything_in(tmp_path / "0") == [b"small", b"small too"]


# ---------------------------------------------------------------------------------------------- durability power


def test_durable_append_returns_after_the_sync_that_follows_its_write(tmp_path: Path) -> None:
    synced_sizes: list[int] = []

    def sync(descriptor: int) -> None:
        synced_sizes.append(os.fstat(descriptor).st_size)

    async def appended() -> None:
        for payload in numbered(20):
            await spool.append_durable(payload)
            assert synced_sizes[-1] == next((tmp_path / "0").glob("*.spool")).stat().st_size

    with opened(tmp_path / "0", durability="power", sync=sync) as spool:
        asyncio.run(appended())

    assert everything_in(tmp_path / "0") == numbered(20)


def test_durable_appends_at_one_time_share_a_sync(tmp_path: Path) -> None:
    syncs: list[int] = []

    async def appended() -> None:
        await asyncio.gather(*(spool.append_durable(payload) for payload in numbered(500)))

    with opened(tmp_path / "0", durability="power", sync=syncs.append) as spool:
        asyncio.run(appended())
        assert len(syncs) < 100

    assert sorted(everything_in(tmp_path / "0")) == numbered(500)


def test_durable_append_without_room_is_refused_alone(tmp_path: Path) -> None:
    async def outcome() -> tuple[BaseException | None, ...]:
        large = spool.append_durable(bytes(5000))
        return await asyncio.gather(
            spool.append_durable(b"small"), large, spool.append_durable(b"small too"), return_exceptions=True
        )

    with opened(tmp_path / "0", durability="power", max_bytes=1000) as spool:
        first, refused, last = asyncio.run(outcome())

    assert (first, last) == (None, None)
    assert isinstance(refused, SpoolFull)
    assert everything_in(tmp_path / "0") == [b"small", b"small too"]


# ---------------------------------------------------------------------------------------------- failing disk


class FailingDisk:
    """Stands for fdatasync: fails as often as it is told to."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.failed_descriptors: list[int] = []
        self.confirmed_descriptors: list[int] = []

    def sync(self, descriptor: int) -> None:
        if self.failures:
            self.failures -= 1
            self.failed_descriptors.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.confirmed_descriptors.append(descriptor)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_unconfirmed_payloads_are_written_again_to_a_new_segment(tmp_path: Path, durability: str) -> None:
    disk = FailingDisk(failures=1)

    async def appended() -> None:
        for payload in numbered(3):
            await spool.append_durable(payload)

    with opened(tmp_path / "0", durability=durability, sync=disk.sync, sync_seconds=0.02) as spool:
        asyncio.run(appended())
        wait_until(lambda: bool(disk.confirmed_descriptors))

        names = spool_folder.segment_names(tmp_path / "0")
        assert len(names) == 2
        assert disk.failed_descriptors[0] not in disk.confirmed_descriptors
        assert spool.state().writable

    payloads = everything_in(tmp_path / "0")
    assert set(payloads) == set(numbered(3))
    assert len(payloads) > 3 or durability == "power"


def test_disk_that_confirms_nothing_makes_the_spool_fail_loudly_until_it_does(tmp_path: Path) -> None:
    disk = FailingDisk(failures=2)

    with opened(tmp_path / "0", sync=disk.sync, sync_seconds=0.01) as spool:
        spool.append(b"accepted")
        wait_until(lambda: not spool.state().writable)
        with pytest.raises(SpoolFailed, match="does not confirm"):
            spool.append(b"refused")

        wait_until(lambda: spool.state().writable)
        spool.append(b"accepted again")

    assert set(everything_in(tmp_path / "0")) == {b"accepted", b"accepted again"}


def test_durable_append_is_refused_when_the_disk_confirms_nothing(tmp_path: Path) -> None:
    disk = FailingDisk(failures=10**9)

    spool = Spool.open(tmp_path / "0", durability="power", sync=disk.sync)
    with pytest.raises(SpoolFailed):
        asyncio.run(spool.append_durable(b"refused"))
    spool.close()


# ---------------------------------------------------------------------------------------------- full


def fill(spool: Spool) -> list[bytes]:
    """Appends until it is refused; returns what was taken."""
    taken: list[bytes] = []
    for payload in numbered(100_000, size=400):
        try:
            spool.append(payload)
        except SpoolFull:
            return taken
        taken.append(payload)
    raise AssertionError("the spool was never full")


def test_full_spool_rejects_and_keeps_what_it_has(tmp_path: Path) -> None:
    with opened(tmp_path / "0", max_bytes=50_000, segment_bytes=8192) as spool:
        taken = fill(spool)

        with pytest.raises(SpoolFull, match="full") as refusal:
            spool.append(PAYLOAD, records=7)
        state = spool.state()
        assert not refusal.value.serve_unlogged
        assert (state.writable, state.rejected_total, state.dropped_total, state.records_total) == (False, 8, 0, len(taken))
        assert 45_000 < state.bytes <= 50_000

    assert everything_in(tmp_path / "0") == taken


def test_full_spool_has_room_again_when_segments_were_uploaded(tmp_path: Path) -> None:
    with opened(tmp_path / "0", max_bytes=50_000, segment_bytes=8192, sync_seconds=0.01) as spool:
        fill(spool)

        everything_in(tmp_path / "0")

        wait_until(lambda: spool.state().writable)
        spool.append(PAYLOAD)


def test_spool_that_serves_unlogged_says_so_and_counts(tmp_path: Path) -> None:
    with opened(tmp_path / "0", max_bytes=5000, when_full="serve_unlogged") as spool:
        taken = fill(spool)

        with pytest.raises(SpoolFull) as refusal:
            spool.append(PAYLOAD, records=7)

        assert refusal.value.serve_unlogged
        assert (spool.state().dropped_total, spool.state().rejected_total) == (8, 0)

    assert everything_in(tmp_path / "0") == taken


def test_spool_that_drops_the_oldest_keeps_the_newest_and_counts_the_rest(tmp_path: Path) -> None:
    payloads = numbered(1000, size=400)
    with opened(tmp_path / "0", max_bytes=50_000, segment_bytes=8192, when_full="drop_oldest") as spool:
        for payload in payloads:
            spool.append(payload)

        assert spool.state().bytes <= 60_000
        dropped = spool.state().dropped_total

    kept = everything_in(tmp_path / "0")
    assert kept == payloads[-len(kept) :]
    assert len(kept) + dropped == 1000
    assert len(kept) > 80


def test_dropping_starts_with_what_an_earlier_process_left(tmp_path: Path) -> None:
    with opened(tmp_path / "0", segment_bytes=8192) as spool:
        for payload in numbered(50, size=400):
            spool.append(payload)

    with opened(tmp_path / "0", max_bytes=30_000, segment_bytes=8192, when_full="drop_oldest") as spool:
        for payload in numbered(50, size=400):
            spool.append(payload)
        dropped = spool.state().dropped_total

    kept = everything_in(tmp_path / "0")
    assert kept[-50:] == numbered(50, size=400)
    assert len(kept) + dropped == 100


def test_cap_counts_the_folders_of_all_workers(tmp_path: Path) -> None:
    first = open_worker_spool(tmp_path, max_bytes=50_000, free_floor=0)
    taken = fill(first)

    second = open_worker_spool(tmp_path, max_bytes=50_000, free_floor=0)

    with pytest.raises(SpoolFull):
        second.append(PAYLOAD)
    first.close()
    second.close()
    assert everything_in(tmp_path / "0") == taken


def test_free_space_that_must_stay_is_left(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with opened(tmp_path / "0", free_floor=free * 2) as spool:
        with pytest.raises(SpoolFull):
            spool.append(PAYLOAD)
        assert not spool.state().writable


_FILL_AT_ONCE_TO_FILE_LIMIT = """
import resource, sys
from pathlib import Path
from inference.spool import Spool, SpoolFull
from inference.spool_reader import Position, SpoolReader
folder = Path(sys.argv[1])
spool = Spool.open(folder, free_floor=0, segment_bytes=1 << 20)
payload = lambda number: f"{number:06d}".encode().ljust(100 + number % 50, b".")
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))
first = spool.append_all([(payload(number), 1) for number in range(40)])
batch = SpoolReader(folder).read(None)  # what the uploader sees at the worst moment
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
second = spool.append_all([(payload(number), 1) for number in range(40, 80)])
spool.close()
taken = [number for number, outcome in enumerate([*first, *second]) if outcome is None]
refused = {type(outcome) for outcome in first if outcome is not None}
rest = SpoolReader(folder, writer_check_seconds=0).read(Position(str(batch.segment), batch.end))
assert refused == {SpoolFull} and second == [None] * 40 and 5 < len(taken) - 40 < 20, (refused, taken)
assert [*batch.payloads, *rest.payloads] == [payload(number) for number in taken]
assert not batch.gaps and not rest.gaps
"""


def test_what_a_full_disk_took_whole_of_a_write_stays_where_the_uploader_read_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FILL_AT_ONCE_TO_FILE_LIMIT, str(tmp_path / "0")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


_FILL_TO_FILE_LIMIT = """
import resource, sys
from pathlib import Path
from inference.spool import Spool, SpoolFull
spool = Spool.open(Path(sys.argv[1]), free_floor=0, segment_bytes=1 << 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
taken = refused = 0
for number in range(200):
    try:
        spool.append(f"{number:06d}".encode().ljust(400, b"."))
        taken += 1
    except SpoolFull:
        refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.append(b"after")
print(taken, refused)
"""


def test_short_write_is_cut_off_so_that_later_records_are_found(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FILL_TO_FILE_LIMIT, tmp_path / "0"], capture_output=True, text=True, check=True)
    taken, refused = map(int, done.stdout.split())

    reader = SpoolReader(tmp_path / "0", writer_check_seconds=0)
    batch = reader.read(None)

    assert batch is not None
    assert (taken, refused) == (121, 79)
    assert batch.gaps == []
    assert batch.payloads == [*numbered(200, size=400)[:121], b"after"]


_FILL_SMALL_DISK = """
set -e
mount -t tmpfs -o size=256k none "$1"
exec "$2" - "$1" <<'END'
import sys
from pathlib import Path
from inference.spool import Spool, SpoolFull
from inference.spool_reader import SpoolReader, Position
root = Path(sys.argv[1])
payload = lambda number: f"{number:06d}".encode().ljust(700, b".")
ballast = root / "ballast"
ballast.write_bytes(bytes(100_000))
spool = Spool.open(root / "0", free_floor=0, segment_bytes=20_000, max_bytes=10**9, sync_seconds=1000)
spool._budget = 10**9  # what statvfs said no longer holds: another program filled the disk
spool._set_limit()
taken = []
for number in range(400):
    if number == 300:
        ballast.unlink()
    try:
        spool.append(payload(number))
        taken.append(number)
    except SpoolFull:
        pass
assert 50 < len(taken) < 399 and taken[-1] == 399, taken
spool.close()
reader, position, found = SpoolReader(root / "0", writer_check_seconds=0), None, []
while batch := reader.read(position):
    assert not batch.gaps
    found += [int(payload[:6]) for payload in batch.payloads]
    position = Position(str(batch.segment), batch.end)
    if batch.is_finished:
        reader.discard(batch.segment)
assert found == taken, (found, taken)
print("recovered", len(found))
END
"""


def test_full_disk_loses_nothing_that_was_taken_and_is_used_again_when_freed(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs user namespaces (unshare -rm) to mount a small disk")

    command = [unshare, "-rm", "sh", "-c", _FILL_SMALL_DISK, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recovered")


def test_append_costs_microseconds(tmp_path: Path) -> None:
    with opened(tmp_path / "0") as spool:
        rounds = []
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(1000):
                spool.append(PAYLOAD)
            rounds.append((time.perf_counter() - began) / 1000)

    assert min(rounds) < 20e-6  # about 2 µs where nothing else runs
