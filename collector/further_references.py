"""Holds a window against a model's further references: their spans are added up from rollups, then judged like the training data.

The points are those of the drift of features and of the score, told apart by their segment ``reference=NAME``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from collector.drift_points import drift_points
from collector.judging import Judging, Subject
from collector.references import reference_spans
from storage import references, registry, rollups
from storage.layouts import add_predictions, empty_prediction_counts
from storage.records import Deployment, Exclusion, Layout, MetricPoint, ModelReference, PredictionCounts, ReferenceKind


def segment_of(reference: ModelReference, segment: str = "") -> str:
    """The segment of the points that were computed against this reference: of all rows, or of a segment of them."""
    return f"{segment},reference={reference.name}" if segment else f"reference={reference.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherReferences:
    """A model's references beside its training data."""

    references: Sequence[ModelReference]
    exclusions: Sequence[Exclusion]
    deployment: Deployment | None
    bucket_seconds: int

    @classmethod
    def read(cls, c: Connection, model: str, deployment: Deployment | None, bucket_seconds: int) -> FurtherReferences:
        return cls(
            references=references.references_of(c, model),
            exclusions=references.exclusions_of(c, model),
            deployment=deployment,
            bucket_seconds=bucket_seconds,
        )

    def points(self, c: Connection, subject: Subject, current: PredictionCounts, judging: Judging) -> list[MetricPoint]:
        """The drift of the window's counts from each reference; insufficient data where a reference is empty or too small.

        The counts of a segment are held against the same segment of the reference.
        """
        found: list[MetricPoint] = []
        if subject.profile is None or current.rows <= current.errors + current.timeouts:
            return found
        for reference in self.references:
            counts = self._counts(c, subject, reference)
            if counts is not None:
                own = {name: value for name, value in subject.profile.thresholds.items() if name != "unseen"}
                rows = counts.rows - counts.errors - counts.timeouts
                profile = replace(subject.profile, counts=counts, rows=rows, thresholds=own)
                held = replace(subject, profile=profile, segment=segment_of(reference, subject.segment))
                found += drift_points(held, current, judging)
        return found

    def _counts(self, c: Connection, subject: Subject, reference: ModelReference) -> PredictionCounts | None:
        """What the reference adds up to for this window; None where it does not apply to this version."""
        version = self._version(c, subject.layout, subject.version, reference)
        if version is None:
            return None
        counts = empty_prediction_counts(subject.layout)
        for span in reference_spans(reference, subject.window, self.exclusions, bucket_seconds=self.bucket_seconds):
            start, end = rollups.narrowed(c, subject.layout, version, span.start, span.end)
            if start < end:
                counts = add_predictions(
                    counts, rollups.read_predictions(c, subject.layout, version, start, end, segment=subject.segment)
                )
        return counts

    def _version(self, c: Connection, layout: Layout, version: str, reference: ModelReference) -> str | None:
        """Whose traffic the reference is; the other arm must count into the same bins."""
        if reference.kind is not ReferenceKind.OTHER_ARM:
            return version
        split = self.deployment
        arms = (split.champion, split.challenger) if split else ()
        other = next((arm for arm in arms if arm and arm != version), None) if version in arms else None
        if other is None or registry.LayoutLookup(c)(layout.model, other).id != layout.id:
            return None
        return other
