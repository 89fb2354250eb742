"""A PostgreSQL server of one's own, started from the system's binaries in a temporary folder and stopped at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = "PostgreSQL's initdb and postgres were not found on PATH or in /usr/lib/postgresql; `make test` installs them."
_SETTINGS = {"listen_addresses": "''", "shared_buffers": "64MB", "max_connections": "60"}
_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgresqlMissing(Exception):
    """There are no binaries of PostgreSQL on this machine; the message says what installs them."""


@contextmanager
def running_postgresql(*, durable: bool = False) -> Iterator[str]:
    """A fresh server; yields the URL of its database ``postgres``, reached by a Unix socket.

    Unless ``durable`` its commits wait for no disk: quick for tests, wrong for a measurement.
    """
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="modelwatch-pg-", dir="/tmp"))  # short: socket paths end at 107 bytes
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    _run([binaries / "initdb", "-D", data, "-U", "modelwatch", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
    settings = _SETTINGS | ({} if durable else _FAST) | {"unix_socket_directories": str(folder)}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-s", "-w"]
    try:
        _run([*control, "-l", folder / "log", "-o", options, "start"])
        yield f"postgresql+psycopg://modelwatch@/postgres?host={folder}"
    finally:
        _run([*control, "-m", "immediate", "stop"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in candidates:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise PostgresqlMissing(MISSING)


def _run(command: list[str | Path], *, check: bool = True) -> None:
    words = [str(word) for word in command]
    if os.geteuid() == 0:  # the server refuses to run as root
        words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *words]
    done = subprocess.run(words, cwd="/tmp", check=False, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{words} failed: {done.stdout}{done.stderr}")
