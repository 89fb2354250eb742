"""What this host and modelwatch's own processes use: CPU, memory, disk, network, GPU, and how full the spool is."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from storage.records import MetricPoint, ResourceSample

HOST = "host"
"""The process name under which the whole host's sample is stored."""
SELF = "collect"

_RATES = {
    "disk_read_bytes_per_second": "disk_read",
    "disk_write_bytes_per_second": "disk_write",
    "network_sent_bytes_per_second": "sent",
    "network_received_bytes_per_second": "received",
}
POINT_NAMES = ("cpu_percent", "memory_percent", *_RATES, "gpu_percent", "gpu_memory_percent")


def host_name() -> str:
    """The name under which this host's samples are stored."""
    return socket.gethostname()


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counters that only grow; None where this system does not tell."""

    cpu_seconds: float | None = None
    disk_read: int | None = None
    disk_write: int | None = None
    sent: int | None = None
    received: int | None = None


@dataclass(slots=True, kw_only=True)
class Probe:
    """Samples the host and each service of ``<home>/run/*.pid`` with its children; rates are since the sample before.

    The first sample has no rates. Without pid files there are only the host and this process.
    """

    home: Path
    host: str = field(default_factory=host_name)
    before: dict[str, Totals] = field(default_factory=dict)
    sampled_at: datetime | None = None

    def sample(self, now: datetime) -> list[ResourceSample]:
        """The host first, then each process by name."""
        elapsed = (now - self.sampled_at).total_seconds() if self.sampled_at else 0.0
        self.sampled_at = now
        processes = self._processes()
        samples = [self._host_sample(now, elapsed)]
        for name, pid in sorted(processes.items()):
            totals, resident = process_totals(pid, apart=set(processes.values()))
            samples.append(self._process_sample(now, elapsed, name, totals, resident))
        return samples

    def _processes(self) -> dict[str, int]:
        found = read_pid_files(self.home / "run")
        return found if os.getpid() in found.values() else {**found, SELF: os.getpid()}

    def _host_sample(self, now: datetime, elapsed: float) -> ResourceSample:
        rates = self._rates(HOST, host_totals(), elapsed)
        busy = rates.pop("cpu_seconds")
        gpu, gpu_memory = gpu_load()
        return ResourceSample(
            at=now,
            host=self.host,
            process=HOST,
            cpu_percent=None if busy is None else min(100.0, 100 * busy / (psutil.cpu_count() or 1)),
            memory_percent=psutil.virtual_memory().percent,
            gpu_percent=gpu,
            gpu_memory_percent=gpu_memory,
            **rates,
        )

    def _process_sample(self, now: datetime, elapsed: float, name: str, totals: Totals, resident: int | None) -> ResourceSample:
        rates = self._rates(name, totals, elapsed)
        busy = rates.pop("cpu_seconds")
        share = None if resident is None else 100 * resident / psutil.virtual_memory().total
        return ResourceSample(
            at=now,
            host=self.host,
            process=name,
            cpu_percent=None if busy is None else 100 * busy,
            memory_percent=share,
            memory_rss_bytes=resident,
            **rates,
        )

    def _rates(self, name: str, totals: Totals, elapsed: float) -> dict[str, Any]:
        before = self.before.get(name)
        self.before[name] = totals
        rates = {rate: _rate(before, totals, counter, elapsed) for rate, counter in _RATES.items()}
        return {"cpu_seconds": _rate(before, totals, "cpu_seconds", elapsed), **rates}


def _rate(before: Totals | None, totals: Totals, counter: str, elapsed: float) -> float | None:
    """Growth per second; 0 rather than less where a child process ended and took its counters with it."""
    old, new = getattr(before, counter, None), getattr(totals, counter)
    return None if old is None or new is None or elapsed <= 0 else max(0.0, (new - old) / elapsed)


# ---------------------------------------------------------------------------------------------- reading the system


def read_pid_files(folder: Path) -> dict[str, int]:
    """Process ids by service; files that hold none, and processes that are gone, are left out."""
    found = {}
    for path in sorted(folder.glob("*.pid")):
        with suppress(OSError, ValueError):
            pid = int(path.read_text(encoding="ascii").strip())
            if psutil.pid_exists(pid):
                found[path.stem] = pid
    return found


def host_totals() -> Totals:
    """CPU seconds, and bytes on all disks and network interfaces, since the host started."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice already
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return Totals(
        cpu_seconds=sum(times) - idle - guest,
        disk_read=disk.read_bytes if disk else None,
        disk_write=disk.write_bytes if disk else None,
        sent=network.bytes_sent if network else None,
        received=network.bytes_recv if network else None,
    )


def process_totals(pid: int, *, apart: Collection[int] = ()) -> tuple[Totals, int | None]:
    """CPU seconds and disk bytes of a process and its descendants, and their resident memory in bytes.

    Descendants that are in ``apart`` are measured by themselves and left out here, with their own descendants.
    """
    cpu, read, written, resident = 0.0, 0, 0, 0
    seen = False
    for process in _family(pid, apart):
        with suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            cpu, resident, seen = cpu + times.user + times.system, resident + process.memory_info().rss, True
            if hasattr(process, "io_counters"):
                counters = process.io_counters()
                read, written = read + counters.read_bytes, written + counters.write_bytes
    if not seen:
        return Totals(), None
    return Totals(cpu_seconds=cpu, disk_read=read, disk_write=written), resident


def _family(pid: int, apart: Collection[int]) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        yield process
        for child in process.children():
            if child.pid not in apart:
                yield from _family(child.pid, apart)


def gpu_load() -> tuple[float | None, float | None]:
    """Mean load and mean share of used memory of all GPUs, percent; None without a GPU, a driver or its library."""
    loads = gpu_loads()
    if not loads:
        return None, None
    return fmean(load for load, _ in loads), fmean(memory for _, memory in loads)


def gpu_loads() -> list[tuple[float, float]]:
    """Load and share of used memory of each GPU, percent; empty without any."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        return [_gpu(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu(nvml: Any, number: int) -> tuple[float, float]:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu), 100 * memory.used / memory.total


# ---------------------------------------------------------------------------------------------- points


def host_points(samples: Iterable[ResourceSample]) -> list[MetricPoint]:
    """The host's sample as points (segment ``host=…``, window 0), and the memory of modelwatch's own processes together."""
    samples = list(samples)
    points = [
        _point(sample, name, value)
        for sample in samples
        if sample.process == HOST
        for name in POINT_NAMES
        if (value := getattr(sample, name)) is not None
    ]
    resident = [sample.memory_rss_bytes for sample in samples if sample.memory_rss_bytes is not None]
    return [*points, _point(samples[0], "memory_rss_bytes", float(sum(resident)))] if resident else points


def _point(sample: ResourceSample, name: str, value: float) -> MetricPoint:
    return MetricPoint(at=sample.at, name=name, value=value, segment=f"host={sample.host}")


# ---------------------------------------------------------------------------------------------- spool

LEAST_WAITING_BYTES = 64
"""A segment without a single record holds no more than its header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFolder:
    """One writer's folder: its name in SQL, and name, size and time of last change of its segments, oldest first."""

    writer: str
    segments: tuple[tuple[str, int, float], ...]


def read_spools(folder: Path) -> list[SpoolFolder]:
    """Every writer's segments below the spool folder; empty where that is not on this host."""
    found = []
    for path in sorted(folder.glob("*/writer")):
        with suppress(OSError):
            segments = [(file.name, file.stat().st_size, file.stat().st_mtime) for file in sorted(path.parent.glob("*.spool"))]
            found.append(SpoolFolder(writer=path.read_text(encoding="ascii", errors="replace").strip(), segments=tuple(segments)))
    return found


