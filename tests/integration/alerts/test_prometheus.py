"""Rules that ask a real Prometheus, and what happens where it does not answer as it should."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alerts.prometheus import Prometheus, Query, QueryFailed, prometheus_query, source_name
from alerts.promql import Answer, Sample, UnusableAnswer
from alerts.rules import SOURCE_FAILING, parse_rules
from alerts.sources import Sources
from tests.integration.alerts.stage import Stage
from tests.ports import free_port
from tests.prometheus import running_prometheus

BOTH = 'label_replace(vector(3), "model", "churn", "", "") or label_replace(vector(0.5), "model", "fraud", "", "")'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@contextmanager
def answering(respond: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server that is not Prometheus; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def said(handler: BaseHTTPRequestHandler, status: int, body: str, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body.encode())


def rules_asking(stage: Stage, promql: str, **keys: str) -> None:
    lines = "".join(f"\n        {key}: {value}" for key, value in keys.items())
    stage.rules = parse_rules(
        f"groups:\n  - name: asked\n    interval: 10s\n    rules:\n      - alert: Asked\n        promql: '{promql}'{lines}\n"
        "        labels: {severity: warning}\n      - {alert: Plain, metric: drift_psi, when: '> 0.2'}\n",
        "rules.yml",
    )


def asking(stage: Stage, query: Query, patience: float = 10.0) -> Prometheus:
    """From now on the stage asks this; patient unless a test is about that."""
    stage.sources = Sources(prometheus=Prometheus(query, patience=patience, clock=lambda: stage.now))
    assert stage.sources.prometheus is not None
    return stage.sources.prometheus


def states(stage: Stage) -> dict[tuple[str, str], str]:
    return {(row.rule, row.labels.get("model", "")): row.state.value for row in stage.alerts()}


# ---------------------------------------------------------------------------------------------- what Prometheus gives


@pytest.mark.parametrize(
    ("query", "samples"),
    [
        (BOTH, {"churn": 3.0, "fraud": 0.5}),
        ("scalar(vector(2))", {"": 2.0}),
        ("2.5", {"": 2.5}),
        ("vector(1) > 2", {}),
        ("vector(1) / 0", {"": math.inf}),
    ],
)
def test_vectors_and_scalars_are_series(prometheus: str, query: str, samples: dict[str, float]) -> None:
    found = prometheus_query(prometheus)(query)

    assert {sample.labels.get("model", ""): sample.value for sample in found} == samples


def test_the_name_of_a_metric_is_no_label(prometheus: str) -> None:
    (sample,) = prometheus_query(prometheus)('label_replace(vector(1), "__name__", "up", "", "")')

    assert sample.labels == {}


def test_nan_is_a_number_that_is_none(prometheus: str) -> None:
    (sample,) = prometheus_query(prometheus)("vector(0) / 0")

    assert math.isnan(sample.value)


@pytest.mark.parametrize(
    ("query", "error", "sentence"),
    [
        ("sum(", QueryFailed, "it answered 400: .*parse error"),
        ("vector(1)[1m:10s]", UnusableAnswer, "gives a range"),
        ('"text"', UnusableAnswer, "'text', which is not a number"),
    ],
)
def test_what_is_no_number_per_series_is_refused(prometheus: str, query: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        prometheus_query(prometheus)(query)


def test_each_series_of_a_query_is_an_alert_of_its_own(stage: Stage, prometheus: str) -> None:
    rules_asking(stage, BOTH, when='"> 1"')
    asking(stage, prometheus_query(prometheus))

    stage.evaluate()

    (alert,) = stage.alerts()
    assert alert.labels == {"model": "churn", "severity": "warning"}
    assert (alert.value, alert.threshold, alert.reason) == (3.0, 1.0, "value of the query 3 > 1")


def test_where_filters_the_series_of_a_query(stage: Stage, prometheus: str) -> None:
    rules_asking(stage, BOTH, when='"> 0"', where='{model: "f*"}')
    asking(stage, prometheus_query(prometheus))

    stage.evaluate()

    assert states(stage) == {("Asked", "fraud"): "firing"}


def test_query_without_a_condition_fires_for_what_it_gives_as_in_prometheus(stage: Stage, prometheus: str) -> None:
    asking(stage, prometheus_query(prometheus))
    rules_asking(stage, f"({BOTH}) > 1")
    stage.evaluate()
    assert states(stage) == {("Asked", "churn"): "firing"}

    rules_asking(stage, f"({BOTH}) > 7")
    stage.wait(10)
    stage.evaluate()

    (alert,) = stage.alerts()
    assert (alert.state.value, alert.reason) == ("resolved", "the query no longer gives this series")


# ---------------------------------------------------------------------------------------------- what is no answer


def test_unreachable_source_freezes_its_alerts_and_is_told_once(stage: Stage, prometheus: str) -> None:
    rules_asking(stage, BOTH, when='"> 0"')
    asking(stage, prometheus_query(prometheus))
    stage.evaluate()
    before = states(stage)
    asking(stage, prometheus_query(f"http://127.0.0.1:{free_port()}"))

    for _ in range(20):
        stage.wait(10)
        stage.evaluate()
        stage.evaluate(group=1)

    found = {row.rule: row for row in stage.alerts()}
    assert states(stage).items() >= before.items()
    assert {row.health.value for row in stage.alerts() if row.rule == "Asked"} == {"error"}
    assert found["Asked"].reason == "prometheus: it cannot be reached"
    failing = found[SOURCE_FAILING]
    assert (failing.state.value, failing.value, failing.labels["segment"]) == ("firing", 1.0, "source=prometheus")


def test_meta_alert_ends_when_the_source_answers_again(stage: Stage, prometheus: str) -> None:
    rules_asking(stage, BOTH, when='"> 0"')
    asking(stage, prometheus_query(f"http://127.0.0.1:{free_port()}"))
    for _ in range(20):
        stage.evaluate()
        stage.evaluate(group=1)
        stage.wait(10)
    assert states(stage) == {(SOURCE_FAILING, ""): "firing"}
    asking(stage, prometheus_query(prometheus))

    stage.evaluate()
    stage.evaluate(group=1)

    assert states(stage) == {(SOURCE_FAILING, ""): "resolved", ("Asked", "churn"): "firing", ("Asked", "fraud"): "firing"}


def test_rule_without_a_prometheus_says_what_to_set(stage: Stage) -> None:
    rules_asking(stage, BOTH, when='"> 0"', on_error="alert")
    stage.evaluate()

    (alert,) = stage.alerts()
    assert (alert.state.value, alert.reason) == ("firing", "prometheus: MODELWATCH_PROMETHEUS_URL is not set")
    assert "but MODELWATCH_PROMETHEUS_URL is not set" in stage.sources.warnings(stage.rules)[0]


@pytest.mark.parametrize(
    ("respond", "sentence"),
    [
        (lambda handler: said(handler, 302, "", Location="http://127.0.0.1:1/"), "redirect, which is not followed"),
        (lambda handler: said(handler, 200, "<html>"), "its answer is not one that Prometheus gives"),
        (lambda handler: said(handler, 200, '{"status":"success"}'), "its answer is not one that Prometheus gives"),
        (
            lambda handler: said(handler, 503, '{"status":"error","error":"query \\"timed\\" out"}'),
            'it answered 503: query "timed" out',
        ),
        (lambda handler: said(handler, 500, "secret"), "it answered 500$"),
    ],
)
def test_answer_that_is_none_is_one_sentence(respond: Callable[[BaseHTTPRequestHandler], None], sentence: str) -> None:
    with answering(respond) as url, pytest.raises(QueryFailed, match=sentence):
        prometheus_query(url)("up")


def test_redirect_is_not_followed() -> None:
    reached: list[str] = []
    with (
        answering(lambda handler: reached.append(handler.path)) as inside,
        answering(lambda handler: said(handler, 307, "", Location=f"{inside}/secret")) as url,
        pytest.raises(QueryFailed),
    ):
        prometheus_query(url)("up")

    assert reached == []


def test_certificate_that_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    import ssl

    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(QueryFailed, match="certificate is not to be trusted"):
        prometheus_query(f"https://127.0.0.1:{listener.getsockname()[1]}")("up")
    thread.join(5)
    listener.close()


def test_password_of_the_address_is_told_nobody() -> None:
    url = f"http://user:hidden@127.0.0.1:{free_port()}"

    with pytest.raises(QueryFailed) as failed:
        prometheus_query(url)("up")

    assert "hidden" not in str(failed.value)
    assert "hidden" not in source_name(url)
    assert failed.value.__cause__ is None


# ---------------------------------------------------------------------------------------------- what is slow


def test_slow_source_delays_no_other_rule(stage: Stage) -> None:
    release = threading.Event()

    def slow(query: str) -> tuple[Sample, ...]:
        release.wait(30)
        return (Sample(labels={"model": "churn"}, value=3.0),)

    rules_asking(stage, "slow", when='"> 1"')
    asking(stage, slow, patience=0.2)
    stage.point(0.5)
    began = time.monotonic()

    for _ in range(20):
        stage.evaluate()

    lasted = time.monotonic() - began
    assert states(stage) == {("Plain", "churn"): "firing"}
    # Twenty evaluations that each waited would take four seconds for that alone.
    assert lasted < 20 * 0.2
    release.set()
    deadline = time.monotonic() + 20
    while ("Asked", "churn") not in states(stage):
        assert time.monotonic() < deadline
        stage.evaluate()
    assert states(stage)["Asked", "churn"] == "firing"


def test_query_that_nobody_answers_has_failed_after_a_while() -> None:
    hanging = threading.Event()
    source = Prometheus(lambda query: (hanging.wait(30), ())[1], patience=0.01, give_up=0.05, clock=lambda: datetime.now(UTC))

    assert source.ask("group", ["up"]) == {}
    time.sleep(0.06)
    answers = source.ask("group", ["up"])

    assert answers["up"].error == "prometheus: it did not answer in time"
    hanging.set()


def test_at_most_four_queries_run_at_once() -> None:
    running, most, lock, release = [0], [0], threading.Lock(), threading.Event()

    def count(query: str) -> tuple[Sample, ...]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        release.wait(10)
        with lock:
            running[0] -= 1
        return ()

    source = Prometheus(count, patience=0.3)
    source.ask("group", [f"q{number}" for number in range(12)])
    release.set()
    deadline = time.monotonic() + 10
    answers: dict[str, Answer] = {}
    while len(answers) < 12:
        assert time.monotonic() < deadline
        answers |= source.ask("group", [f"q{number}" for number in range(12) if f"q{number}" not in answers])

    assert most == [4]


def test_alert_of_a_query_goes_on_after_a_restart(stage: Stage, prometheus: str) -> None:
    asking(stage, prometheus_query(prometheus))
    rules_asking(stage, BOTH, when='"> 1"', **{"for": "20s"})
    stage.evaluate()
    (pending,) = stage.alerts()
    restarted = replace(stage, _delivery=None)
    asking(restarted, prometheus_query(prometheus))
    restarted.wait(20)

    restarted.evaluate()

    (alert,) = restarted.alerts()
    assert (alert.state.value, alert.pending_at) == ("firing", pending.pending_at)
