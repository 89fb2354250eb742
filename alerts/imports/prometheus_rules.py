"""Alerting rules of Prometheus as groups of ours. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from alerts.imports.go_templates import translate
from alerts.imports.notes import ImportProblem, Mapping, Notes, duration, listed, mapped, unused
from alerts.yaml_types import WHERE_KEYS

OWN_LABELS = (*WHERE_KEYS, "alert", "rule")
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)|(?P<open>[([{])|(?P<close>[)\]}])"""
    r"""|(?P<compare>>=|<=|==|!=|>|<)|(?P<word>[A-Za-z_:][\w:.]*)|(?P<other>.)""",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)")
_SETS = ("and", "or", "unless")


@dataclass(slots=True)
class ImportedRules:
    """The groups, and what each alert of Prometheus is called here (several where its name was used for several)."""

    groups: list[Mapping] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)


def import_rules(files: Iterable[tuple[str, Mapping]], notes: Notes) -> ImportedRules:
    """The groups of several files, each given with its name and content. Raises ImportProblem."""
    made = ImportedRules()
    used: tuple[set[str], set[str]] = (set(), set())
    for source, content in files:
        for group in listed(content.get("groups"), f"{source}: groups"):
            _add_group(mapped(group, f"{source}: groups"), source, made, used, notes)
    return made


def _add_group(group: Mapping, source: str, made: ImportedRules, used: tuple[set[str], set[str]], notes: Notes) -> None:
    place = f'{source}: group "{group.get("name", "")}"'
    rules = []
    for rule in listed(group.get("rules"), f"{place}: rules"):
        if "record" in rule:
            notes.lost.append(f"{place}: the recording rule {rule['record']}: Prometheus has to go on computing it")
        else:
            rules.append(_rule(mapped(rule, place), mapped(group.get("labels"), place), place, made, used[1], notes))
    for key in ("limit", "query_offset", "partial_response_strategy"):
        if group.get(key) not in (None, "", "0", 0):
            notes.lost.append(f"{place}: {key} has no like here")
    if not rules:
        return
    name = unused(str(group.get("name") or "prometheus"), used[0])
    interval = {"interval": duration(group["interval"], f"{place}: interval")} if group.get("interval") else {}
    made.groups.append({"name": name, **interval, "rules": rules})


def _rule(rule: Mapping, shared: Mapping, place: str, made: ImportedRules, used: set[str], notes: Notes) -> Mapping:
    if not rule.get("alert") or not rule.get("expr"):
        raise ImportProblem(f"{place}: a rule has no `alert` or no `expr`")
    original = str(rule["alert"])
    place = f"{place}: {original}"
    name = unused(original, used)
    made.names.setdefault(original, []).append(name)
    if name != original:
        notes.changed.append(f"{place}: the name is used by several rules; this one is called {name}")
    query, when = split_comparison(str(rule["expr"]))
    content: Mapping = {"alert": name, "promql": query}
    if when:
        # A series that Prometheus gives no more is over there; it would be kept here.
        content |= {"when": when, "no_data": "ok"}
    for key in ("for", "keep_firing_for"):
        if rule.get(key):
            content[key] = duration(rule[key], f"{place}: {key}")
    labels = _labels(shared | mapped(rule.get("labels"), place), place, notes)
    annotations = _annotations(mapped(rule.get("annotations"), place), place, notes)
    return content | ({"labels": labels} if labels else {}) | ({"annotations": annotations} if annotations else {})


def _labels(labels: Mapping, place: str, notes: Notes) -> dict[str, str]:
    kept = {}
    for name, value in labels.items():
        if "{{" in str(value):
            notes.lost.append(f"{place}: the label {name} is a template; labels are plain texts here")
        elif name in OWN_LABELS:
            notes.lost.append(f"{place}: the label {name} is set from the series that a rule judges")
        else:
            kept[name] = str(value)
    return kept


def _annotations(annotations: Mapping, place: str, notes: Notes) -> dict[str, str]:
    kept = {}
    for name, value in annotations.items():
        translated = translate(str(value).strip())
        if translated.text is None:
            notes.lost.append(f"{place}: the annotation {name} has a condition or a loop ({translated.lost[0]})")
            continue
        for piece in translated.lost:
            notes.lost.append(f"{place}: the annotation {name}: {{{{ {piece} }}}} has no like here and became an ellipsis")
        kept[name] = translated.text
    if "summary" not in kept and "message" in kept:
        kept["summary"] = kept.pop("message")
    return kept


def split_comparison(expression: str) -> tuple[str, str]:
    """The query, and the comparison with a number that it ends with; "" where it does not end so, or that is not all it says.

    A query that keeps its comparison gives only series that are a problem, which means the same; with `when` the message
    can show the bound, and the end of a problem may have a bound of its own.

    >>> split_comparison("rate(errors[5m]) / rate(all[5m]) > 0.05")
    ('rate(errors[5m]) / rate(all[5m])', '> 0.05')
    >>> split_comparison("up == 0 and on (job) absent(x)")
    ('up == 0 and on (job) absent(x)', '')
    """
    whole = expression.strip()
    depth, found, is_simple = 0, [], True
    for token in _TOKEN.finditer(whole):
        kind = token.lastgroup
        depth += (kind == "open") - (kind == "close")
        if depth == 0 and kind == "compare":
            found.append(token)
        if depth == 0 and kind == "word" and token[0].lower() in (*_SETS, "bool"):
            is_simple = False
    if not is_simple or len(found) != 1:
        return whole, ""
    query, bound = whole[: found[0].start()].strip(), re.sub(r"#[^\n]*", "", whole[found[0].end() :]).strip()
    if not query or not _NUMBER.fullmatch(bound):
        return whole, ""
    return query, f"{found[0][0]} {bound}"
