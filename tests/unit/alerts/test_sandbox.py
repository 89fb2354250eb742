"""Templates that try to get out, or to go on for ever."""

from __future__ import annotations

import time

import pytest
from jinja2 import TemplateError

from alerts.annotations import render_annotations
from alerts.sandbox import BoundedSandbox, written
from tests.unit.alerts.rows import make_alert, make_rule

VALUES = {"x": "abc", "value": 1.25, "labels": {"a": "b"}, "big": "x" * 100_000}


def render(source: str) -> str:
    return written(BoundedSandbox().from_string(source).generate(VALUES), 2000)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ '%.3f' | format(value) }}", "1.250"),
        ("{{ '%.1f' % value }}", "1.2"),
        ("{{ '{:.2f} of {}'.format(value, x) }}", "1.25 of abc"),
        ("{{ '{} since 2026'.format(x) }}", "abc since 2026"),
        ("{{ value * 2 }} {{ 7 % 3 }} {{ 2 ** 3 }} {{ value + 1 }}", "2.5 1 8 2.25"),
        ("{{ x ~ ' ' ~ value }}", "abc 1.25"),
        ("{% for key, one in labels.items() %}{{ key }}={{ one }}{% endfor %}", "a=b"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", "012"),
        ("{{ x | upper }} {{ x.upper() }} {{ nothing | default('none') }} {{ value | round(1) }}", "ABC ABC none 1.2"),
        ("{{ 'high' if value > 1 else 'low' }}", "high"),
    ],
)
def test_what_a_text_needs_is_there(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(999) %}{% for j in range(999) %}{% endfor %}{% endfor %}",
        "{% for i in range(999) %}{% if i %}{% for j in range(999) %}{% endfor %}{% endif %}{% endfor %}",
        "{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'a' * 10**10 }}",
        "{{ [1] * 10**9 }}",
        "{{ 10**10**10 }}",
        "{{ 10**100 * 10**100 * 10**100 * 10**100 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%*d' | format(1000000000, 1) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=1000000000) }}",
        "{{ x | center(10**9) }}",
        "{{ x.ljust(10**9) }}",
        "{{ lipsum(10**9) }}",
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a ~ a ~ a ~ a %}" * 30 + "{{ a }}",
        "{% set a = 'xxxxxxxxxx' %}" + "{% set a = a + a + a + a %}" * 30 + "{{ a }}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{{ big | list }}",
        "{{ x | join(big) }}",
        "{% include 'mail.html' %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format(x) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ range.__globals__ }}",
        "x" * 10_001,
    ],
)
def test_what_would_get_out_or_go_on_is_refused_at_once(source: str) -> None:
    began = time.process_time()

    with pytest.raises(TemplateError):
        render(source)

    assert time.process_time() - began < 1


def test_text_that_goes_on_is_cut() -> None:
    assert render("{% for i in range(1000) %}xxxxxxxxxx{% endfor %}") == "x" * 2000


def test_template_without_end_costs_its_text_and_names_the_rule() -> None:
    rule = make_rule(annotations={"summary": "{% for i in range(10**9) %}{% endfor %}", "description": "{{ feature }} moved"})

    made = render_annotations(rule, make_alert())

    assert made.texts == {"description": "age moved"}
    assert made.problems == ('rule "FeatureDrift": annotations: summary: a range has at most 1,000 numbers',)
