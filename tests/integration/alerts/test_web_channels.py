"""Webhooks, PagerDuty, Alertmanager and Apprise against a server that answers as they do, or does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from alerts.channels.alertmanager import Alertmanagers
from alerts.channels.apprise import AppriseServices
from alerts.channels.channel import Address, Channel, Fault, NotDelivered
from alerts.channels.hosts import HostPolicy
from alerts.channels.pagerduty import PagerDutyEvents
from alerts.channels.post import Poster, retry_after
from alerts.channels.webhook import Webhooks
from alerts.messages import AlertLine, Kind, Message
from alerts.receivers import Alertmanager, Apprise, PagerDuty, Receiver, Secret, Webhook
from alerts.settings import AlertsSettings, channel_warnings
from alerts.testnotify import send_test
from tests.fakes import Answer, FakeSlack
from tests.integration.alerts.stage import certificate_file
from tests.ports import free_port
from tests.unit.alerts.rows import NOW

MESSAGE = Message(
    kind=Kind.FIRING,
    key="incident:7:1",
    title="FeatureDrift: churn, age",
    summary="age <drifted> & moved",
    at=NOW,
    severity="critical",
    facts=(("PSI", "0.41"), ("Window", "1h")),
    dashboard_url="https://watch.example.com/drift?model=churn",
    incident=7,
    incident_key="incident:7",
    labels={"alert": "FeatureDrift", "model": "churn"},
    lines=(
        AlertLine(
            state="new",
            title="FeatureDrift: churn, age",
            detail="PSI 0.41 > 0.2",
            labels={"alert": "FeatureDrift", "model": "churn", "feature": "age", "bad-name": "x"},
            starts_at=NOW.isoformat(),
        ),
    ),
)
TO = Address(target="ops")
Make = Callable[[str, Poster], Channel]


@pytest.fixture
def server() -> Iterator[FakeSlack]:
    with FakeSlack() as running:
        yield running


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PD_KEY", "the-secret-routing-key")
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode())


pytestmark = pytest.mark.usefixtures("_secrets")


def poster(server: FakeSlack) -> Poster:
    return Poster(policy=HostPolicy.parse(server.url), timeout=2)


def webhook(url: str, by: Poster) -> Channel:
    target = Webhook(url=f"{url}/hook?token=in-the-address", secret=Secret(env="HOOK_SECRET"))
    return Webhooks({"ops": target}, by, clock=lambda: 1_700_000_000.9)


def pagerduty(url: str, by: Poster) -> Channel:
    return PagerDutyEvents({"ops": PagerDuty(routing_key=Secret(env="PD_KEY"))}, by, url=f"{url}/v2/enqueue")


def alertmanager(url: str, by: Poster) -> Channel:
    return Alertmanagers({"ops": Alertmanager(url=url)}, by)


EACH: dict[str, Make] = {"webhook": webhook, "pagerduty": pagerduty, "alertmanager": alertmanager}


def refused(channel: Channel, address: Address = TO) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        channel.send(MESSAGE, address, answers=None)
    return caught.value


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(status=429, headers={"Retry-After": "7"}), Fault.RATE_LIMITED),
        (Answer(status=429), Fault.RATE_LIMITED),
        (Answer(status=500, body="<b>oops</b>"), Fault.SERVER_ERROR),
        (Answer(status=503), Fault.SERVER_ERROR),
        (Answer(status=302, headers={"Location": "http://169.254.169.254/"}), Fault.REDIRECTED),
        (Answer(status=307, headers={"Location": "/elsewhere"}), Fault.REDIRECTED),
        (Answer(status=401), Fault.AUTHENTICATION),
        (Answer(status=404), Fault.AUTHENTICATION),
        (Answer(status=400, body="no"), Fault.REJECTED),
        (Answer(drop=True), Fault.UNREACHABLE),
        (Answer(delay=3), Fault.UNREACHABLE),
    ],
)
def test_answer_that_is_no_success_is_a_fault_and_asked_once(server: FakeSlack, make: Make, answer: Answer, fault: Fault) -> None:
    server.script.append(answer)

    error = refused(make(server.url, poster(server)))

    assert error.fault is fault
    assert len(server.posted) == 1
    assert error.retry_after == (timedelta(seconds=7) if answer.headers.get("Retry-After") else None)
    assert not any(secret in str(error) for secret in ("the-secret-routing-key", "in-the-address", "whsec_"))


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_nobody_listening_is_unreachable(make: Make) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    assert refused(make(url, Poster(policy=HostPolicy.parse(url), timeout=2))).fault is Fault.UNREACHABLE


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_private_address_that_is_not_named_is_not_called(server: FakeSlack, make: Make) -> None:
    error = refused(make(server.url, Poster(policy=HostPolicy())))

    assert (error.fault, error.permanent) == (Fault.REJECTED, True)
    assert "MODELWATCH_WEBHOOK_HOSTS" in str(error)
    assert server.posted == []


@pytest.mark.parametrize("make", EACH.values(), ids=EACH)
def test_receiver_that_is_no_longer_in_the_rules_is_said(server: FakeSlack, make: Make) -> None:
    assert refused(make(server.url, poster(server)), Address(target="gone")).fault is Fault.NOT_CONFIGURED


def test_webhook_body_is_signed_so_that_the_receiver_can_check_it(server: FakeSlack) -> None:
    webhook(server.url, poster(server)).send(MESSAGE, TO, answers=None)

    [posted] = server.posted
    signed = f"{posted.headers['webhook-id']}.1700000000.".encode() + posted.raw
    digest = hmac.new(b"twenty-four bytes of key", signed, hashlib.sha256).digest()
    assert posted.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert posted.headers["webhook-timestamp"] == "1700000000"
    assert (posted.body["version"], posted.body["kind"], posted.body["incident"]) == (1, "firing", 7)
    assert posted.body["facts"][0] == {"name": "PSI", "value": "0.41"}
    assert posted.body["lines"][0]["labels"]["feature"] == "age"


def test_webhook_names_the_same_message_alike_each_time(server: FakeSlack) -> None:
    channel = webhook(server.url, poster(server))
    for message in (MESSAGE, MESSAGE, replace(MESSAGE, key="incident:7:2")):
        channel.send(message, TO, answers=None)

    first, again, other = (posted.headers["webhook-id"] for posted in server.posted)
    assert first == again != other


def test_missing_secret_names_the_variable(server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    monkeypatch.delenv("PD_KEY")

    for make, variable in ((webhook, "HOOK_SECRET"), (pagerduty, "PD_KEY")):
        error = refused(make(server.url, poster(server)))
        assert error.fault is Fault.NOT_CONFIGURED
        assert variable in str(error)
    assert server.posted == []


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        (Kind.FIRING, "trigger"),
        (Kind.UPDATE, "trigger"),
        (Kind.REPEAT, "trigger"),
        (Kind.ACKNOWLEDGED, "acknowledge"),
        (Kind.RESOLVED, "resolve"),
    ],
)
def test_messages_of_an_incident_have_one_pagerduty_alert(server: FakeSlack, kind: Kind, action: str) -> None:
    channel = pagerduty(server.url, poster(server))
    channel.send(MESSAGE, TO, answers=None)
    channel.send(replace(MESSAGE, kind=kind, key="incident:7:2"), TO, answers=None)

    first, second = (posted.body for posted in server.posted)
    assert (first["event_action"], second["event_action"]) == ("trigger", action)
    assert first["dedup_key"] == second["dedup_key"]
    assert len(first["dedup_key"]) <= 255
    assert first["routing_key"] == "the-secret-routing-key"
    assert first["payload"]["severity"] == "critical"


def test_pagerduty_test_closes_itself(server: FakeSlack) -> None:
    pagerduty(server.url, poster(server)).send(replace(MESSAGE, kind=Kind.TEST, incident_key=""), TO, answers=None)

    assert [posted.body["event_action"] for posted in server.posted] == ["trigger", "resolve"]
    assert len({posted.body["dedup_key"] for posted in server.posted}) == 1


def test_alertmanager_gets_each_alert_with_its_labels_and_its_end(server: FakeSlack) -> None:
    channel = alertmanager(server.url, poster(server))
    channel.send(MESSAGE, TO, answers=None)
    over = replace(MESSAGE.lines[0], state="resolved", ends_at=(NOW + timedelta(hours=1)).isoformat())
    channel.send(replace(MESSAGE, kind=Kind.RESOLVED, lines=(over,)), TO, answers=None)

    (firing,), (resolved,) = (json.loads(posted.raw) for posted in server.posted)
    assert server.posted[0].path == "/api/v2/alerts"
    assert firing["labels"] == {"alertname": "FeatureDrift", "model": "churn", "feature": "age", "bad_name": "x"}
    assert datetime.fromisoformat(firing["endsAt"]) > NOW + timedelta(hours=12)
    assert resolved["labels"] == firing["labels"]
    assert resolved["startsAt"] == firing["startsAt"]
    assert datetime.fromisoformat(resolved["endsAt"]) == NOW + timedelta(hours=1)


def test_apprise_tells_what_its_address_names(server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPRISE", f"json://127.0.0.1:{server.url.rsplit(':', 1)[1]}/told")
    channel = AppriseServices({"ops": Apprise(url=Secret(env="APPRISE"))})

    channel.send(MESSAGE, TO, answers=None)

    [posted] = server.posted
    assert posted.path.startswith("/told")
    assert posted.body["title"] == "[CRITICAL] FeatureDrift: churn, age"
    assert "age <drifted> & moved" in posted.body["message"]


def test_apprise_address_that_means_nothing_is_said_without_telling_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPRISE", "nonsense://the-secret")

    error = refused(AppriseServices({"ops": Apprise(url=Secret(env="APPRISE"))}))

    assert error.fault is Fault.NOT_CONFIGURED
    assert "the-secret" not in str(error)


def test_apprise_service_that_refuses_is_tried_again(server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script.append(Answer(status=500))
    monkeypatch.setenv("APPRISE", f"json://127.0.0.1:{server.url.rsplit(':', 1)[1]}/told")

    assert refused(AppriseServices({"ops": Apprise(url=Secret(env="APPRISE"))})).fault is Fault.SERVER_ERROR


class _Ok(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the base class
        """Nothing."""


@pytest.fixture
def secure_url(authority: trustme.CA) -> Iterator[str]:
    """A web server on 127.0.0.1 whose certificate comes from ``authority``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with HTTPServer(("127.0.0.1", 0), _Ok) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_certificate_is_verified(secure_url: str, authority: trustme.CA, tmp_path: Path) -> None:
    policy = HostPolicy.parse(secure_url)

    trusted = Poster(policy=policy, ca_file=str(certificate_file(authority, tmp_path)))
    alertmanager(secure_url, trusted).send(MESSAGE, TO, answers=None)

    assert refused(alertmanager(secure_url, Poster(policy=policy))).fault is Fault.CERTIFICATE


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    assert retry_after({"retry-after": "Sun, 01 Mar 2026 12:00:30 GMT"}, now) == timedelta(seconds=30)
    assert retry_after({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, now) == timedelta(0)
    assert retry_after({"retry-after": "soon"}, now) is None
    assert retry_after({}, now) is None


RULES = """
groups: []
receivers:
  - name: ops
    webhook: {{url: "{url}/hook"}}
    pagerduty: {{routing_key_env: PD_KEY}}
"""


def settings_with(tmp_path: Path, url: str, **changes: Any) -> AlertsSettings:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES.format(url=url))
    given: dict[str, Any] = {"rules": rules, "webhook_hosts": url, "pagerduty_url": f"{url}/pagerduty", **changes}
    return AlertsSettings.load(**given)


