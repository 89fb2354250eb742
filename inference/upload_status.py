"""What the uploader tells the sidecar, which is another process: a small file in the spool folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from inference.spool_folder import write_atomically

STATUS_FILE = "uploader.json"
SERVER_VARIABLE = "UPLOADS_FOR"
"""In the uploader's environment, the process id of the server that started it and that it ends with. Asked for its
parent it could not tell, where the server was killed before it came to ask."""


class UploadStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Totals since the spool folder was made; times are Unix seconds. Written about once a second."""

    at: float = 0.0
    """When it was written: long ago means that no uploader runs."""
    pid: int = 0
    database: Literal["ok", "unavailable", "unknown"] = "unknown"
    hindrance: str | None = None
    """Why nothing is uploaded at present, as one sentence."""
    uploaded_total: int = 0
    duplicates_total: int = 0
    """Predictions that came with an id that was stored before: the first stays."""
    quarantined_total: int = 0
    """Predictions that could not be stored and damaged ranges, kept in ``quarantine`` folders."""
    torn_total: int = 0
    """Segments whose last frame was not whole: it was being written when the machine stopped."""
    last_commit_at: float | None = None


def read_status(root: Path) -> UploadStatus:
    """What the uploader of this spool folder said last; all zeros when there is nothing readable."""
    try:
        return msgspec.json.decode((root / STATUS_FILE).read_bytes(), type=UploadStatus)
    except (OSError, msgspec.DecodeError):
        return UploadStatus()


def write_status(root: Path, status: UploadStatus) -> None:
    """Replaces the file. Raises OSError."""
    write_atomically(root / STATUS_FILE, msgspec.json.encode(status), durable=False)
