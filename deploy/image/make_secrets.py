"""Makes the passwords of the compose stack once, in volumes, so that none is shipped and none is written by hand.

A file that exists is left alone: the stack keeps its passwords, and an operator may put their own there first.
Usage: make_secrets.py FOLDER
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path


def keep_or_write(path: Path, content: str) -> str:
    """The file's content; ``content`` where there was no file yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(content, encoding="utf-8")
        # The database and Grafana run as other users; who mounts this volume is decided in docker-compose.yml.
        fresh.chmod(0o444)
        fresh.rename(path)
    return path.read_text(encoding="utf-8").strip()


def main(folder: Path) -> None:
    keep_or_write(folder / "grafana" / "password", secrets.token_urlsafe(24))
    password = keep_or_write(folder / "database" / "password", secrets.token_urlsafe(24))
    keep_or_write(folder / "database" / "url", f"postgresql+psycopg://modelwatch:{password}@postgres:5432/modelwatch")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