def test_test_message_goes_to_every_channel_of_a_receiver(server: FakeSlack, tmp_path: Path) -> None:
    outcome = send_test(settings_with(tmp_path, server.url), "ops")

    assert outcome.delivered, outcome
    assert [posted.path for posted in server.posted] == ["/hook", "/pagerduty", "/pagerduty"]
    assert "by webhook was delivered to ops" in outcome.sentence
    assert "by pagerduty was delivered to ops" in outcome.sentence


def test_test_message_to_nobody_known_names_who_is(server: FakeSlack, tmp_path: Path) -> None:
    outcome = send_test(settings_with(tmp_path, server.url), "pigeon")

    assert not outcome.delivered
    assert outcome.sentence == "There is no channel or receiver pigeon; known are email, ops, pagerduty, slack, webhook."


def test_what_a_receiver_lacks_is_warned_of(tmp_path: Path) -> None:
    receiver = Receiver(
        name="ops", webhook=Webhook(url="http://10.0.0.1/x"), pagerduty=PagerDuty(routing_key=Secret(env="NOT_THERE"))
    )

    warnings = channel_warnings(AlertsSettings.load(), (receiver,))

    assert any("NOT_THERE is not set" in warning for warning in warnings)
    assert any("plain http" in warning for warning in warnings)


def test_check_of_a_signature_in_the_documentation_works(server: FakeSlack) -> None:
    page = (Path(__file__).parents[3] / "docs" / "channels.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    target = Webhook(url=f"{server.url}/hook", secret=Secret(env="HOOK_SECRET"))
    Webhooks({"ops": target}, poster(server)).send(MESSAGE, TO, answers=None)

    [posted] = server.posted
    assert names["genuine"](posted.headers, posted.raw, b"twenty-four bytes of key")
    assert not names["genuine"](posted.headers, posted.raw + b" ", b"twenty-four bytes of key")
    assert not names["genuine"]({**posted.headers, "webhook-timestamp": "1700000000"}, posted.raw, b"twenty-four bytes of key")
