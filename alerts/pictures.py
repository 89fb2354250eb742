"""Small charts for mails, as PNG: the judged value over the last windows, and the features that moved most. Pure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from alerts.cards import Card

SCALE = 2
"""Pictures have twice the pixels they are shown with, for screens that have them."""
WIDTH, HEIGHT = 552, 120
MARGIN = 8
LINE, BAD, BOUND, BACKGROUND = "#0072B2", "#C2410C", "#6B7685", "#FFFFFF"


def course_png(card: Card) -> bytes | None:
    """The course of the judged value with its threshold; None where there are not at least two values to draw."""
    values = [value for value in card.course if math.isfinite(value)]
    if len(values) < 2:
        return None
    return _png(_drawn(card.course, card.threshold))


def describe_course(card: Card) -> str:
    """The same in words, for those who do not see the picture.

    >>> describe_course(Card(course=(0.1, 0.4), threshold=0.2))
    'The last 2 windows: from 0.1 to 0.4, between 0.1 and 0.4; the threshold is 0.2.'
    """
    values = [value for value in card.course if math.isfinite(value)]
    if not values:
        return ""
    bound = "" if card.threshold is None else f"; the threshold is {card.threshold:.3g}"
    span = f"from {values[0]:.3g} to {values[-1]:.3g}, between {min(values):.3g} and {max(values):.3g}"
    return f"The last {len(values)} windows: {span}{bound}."


def _drawn(values: Sequence[float], threshold: float | None) -> Image.Image:
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    known = [value for value in values if math.isfinite(value)]
    low, high = min([*known, 0.0, *_bounds(threshold)]), max([*known, *_bounds(threshold)])
    span = (high - low) or 1.0

    def place(number: int, value: float) -> tuple[float, float]:
        across = MARGIN + (WIDTH - 2 * MARGIN) * number / max(len(values) - 1, 1)
        down = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - low) / span
        return across * SCALE, down * SCALE

    if threshold is not None:
        _dashes(draw, place(0, threshold), place(len(values) - 1, threshold))
    points = [(place(number, value), value) for number, value in enumerate(values) if math.isfinite(value)]
    draw.line([point for point, _ in points], fill=LINE, width=2 * SCALE, joint="curve")
    for (across, down), value in points:
        radius = 2.5 * SCALE
        colour = BAD if threshold is not None and value > threshold else LINE
        draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=colour)
    return image


def _bounds(threshold: float | None) -> list[float]:
    return [] if threshold is None or not math.isfinite(threshold) else [threshold]


def _dashes(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    step = 6 * SCALE
    at = start[0]
    while at < end[0]:
        draw.line([(at, start[1]), (min(at + step, end[0]), start[1])], fill=BOUND, width=SCALE)
        at += 2 * step


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
