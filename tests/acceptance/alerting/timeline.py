"""Timelines against the real process: metric points go in, and each message has to come in its time, and no other.

In the manner of Alertmanager's acceptance tests. A scenario is a function that is played in a thread of its own beside the
others of its process. Its name is its model, its receiver, its Slack channel and its mailbox, so that none hears another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from alerts.renderings import MARKS
from storage import metrics
from storage.engine import writing
from storage.records import MetricPoint
from tests.fakes import LOOPBACK, Answer, FakeMail, FakeSlack, Posted
from tests.ports import free_port

PATIENCE = 12.0
"""Seconds that a message may come later than on a quiet machine."""


# ---------------------------------------------------------------------------------------------- what is heard


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One message as it arrived. ``taken``: whether the other side said that it took it."""

    at: float
    channel: str
    kind: str
    text: str
    taken: bool


class Inbox:
    """What came for one scenario and has not been asked for yet."""

    def __init__(self) -> None:
        self._heard: deque[Heard] = deque()
        self._arrived = threading.Condition()
        self.answers: deque[Answer] = deque()
        """What the other side answers next, before it takes everything."""

    def put(self, heard: Heard) -> None:
        with self._arrived:
            self._heard.append(heard)
            self._arrived.notify_all()

    def next(self, channel: str, seconds: float) -> Heard | None:
        """Takes out the next message by the channel; None where none came within the time."""
        with self._arrived:
            self._arrived.wait_for(lambda: any(one.channel == channel for one in self._heard), max(seconds, 0.0))
            found = next((one for one in self._heard if one.channel == channel), None)
            if found is not None:
                self._heard.remove(found)
            return found

    @property
    def rest(self) -> list[Heard]:
        with self._arrived:
            return list(self._heard)


class Outside(FakeSlack):
    """Slack, a webhook for each scenario, and the address of the heartbeat, each with answers of its own."""

    def __init__(self, inboxes: Mapping[str, Inbox]) -> None:
        super().__init__()
        self._inboxes = inboxes
        self.beats: list[float] = []

    def take(self, request: Posted) -> Answer:
        now = time.monotonic()
        if request.path == "/heartbeat":
            self.beats.append(now)
            return Answer(body="ok")
        usual = super().take(request)
        if request.path == "/api/chat.update":
            return usual
        api = request.path.startswith("/api/")
        name = str(request.body["channel"]).removeprefix("#") if api else request.path.rpartition("/")[2]
        inbox = self._inboxes[name]
        answer = inbox.answers.popleft() if inbox.answers else usual
        taken = answer.status == 200 and not answer.drop and '"ok":false' not in (answer.body or "").replace(" ", "")
        hook = request.path.startswith("/hooks/")
        kind = str(request.body["kind"]) if hook else kind_of(request.text)
        inbox.put(Heard(at=now, channel="webhook" if hook else "slack", kind=kind, text=request.everything, taken=taken))
        return answer


class Mailboxes(FakeMail):
    """A mail server that wants STARTTLS and a password; each scenario has a mailbox."""

    def __init__(self, inboxes: Mapping[str, Inbox], **given: Any) -> None:
        super().__init__(**given)
        self._inboxes = inboxes

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        reply = await super().handle_DATA(server, session, envelope)
        mail = self.received[-1]
        name = str(mail["To"]).partition("@")[0]
        body = mail.get_body(("plain",))
        text = f"{mail['Subject']}\n{body.get_content() if body else ''}"
        kind = kind_of(str(mail["Subject"]))
        self._inboxes[name].put(Heard(at=time.monotonic(), channel="email", kind=kind, text=text, taken=True))
        return reply


def kind_of(headline: str) -> str:
    """The kind of a message by the mark that its headline begins with; a severity stands for firing."""
    mark = headline.partition("[")[2].partition("]")[0]
    return next((kind.value for kind, known in MARKS.items() if known == mark), "firing")


# ---------------------------------------------------------------------------------------------- the process


