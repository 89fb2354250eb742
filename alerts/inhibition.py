"""Inhibition: which alerts nobody is told of, because another one explains them. Pure.

A source inhibits whether people were told of it or not, and whether something inhibits it in turn or not. Two alerts that
inhibit each other, directly or over others, would hide each other for good: such a circle inhibits nothing within it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from alerts.routing import Inhibition
from storage.matchers import labels_for_matching
from storage.records import AlertRow

_Graph = dict[object, list[object]]


def inhibited(alerts: Iterable[AlertRow], inhibitions: Sequence[Inhibition]) -> dict[str, str]:
    """For each of the open alerts that another one inhibits, by fingerprint, which: ``inhibited by EndpointDown``.

    Labels in ``equal`` that neither alert has are equal; one that only one of them has is not.
    """
    if not inhibitions:
        return {}
    rows = {alert.fingerprint: alert for alert in alerts}
    sources, targets = _edges(rows, inhibitions)
    circle = _circles(sources, targets)
    explains = {group: _one_per_circle(members, circle) for group, members in sources.items()}
    found = {}
    for fingerprint, groups in targets.items():
        outside = [one for group in groups for one in explains[group] if circle[one] != circle[fingerprint]]
        if outside:
            found[fingerprint] = f"inhibited by {min(rows[one].rule for one in outside)}"
    return found


def _one_per_circle(sources: Sequence[str], circle: Mapping[object, int]) -> list[str]:
    """Two of the sources that are in no circle with each other, or the one there is: of any target, one is outside of its circle."""
    first = sources[0]
    other = next((source for source in sources if circle[source] != circle[first]), None)
    return [first] if other is None else [first, other]


def _edges(
    rows: Mapping[str, AlertRow], inhibitions: Sequence[Inhibition]
) -> tuple[dict[tuple[object, ...], list[str]], dict[str, list[tuple[object, ...]]]]:
    """Per group (an inhibition, and values of its ``equal``) the sources; per target the groups that have a source."""
    sources: dict[tuple[object, ...], list[str]] = defaultdict(list)
    labels = {fingerprint: labels_for_matching(row.rule, row.labels) for fingerprint, row in rows.items()}
    for number, one in enumerate(inhibitions):
        for fingerprint, have in labels.items():
            if one.source.match(have):
                sources[_group(number, one, have)].append(fingerprint)
    targets: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for number, one in enumerate(inhibitions):
        for fingerprint, have in labels.items():
            if _group(number, one, have) in sources and one.target.match(have):
                targets[fingerprint].append(_group(number, one, have))
    return sources, targets


def _group(number: int, one: Inhibition, labels: Mapping[str, str]) -> tuple[object, ...]:
    return (number, *(labels.get(name, "") for name in one.equal))


def _circles(
    sources: Mapping[tuple[object, ...], Sequence[str]], targets: Mapping[str, Sequence[tuple[object, ...]]]
) -> dict[object, int]:
    """A number for each alert and group; those that lie on a circle with each other have the same one.

    Strongly connected components by Kosaraju's algorithm: https://en.wikipedia.org/wiki/Kosaraju%27s_algorithm.
    """
    forward: _Graph = defaultdict(list)
    backward: _Graph = defaultdict(list)
    for group, members in sources.items():
        for source in members:
            forward[source].append(group)
            backward[group].append(source)
    for target, groups in targets.items():
        for group in groups:
            forward[group].append(target)
            backward[target].append(group)
    nodes = [*dict.fromkeys([*forward, *backward])]
    numbers: dict[object, int] = {}
    for node in reversed(_finished(nodes, forward)):
        if node not in numbers:
            _number(node, backward, numbers, len(numbers))
    return numbers


def _finished(nodes: Iterable[object], edges: _Graph) -> list[object]:
    """The nodes in the order in which a depth-first search leaves them."""
    seen: set[object] = set()
    left: list[object] = []
    for root in nodes:
        stack = [] if root in seen else [(root, iter(edges.get(root, ())))]
        seen.add(root)
        while stack:
            node, rest = stack[-1]
            follower = next((one for one in rest if one not in seen), None)
            if follower is None:
                left.append(node)
                stack.pop()
            else:
                seen.add(follower)
                stack.append((follower, iter(edges.get(follower, ()))))
    return left


def _number(root: object, edges: _Graph, numbers: dict[object, int], number: int) -> None:
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in numbers:
            numbers[node] = number
            stack += edges.get(node, ())
