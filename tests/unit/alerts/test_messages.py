"""What people read: facts, links, and that nothing in a name can do harm."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.annotations import render_annotations
from alerts.cards import Card, Change, Mover
from alerts.channels.email import compose
from alerts.channels.slack_blocks import blocks, escaped, fallback_text
from alerts.messages import AlertLine, Kind, Message, dashboard_link, message_for, message_key, trial_message, undelivered
from alerts.pictures import course_png
from alerts.renderings import headline, html_text, plain_text
from alerts.rules import Rule
from alerts.wording import Unit, format_value
from storage.records import AlertRow, AlertState
from tests.unit.alerts.rows import NOW, make_alert, make_rule

DASHBOARD = "https://watch.example.com"
RULE = make_rule(
    annotations={
        "summary": "{{ feature }} of {{ model }} drifted: PSI {{ value }}, limit {{ threshold }}",
        "description": "{{ n }} predictions in {{ window }}",
        "runbook_url": "https://wiki.example.com/{{ alert }}",
    }
)
HOSTILE = "<!channel> & <https://evil|click> *x* <script>alert(1)</script>\r\nBcc: everybody@example.com"


def message(alert: AlertRow | None = None, rule: Rule = RULE) -> Message:
    return message_for(alert or make_alert(), rule, dashboard=DASHBOARD, now=NOW)[0]


def resolved_alert() -> AlertRow:
    return make_alert(AlertState.RESOLVED, value=0.04, resolved_at=NOW + timedelta(minutes=90), reason="PSI 0.04 < 0.1")


def test_firing_message_says_what_how_much_and_since_when() -> None:
    text = plain_text(message())

    for said in ("FeatureDrift: churn, version 1, age", "age of churn drifted: PSI 0.3457, limit 0.2", "1234 predictions in 5m"):
        assert said in text
    facts = dict(message().facts)
    assert facts["PSI"] == "0.3457"
    assert facts["Fires when"] == "> 0.2"
    assert (facts["Window"], facts["Predictions in it"]) == ("5m", "1,234")
    assert (facts["Model"], facts["Version"], facts["Feature"], facts["Severity"]) == ("churn", "1", "age", "warning")
    assert facts["Since"] == "2026-03-01 11:50:00 UTC"
    assert message().runbook_url == "https://wiki.example.com/FeatureDrift"


def test_resolved_message_says_how_long_it_lasted_and_what_it_answers() -> None:
    found = message(resolved_alert())

    assert found.kind is Kind.RESOLVED
    assert found.summary == "Resolved after 1h30m: PSI 0.04 < 0.1."
    assert found.answers == message().key
    assert found.key != message().key
    assert dict(found.facts)["Resolved"] == "2026-03-01 13:30:00 UTC"


def test_key_is_the_same_for_the_same_firing_and_another_for_the_next() -> None:
    assert message_key(make_alert(), resolved=False) == message_key(make_alert(value=9.0), resolved=False)
    assert message_key(make_alert(), resolved=False) != message_key(make_alert(fired_at=NOW + timedelta(hours=1)), resolved=False)


def test_link_covers_the_problem_with_absolute_times() -> None:
    link = urlsplit(dashboard_link(DASHBOARD, resolved_alert(), RULE, NOW))
    query = {name: values[0] for name, values in parse_qs(link.query).items()}

    assert (link.netloc, link.path) == ("watch.example.com", "/drift")
    assert (query["model"], query["version"], query["feature"]) == ("churn", "1", "age")
    assert query["from"] == "2026-03-01T11:25:00Z"
    assert query["to"] == "2026-03-01T13:30:01Z"


@pytest.mark.parametrize(
    ("metric", "page"), [("accuracy", "performance"), ("sample_ratio_p", "compare"), ("memory_percent", "overview")]
)
def test_link_goes_to_the_page_that_shows_the_metric(metric: str, page: str) -> None:
    assert urlsplit(dashboard_link(DASHBOARD, make_alert(), make_rule(metric=metric), NOW)).path == f"/{page}"


def test_names_in_a_link_are_quoted() -> None:
    link = dashboard_link(DASHBOARD, make_alert(labels={"model": "churn", "feature": "a&b=<c>|d #e"}), RULE, NOW)

    assert parse_qs(urlsplit(link).query)["feature"] == ["a&b=<c>|d #e"]
    assert not set("<>| ") & set(link)


@pytest.mark.parametrize(
    "template",
    [
        "{{ nothing_of_this_name }}",
        "{{ value",
        "{{ 1 / 0 }}",
        "{{ model.__class__.__mro__ }}",
        "{% include 'x' %}",
        "{{ labels.team.lead }}",
        "{{ 'x' * 1000000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ labels.update({'model': 'x'}) }}",
        "{% for a in range(100001) %}x{% endfor %}",
    ],
)
def test_broken_template_costs_its_text_and_not_the_message(template: str) -> None:
    found, problems = message_for(make_alert(), make_rule(annotations={"summary": template}), dashboard=DASHBOARD, now=NOW)

    assert found.summary == "PSI 0.3457 > 0.2"
    assert "alerts check" in found.note
    assert problems[0].startswith('rule "FeatureDrift": annotations: summary: ')


def test_templates_see_every_label_of_the_alert() -> None:
    alert = make_alert(labels={"instance": "web1", "severity": "page", "value": "a label hides no value"})

    texts = render_annotations(make_rule(annotations={"a": "{{ instance }} {{ severity }} {{ model }}|{{ value }}"}), alert).texts

    assert texts == {"a": "web1 page |0.3457"}


def test_templates_see_numbers_that_are_short_and_can_be_formatted() -> None:
    texts = render_annotations(
        make_rule(
            metric="error_rate",
            annotations={"a": "{{ value }}", "b": "{{ '%.1f' | format(value * 100) }}", "c": "{{ value | round(2) }}"},
        ),
        make_alert(),
    ).texts

    assert texts == {"a": "34.57 %", "b": "34.6", "c": "0.35"}


@pytest.mark.parametrize("address", ["javascript:alert(1)", "ftp://x", "https://", "runbook", "https://x\n", "https://a b"])
def test_only_web_addresses_become_links(address: str) -> None:
    expected = address.strip() if address == "https://x\n" else ""

    assert message(rule=make_rule(annotations={"runbook_url": address})).runbook_url == expected


def test_message_survives_the_outbox() -> None:
    for found in (message(), message(resolved_alert()), trial_message(NOW, DASHBOARD)):
        assert Message.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_undelivered_message_says_where_it_was_meant_to_go() -> None:
    found = undelivered(message(), channel="slack", receiver="oncall", error="Slack answered 404")

    assert found.title == message().title
    assert "meant for oncall by slack" in found.note
    assert headline(found).startswith("[NOT DELIVERED] ")


# ---------------------------------------------------------------------------------------------- hostile names


def hostile() -> Message:
    labels = {"model": HOSTILE, "version": HOSTILE, "feature": HOSTILE, "severity": HOSTILE, "team": HOSTILE}
    return message(
        make_alert(labels=labels, reason=HOSTILE), make_rule(annotations={"summary": "{{ feature }}", "description": HOSTILE})
    )


def test_slack_gets_no_control_characters_from_names() -> None:
    found = json.dumps(blocks(hostile())) + fallback_text(hostile())

    assert "<!channel>" not in found
    assert "<https://evil" not in found
    assert "&lt;!channel&gt;" in found
    assert f"<{DASHBOARD}/drift?" in found


def test_html_gets_no_markup_from_names() -> None:
    found = html_text(hostile())

    assert "<script>" not in found
    assert "&lt;script&gt;" in found


def test_mail_gets_no_header_from_names() -> None:
    mail = compose(hostile(), sender="watch@example.com", to=("oncall@example.com",))

    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
    assert b"\nBcc:" not in mail.as_bytes().split(b"\n\n")[0]


texts = st.text(max_size=400)


@given(
    st.builds(
        Message,
        kind=st.sampled_from(Kind),
        key=texts,
        title=st.text(max_size=4000),
        summary=st.text(max_size=9000),
        at=st.just(NOW),
        description=st.text(max_size=9000),
        note=st.text(max_size=9000),
        facts=st.lists(st.tuples(texts, texts), max_size=30).map(tuple),
    )
)
def test_any_message_fits_slack_and_mail(found: Message) -> None:
    rendered = blocks(found)

    assert len(rendered) <= 50
    for block in rendered:
        for text in [block.get("text"), *block.get("fields", []), *block.get("elements", [])]:
            if text is not None:
                assert 0 < len(text["text"]) <= (150 if block["type"] == "header" else 2000 if "fields" in block else 3000)
        assert len(block.get("fields", [])) <= 10
    mail = compose(found, sender="Watch <watch@example.com>", to=("a@example.com", "b@example.com"))
    assert len(mail.as_bytes()) > 0
    assert plain_text(found)


@given(st.text(max_size=300), st.integers(2, 50))
def test_escaped_text_keeps_to_its_limit_and_never_cuts_an_entity(text: str, limit: int) -> None:
    found = escaped(text, limit)

    assert len(found) <= limit
    assert not set("<>") & set(found)
    assert found.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0


# ---------------------------------------------------------------------------------------------- mail


def test_mail_has_text_and_html_and_a_stable_id() -> None:
    first = compose(message(), sender="Watch <watch@example.com>", to=("a@example.com", "b@example.com"))
    again = compose(message(), sender="Watch <watch@example.com>", to=("a@example.com", "b@example.com"))

    assert first["Message-ID"] == again["Message-ID"]
    assert first["Message-ID"].endswith("@example.com>")
    assert first["To"] == "a@example.com, b@example.com"
    assert first["Auto-Submitted"] == "auto-generated"
    parts = {part.get_content_type(): part.get_content() for part in first.iter_parts()}
    assert set(parts) == {"text/plain", "text/html"}
    assert "PSI 0.3457" in parts["text/plain"]
    assert "PSI 0.3457" in parts["text/html"]


def test_mail_of_the_end_answers_the_mail_of_the_beginning() -> None:
    began = compose(message(), sender="watch@example.com", to=("a@example.com",))
    ended = compose(message(resolved_alert()), sender="watch@example.com", to=("a@example.com",))

    assert ended["In-Reply-To"] == ended["References"] == began["Message-ID"]
    assert ended["Message-ID"] != began["Message-ID"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, Unit.PLAIN, "0"),
        (1234567.0, Unit.PLAIN, "1234567"),
        (0.0832, Unit.SHARE, "8.32 %"),
        (0.0832, Unit.SECONDS, "83.2 ms"),
        (2.345, Unit.SECONDS, "2.35 s"),
        (7200.0, Unit.SECONDS, "120 min"),
        (0.0, Unit.SECONDS, "0 ms"),
        (2e-5, Unit.SECONDS, "20 µs"),
        (3_000_000.0, Unit.BYTES, "2.86 MiB"),
        (5e13, Unit.BYTES_PER_SECOND, "45.47 TiB/s"),
        (float("nan"), Unit.PLAIN, "no value"),
        (None, Unit.SHARE, "no value"),
    ],
)
def test_value_is_written_for_people(value: float | None, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


CARD = Card(
    movers=(Mover(name=HOSTILE, value=0.61, threshold=0.2, metric="PSI", movement="mean 41 to 55", course=(0.1, 0.1, 0.6)),),
    worst_segment="country=<!channel>",
    changes=(Change(at="2026-03-01T11:47:00+00:00", what="version 2 promoted by ada", likely=True),),
    course=(0.1, 0.12, 0.09, 0.4, 0.61),
    threshold=0.2,
)


def incident_message(lines: int = 3, **changes: Any) -> Message:
    found = tuple(
        AlertLine(
            state="new", title=f"FeatureDrift: f{i} {HOSTILE}", detail="PSI 0.61 > 0.2", url=f"{DASHBOARD}/drift?feature=f{i}"
        )
        for i in range(lines)
    )
    return replace(message(), incident=7, incident_key="incident:7", lines=found, card=CARD, **changes)


@pytest.mark.parametrize("lines", [2, 20, 500])
def test_incident_of_many_alerts_is_listed_as_far_as_there_is_room(lines: int) -> None:
    found = incident_message(lines, more=5)

    shown = min(lines, 20)
    assert plain_text(found).count("new      FeatureDrift") == shown
    assert f"… and {lines - shown + 5} more" in plain_text(found)
    assert f"… and {lines - shown + 5} more" in html_text(found)


@pytest.mark.parametrize("lines", [1, 20, 500])
def test_blocks_of_an_incident_keep_slack_s_limits_and_call_nobody(lines: int) -> None:
    found = blocks(incident_message(lines), buttons=True)

    assert len(found) <= 50
    for block in found:
        texts = [block["text"]] if "text" in block else [*block.get("fields", []), *block.get("elements", [])]
        assert all(len(text["text"] if isinstance(text["text"], str) else text["text"]["text"]) <= 3000 for text in texts)
    assert "<!channel>" not in json.dumps(found, ensure_ascii=False)
    assert "version 2 promoted by ada" in json.dumps(found)


def test_mail_carries_the_chart_and_says_it_in_words() -> None:
    mail = compose(incident_message(), sender="watch@example.com", to=("a@example.com",))

    pages = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    [picture] = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    html = pages[0].get_content()
    assert f"cid:{picture['Content-ID'].strip('<>')}" in html
    assert picture.get_content().startswith(b"\x89PNG")
    assert "The last 5 windows: from 0.1 to 0.61" in html
    assert "<script>" not in html
    assert "version 2 promoted by ada" in html
    assert "country=&lt;!channel&gt;" in html


def test_mail_without_a_course_has_no_picture() -> None:
    mail = compose(replace(incident_message(), card=Card(worst_segment="x")), sender="watch@example.com", to=("a@example.com",))

    assert [part.get_content_type() for part in mail.walk() if part.get_content_maintype() == "image"] == []
    assert "<img" not in mail.get_body(("html",)).get_content()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "course", [(), (1.0,), (math.nan, math.nan), (1.0, math.inf), (0.0, 0.0, 0.0), tuple(range(500)), (-1.0, 1e300)]
)
def test_chart_takes_any_course(course: tuple[float, ...]) -> None:
    for threshold in (None, 0.2, math.nan, math.inf):
        picture = course_png(Card(course=course, threshold=threshold))
        assert picture is None or picture.startswith(b"\x89PNG")


def test_message_with_lines_and_card_survives_the_outbox() -> None:
    found = incident_message()

    assert Message.from_json(json.loads(json.dumps(found.to_json()))) == found