@dataclass
class Process:
    """`modelwatch alert` on a folder, as a user starts it, with what may be done to it."""

    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    _running: subprocess.Popen[bytes] | None = None

    @property
    def rules(self) -> Path:
        return self.folder / "rules.yml"

    @property
    def log(self) -> str:
        path = self.folder / "alert.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def start(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELWATCH_")}
        given = {"MODELWATCH_HOME": str(self.folder), "MODELWATCH_RULES": str(self.rules), "MODELWATCH_ALERTS_PORT": str(self.port)}
        with (self.folder / "alert.log").open("ab") as log:
            self._running = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "alert"],
                env=clean | self.environment | given,
                cwd=Path(__file__).parents[3],
                stdout=log,
                stderr=log,
            )

    def wait_until_up(self) -> None:
        self.wait_until(lambda: "modelwatch_alerts_up 1.0" in self.metrics())

    def wait_until(self, what: Callable[[], object], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert self._running is not None
            assert self._running.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def metrics(self) -> str:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Asks the HTTP API; the JSON of its answer."""
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def kill(self) -> None:
        """kill -9."""
        assert self._running is not None
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()

    def stop(self) -> int:
        """Asks it to stop, and returns its exit status."""
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)
        try:
            return self._running.wait(40)
        finally:
            self._running.kill()


# ---------------------------------------------------------------------------------------------- scenarios


@dataclass
class Play:
    """A scenario that is being played. Times in ``want`` count from the last thing that happened in it."""

    name: str
    process: Process
    engine: Engine
    outside: Outside
    inbox: Inbox
    extra: Mapping[str, Inbox]
    mark: float = 0.0

    def point(self, value: float, *features: str, name: str = "drift_psi") -> None:
        """A point of each feature that ends now."""
        at = datetime.now(UTC)
        points = [
            MetricPoint(
                at=at,
                name=name,
                value=value,
                model=self.name,
                version="1",
                feature=feature,
                window_seconds=60,
                n_current=500,
                threshold=0.2,
            )
            for feature in features
        ]
        with writing(self.engine) as c:
            metrics.write_points(c, points)
        self.mark = time.monotonic()

    def want(
        self,
        kind: str,
        *contains: str,
        between: tuple[float, float],
        by: str = "slack",
        to: str = "",
        taken: bool = True,
        without: Sequence[str] = (),
    ) -> None:
        """The next message by the channel is this one, and comes so many seconds after what happened last."""
        inbox = self.extra[to] if to else self.inbox
        begin, end = between
        heard = inbox.next(by, self.mark + end + PATIENCE - time.monotonic())
        where = f"{self.name}: {kind} by {by} between {begin} and {end} s"
        assert heard is not None, f"{where} did not come\n{self.process.log[-3000:]}"
        after = heard.at - self.mark
        assert heard.kind == kind, f"{where}: {heard.kind} came after {after:.1f} s: {heard.text[:500]}"
        assert heard.taken is taken, f"{where}: taken is {heard.taken}"
        assert begin - 0.1 <= after <= end + PATIENCE, f"{where} came after {after:.1f} s"
        missing = [part for part in contains if part not in heard.text]
        assert not missing, f"{where} lacks {missing}: {heard.text[:2000]}"
        surplus = [part for part in without if part in heard.text]
        assert not surplus, f"{where} has {surplus}: {heard.text[:2000]}"
        self.mark = heard.at

    def quiet(self, seconds: float) -> None:
        """Nothing comes for a while."""
        time.sleep(seconds)
        assert not self.inbox.rest, f"{self.name}: {self.inbox.rest}"
        self.mark = time.monotonic()

    def answer_next(self, *answers: Answer) -> None:
        """The other side answers so from now on, and then takes everything again."""
        self.inbox.answers.extend(answers)

    def incident(self) -> int:
        """The number of the open incident of this scenario."""
        found = [one["id"] for one in self.process.call("GET", "/v1/incidents") if one["receiver"] == self.name]
        assert len(found) == 1, found
        return int(found[0])

    def happened(self) -> None:
        """From here on the seconds of the next ``want`` are counted."""
        self.mark = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a scenario is told of: its part of the rules file, and what is played."""

    play: Callable[[Play], None]
    rule: str
    route: str
    channels: str
    more_receivers: str = ""
    extra: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.play.__name__


def rules_file(scenarios: Sequence[Scenario], hosts: str) -> str:
    """The rules file of a process. ``{hooks}`` in a scenario's receivers is the address of the webhooks."""
    rules, receivers, routes = [], [], []
    for one in scenarios:
        rules.append(
            f"      - {{alert: Drift, metric: drift_psi, where: {{model: {one.name}, feature: '*'}}, when: '> 0.2', "
            f"labels: {{severity: warning}}, {one.rule}}}".replace("alert: Drift", f"alert: Drift_{one.name}")
        )
        receivers.append(f"  - {{name: {one.name}, {one.channels}}}{one.more_receivers}")
        routes.append(f"    - {{match: {{model: {one.name}}}, receiver: {one.name}, {one.route}}}")
    parts = ["groups:", "  - name: all", "    interval: 200ms", "    rules:", *rules, "receivers:", *receivers]
    parts += ["routes:", f"  receiver: {scenarios[0].name}", "  routes:", *routes]
    parts += ["inhibit:", "  - {source: {severity: critical}, target: {severity: warning}, equal: [model]}", ""]
    return "\n".join(parts).replace("{hooks}", f"{hosts}/hooks")


def play_all(scenarios: Sequence[Scenario], plays: Mapping[str, Play]) -> dict[str, BaseException]:
    """Plays the scenarios side by side; what went wrong, by name."""
    failures: dict[str, BaseException] = {}

    def perform(scenario: Scenario) -> None:
        try:
            scenario.play(plays[scenario.name])
        except BaseException as error:  # noqa: BLE001  told by the test of the scenario
            failures[scenario.name] = error

    threads = [threading.Thread(target=perform, args=(one,)) for one in scenarios]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