@dataclass(slots=True, kw_only=True)
class SpoolWatch:
    """Remembers since when each writer's oldest record has been waiting."""

    waiting_since: dict[str, tuple[tuple[str, int], datetime]] = field(default_factory=dict)

    def measure(self, spool: SpoolFolder, position: tuple[str, int] | None, now: datetime) -> tuple[int, float]:
        """Bytes that are not in the database yet, and for how many seconds the oldest of them has been seen waiting."""
        at = position or ("", 0)
        waiting = waiting_bytes(spool, at)
        if not waiting:
            self.waiting_since.pop(spool.writer, None)
            return 0, 0.0
        known = self.waiting_since.get(spool.writer)
        if known is None or known[0] != at:
            known = at, self._first_seen(spool, at, now)
            self.waiting_since[spool.writer] = known
        return waiting, max(0.0, (now - known[1]).total_seconds())

    def _first_seen(self, spool: SpoolFolder, at: tuple[str, int], now: datetime) -> datetime:
        """A segment that is no longer the newest was closed when it was last changed, and has waited since."""
        closed = [changed for name, size, changed in spool.segments[:-1] if name >= at[0] and size > LEAST_WAITING_BYTES]
        return min(now, datetime.fromtimestamp(closed[0], now.tzinfo)) if closed else now


def waiting_bytes(spool: SpoolFolder, position: tuple[str, int]) -> int:
    """The bytes beyond the position, without headers of empty segments."""
    segment, offset = position
    sizes = (size - (offset if name == segment else 0) for name, size, _ in spool.segments if name >= segment)
    return sum(size for size in sizes if size > LEAST_WAITING_BYTES)


def spool_points(watched: Iterable[tuple[int, float]], host: str, now: datetime) -> list[MetricPoint]:
    """All writers of this host together: bytes that wait, and the longest wait."""
    measured = list(watched)
    if not measured:
        return []
    segment = f"host={host}"
    return [
        MetricPoint(at=now, name="spool_bytes", value=float(sum(size for size, _ in measured)), segment=segment),
        MetricPoint(at=now, name="spool_oldest_seconds", value=max(age for _, age in measured), segment=segment),
    ]
