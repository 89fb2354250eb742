"""A process that appends predictions to a spool and says on standard output which were accepted, until it is killed.

``python -m tests.integration.inference.crashing_writer ROOT DURABILITY PREFIX COUNT``
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from inference.spool import open_worker_spool
from tests.integration.inference.spooled import payload


async def main(root: str, durability: str, prefix: str, count: str) -> None:
    spool = open_worker_spool(
        Path(root), durability="power" if durability == "power" else "process", segment_bytes=20_000, free_floor=0
    )
    for number in range(int(count)):
        prediction_id = f"{prefix}-{number}"
        await spool.append_durable(payload(prediction_id))
        os.write(1, f"{prediction_id}\n".encode())  # not buffered: it is out before the next append
    spool.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
