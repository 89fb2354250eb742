"""Which spans of time a window is held against. Pure: a reference, a window and exclusions in, spans out.

Spans never overlap the window itself, nor each other, nor an excluded time. All edges lie on the edges of rollup
buckets, so that a span is a sum of whole buckets: exclusions are widened, spans are narrowed to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from collector.windows import Window
from storage.records import Exclusion, ModelReference, ReferenceKind

WEEK = timedelta(weeks=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reference_spans(
    reference: ModelReference, window: Window, exclusions: Iterable[Exclusion] = (), *, bucket_seconds: int = 60
) -> list[Window]:
    """What to add up as the reference of ``window``, oldest first; empty where nothing is left.

    The other arm is the window itself: it is answered by another version, and no exclusion applies, because what
    happened then happened to both.

    >>> noon = datetime(2026, 1, 14, 12, tzinfo=UTC)
    >>> hours = ModelReference(
    ...     model="m", name="week", kind=ReferenceKind.SAME_HOURS, weeks=2, created_at=noon, created_by="ana")
    >>> spans = reference_spans(hours, Window(start=noon, end=noon + timedelta(hours=1)))
    >>> [f"{span.start:%m-%d %H:%M}-{span.end:%H:%M}" for span in spans]
    ['12-31 12:00-13:00', '01-07 12:00-13:00']
    """
    if reference.kind is ReferenceKind.OTHER_ARM:
        return [window]
    bucket = timedelta(seconds=bucket_seconds)
    taken = [window, *(_widened(exclusion, bucket) for exclusion in exclusions)]
    spans = [_narrowed(span, bucket) for span in _whole_spans(reference, window)]
    return sorted(_without(spans, taken), key=lambda span: span.start)


def _whole_spans(reference: ModelReference, window: Window) -> list[Window]:
    match reference.kind:
        case ReferenceKind.PINNED if reference.start and reference.end:
            return [Window(start=reference.start, end=reference.end)]
        case ReferenceKind.PREVIOUS:
            return [_before(window, window.end - window.start, timedelta())]
        case ReferenceKind.SLIDING:
            return [_before(window, timedelta(seconds=reference.length_seconds), timedelta(seconds=reference.gap_seconds))]
        case ReferenceKind.SAME_HOURS:
            return _weeks_before(window, reference.weeks)
    return []


def _before(window: Window, length: timedelta, gap: timedelta) -> Window:
    return Window(start=window.start - gap - length, end=window.start - gap)


def _weeks_before(window: Window, weeks: int) -> list[Window]:
    """Windows longer than a week would overlap: each gives way to the later ones."""
    spans: list[Window] = []
    for number in range(1, weeks + 1):
        spans += _without([Window(start=window.start - number * WEEK, end=window.end - number * WEEK)], spans)
    return spans


def _without(spans: Iterable[Window], taken: Sequence[Window]) -> list[Window]:
    """The parts of the spans that none of ``taken`` covers."""
    left = [span for span in spans if span.start < span.end]
    for hole in taken:
        left = [part for span in left for part in _cut(span, hole)]
    return left


def _cut(span: Window, hole: Window) -> list[Window]:
    if hole.end <= span.start or span.end <= hole.start:
        return [span]
    parts = [Window(start=span.start, end=hole.start), Window(start=hole.end, end=span.end)]
    return [part for part in parts if part.start < part.end]


def _narrowed(span: Window, bucket: timedelta) -> Window:
    return Window(start=_EPOCH - (_EPOCH - span.start) // bucket * bucket, end=_EPOCH + (span.end - _EPOCH) // bucket * bucket)


def _widened(exclusion: Exclusion, bucket: timedelta) -> Window:
    start, end = exclusion.start, exclusion.end
    return Window(start=_EPOCH + (start - _EPOCH) // bucket * bucket, end=_EPOCH - (_EPOCH - end) // bucket * bucket)
