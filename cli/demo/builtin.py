"""The data that comes with the demo: 569 real tumours from scikit-learn's Wisconsin breast cancer table.

Half is learned from; the other half is replayed again and again in shuffled passes, so the traffic is resampled, and
for a while a microscope that measures too long is put in between: that shift is injected.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cli.demo.tables import Prepared
from storage.records import Task

MODEL = "breast-cancer"
TARGET = "diagnosis"
WATCHED = "mean radius"
SEED = 7
STRETCH = 1.3
"""What the wrongly calibrated microscope multiplies lengths with; areas grow with its square."""


def load() -> Prepared:
    """The same split on every machine; both halves hold the same share of malignant tumours."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    table = load_breast_cancer(as_frame=True)
    frame = table.data.assign(**{TARGET: pd.Series(table.target_names[table.target], dtype="str")})
    reference, live = train_test_split(frame, test_size=0.5, random_state=SEED, stratify=frame[TARGET])
    return Prepared(
        task=Task.CLASSIFICATION,
        target=TARGET,
        reference=reference.reset_index(drop=True),
        live=live.reset_index(drop=True),
        notes=[
            f"Data: scikit-learn's breast cancer table, {len(frame)} real rows; {len(reference)} are the training and reference data.",
            f"The other {len(live)} rows are replayed in shuffled passes, again and again: the traffic is resampled, not new.",
            f"The shift is injected: for a while every length is multiplied by {STRETCH:g}, as by a wrongly calibrated microscope.",
        ],
    )


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as the wrongly calibrated microscope measures them."""
    frame = frame.copy()
    for name in frame.columns:
        if "radius" in name or "perimeter" in name:
            frame[name] *= STRETCH
        elif "area" in name:
            frame[name] *= STRETCH**2
    return frame


def shuffled_passes(rows: int, seed: int) -> Iterator[int]:
    """Row numbers without end: every pass holds each row once, in an order of its own.

    A window of about one pass then holds nearly the whole population, so that chance moves it less than fresh draws would.
    """
    random = np.random.default_rng(seed)
    while True:
        yield from random.permutation(rows).tolist()
