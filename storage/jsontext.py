"""JSON that every database and reader takes: no NaN or infinity, no NUL, no half of a surrogate pair. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

_REFUSED = re.compile("[\0\ud800-\udfff]")


def storable_text(text: str) -> str:
    """The text with U+FFFD, the replacement character, for what PostgreSQL refuses."""
    return _REFUSED.sub("\ufffd", text)


def storable(value: Any) -> Any:
    """The JSON value with null for numbers that are not finite and U+FFFD for characters that PostgreSQL refuses."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, np.generic):
        return storable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable_text(str(key)): storable(item) for key, item in value.items()}
    return [storable(item) for item in value] if isinstance(value, list | tuple) else value


def dump(value: Any) -> str:
    """The value as JSON text."""
    return json.dumps(storable(value), ensure_ascii=False, allow_nan=False)
