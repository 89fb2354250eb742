"""What is measured of the host, the processes and the spool."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.probes import (
    HOST,
    Probe,
    SpoolFolder,
    SpoolWatch,
    Totals,
    _rate,
    gpu_load,
    host_points,
    process_totals,
    read_pid_files,
    read_spools,
    spool_points,
    waiting_bytes,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
A, B = "0001-aaaaaaaa.v1.spool", "0002-bbbbbbbb.v1.spool"


def test_the_first_sample_has_no_rates_and_the_second_has(tmp_path: Path) -> None:
    probe = Probe(home=tmp_path, host="h")

    first, second = probe.sample(NOW), probe.sample(NOW + timedelta(seconds=10))

    assert [sample.process for sample in second] == [HOST, "collect"]
    assert (first[0].cpu_percent, first[1].cpu_percent) == (None, None)
    assert second[0].cpu_percent is not None
    assert 0 <= second[0].cpu_percent <= 100
    assert second[1].memory_rss_bytes is not None
    assert second[1].memory_rss_bytes > 1_000_000


def test_services_are_found_by_their_pid_files(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name, text in (("serve", str(os.getpid())), ("gone", "999999999"), ("empty", ""), ("alert", "x")):
        (tmp_path / "run" / f"{name}.pid").write_text(text)

    assert read_pid_files(tmp_path / "run") == {"serve": os.getpid()}
    assert [sample.process for sample in Probe(home=tmp_path, host="h").sample(NOW)] == [HOST, "serve"]


def test_a_process_that_is_gone_has_no_totals() -> None:
    assert process_totals(999_999_999) == (Totals(), None)


@pytest.mark.parametrize(
    ("before", "now", "elapsed", "rate"),
    [(10.0, 30.0, 10.0, 2.0), (30.0, 10.0, 10.0, 0.0), (None, 1.0, 10.0, None), (1.0, 2.0, 0.0, None)],
)
def test_rates_are_growth_per_second_and_never_negative(
    before: float | None, now: float, elapsed: float, rate: float | None
) -> None:
    assert _rate(Totals(cpu_seconds=before), Totals(cpu_seconds=now), "cpu_seconds", elapsed) == rate


def test_no_gpu_is_no_error() -> None:
    load, memory = gpu_load()

    assert (load is None) == (memory is None)


def test_points_are_host_wide_with_the_memory_of_all_processes(tmp_path: Path) -> None:
    probe = Probe(home=tmp_path, host="h")
    samples = probe.sample(NOW)

    found = {point.name: point for point in host_points(samples)}

    assert found["memory_percent"].segment == "host=h"
    assert found["memory_rss_bytes"].value == samples[1].memory_rss_bytes
    assert "cpu_percent" not in found


class TestSpool:
    def test_segments_are_read_with_their_writer(self, tmp_path: Path) -> None:
        (tmp_path / "0").mkdir()
        (tmp_path / "0" / "writer").write_text("w\n")
        (tmp_path / "0" / A).write_bytes(b"x" * 100)

        (found,) = read_spools(tmp_path)

        assert found.writer == "w"
        assert [(name, size) for name, size, _ in found.segments] == [(A, 100)]
        assert read_spools(tmp_path / "nowhere") == []

    @pytest.mark.parametrize(
        ("position", "waiting"), [(("", 0), 1500), ((A, 0), 1500), ((A, 900), 600), ((B, 0), 500), ((B, 500), 0), ((A, 990), 500)]
    )
    def test_what_waits_lies_beyond_the_position(self, position: tuple[str, int], waiting: int) -> None:
        spool = SpoolFolder(writer="w", segments=((A, 1000, 0.0), (B, 500, 0.0)))

        assert waiting_bytes(spool, position) == waiting

    def test_waiting_is_timed_from_when_the_position_last_moved(self) -> None:
        watch = SpoolWatch()
        spool = SpoolFolder(writer="w", segments=((A, 1000, NOW.timestamp()),))

        measured = [
            watch.measure(spool, (A, 100), NOW),
            watch.measure(spool, (A, 100), NOW + timedelta(seconds=30)),
            watch.measure(spool, (A, 200), NOW + timedelta(seconds=60)),
            watch.measure(spool, (A, 1000), NOW + timedelta(seconds=90)),
        ]

        assert measured == [(900, 0.0), (900, 30.0), (800, 0.0), (0, 0.0)]

    def test_a_closed_segment_has_waited_since_it_was_closed(self) -> None:
        closed = (NOW - timedelta(hours=1)).timestamp()
        spool = SpoolFolder(writer="w", segments=((A, 1000, closed), (B, 1000, NOW.timestamp())))

        assert SpoolWatch().measure(spool, None, NOW) == (2000, 3600.0)

    def test_all_writers_of_a_host_are_one_point_each(self) -> None:
        found = {point.name: point.value for point in spool_points([(100, 3.0), (200, 1.0)], "h", NOW)}

        assert found == {"spool_bytes": 300.0, "spool_oldest_seconds": 3.0}
        assert spool_points([], "h", NOW) == []
