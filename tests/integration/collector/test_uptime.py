"""Uptime: what the sidecars answer becomes points, now and over windows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import Engine

from collector.uptime import UptimeJob, is_ready
from collector.windows import parse_plans
from storage import metrics
from storage.engine import reading, writing
from storage.records import MetricPoint
from tests.factories import NOW
from tests.ports import free_port

PLANS = parse_plans("5m,1h", timedelta(minutes=1), 60)


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that answers every GET alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        (200, json.dumps({"status": "ready"}), True),
        (503, json.dumps({"status": "ready"}), False),
        (200, json.dumps({"status": "starting"}), False),
        (200, "<html>ready</html>", False),
        (200, "[]", False),
    ],
)
def test_only_a_sidecar_that_says_so_is_ready(status: int, body: str, ready: bool) -> None:
    with answering(status, body) as url:
        assert is_ready(url) is ready


def test_nobody_there_is_not_ready() -> None:
    assert not is_ready(f"http://127.0.0.1:{free_port()}")


def points(engine: Engine) -> list[MetricPoint]:
    with reading(engine) as c:
        return metrics.read_points(c, names=["uptime"], start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))


def test_share_counts_every_answer_of_every_sidecar_in_the_window(engine: Engine) -> None:
    answers: dict[str, bool] = {"http://one:8000": True, "http://two:8000": True}
    job = UptimeJob(engine=engine, urls=list(answers), plans=PLANS, ask=answers.__getitem__)

    for minute in range(6):
        answers["http://two:8000"] = minute != 5
        outcome = job.gather(NOW + timedelta(minutes=minute), None, lambda: None)
        assert outcome is not None
        with writing(engine) as c:
            outcome.write(c)

    newest = {(p.segment, p.window_seconds): p for p in points(engine) if p.at == NOW + timedelta(minutes=5)}
    assert {key: point.value for key, point in newest.items()} == {
        ("endpoint=one:8000", 0): 1.0,
        ("endpoint=two:8000", 0): 0.0,
        ("", 300): 0.9,
        ("", 3600): pytest.approx(11 / 12),
    }
    assert newest["", 300].n_current == 10
    lower, upper = newest["", 300].lower, newest["", 300].upper
    assert lower is not None
    assert upper is not None
    assert 0.5 < lower < 0.9 < upper < 1


def test_without_addresses_nothing_is_asked(engine: Engine) -> None:
    assert UptimeJob(engine=engine, urls=[], plans=PLANS).gather(NOW, None, lambda: None) is None
