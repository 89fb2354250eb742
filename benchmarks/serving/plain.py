"""The endpoint that FastAPI's and onnxruntime's tutorials add up to: a pydantic body, an `async def`, no logging."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel


class Features(BaseModel):
    features: list[float]


class Answer(BaseModel):
    prediction: int
    probability: float


def create() -> FastAPI:
    """The application, for the model that ``MODEL`` names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
    name = session.get_inputs()[0].name
    app = FastAPI()

    @app.post("/predict")
    async def predict(body: Features) -> Answer:
        label, probabilities = session.run(None, {name: np.array([body.features], dtype=np.float32)})
        return Answer(prediction=int(label[0]), probability=float(probabilities[0][-1]))

    return app
