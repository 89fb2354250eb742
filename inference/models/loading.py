"""The one place where bytes become a model: the digest is checked before any parser sees them."""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from inference.models.contract import LoadedModel, ModelError, ModelFile
from storage.records import Format, Scalar, Version

log = logging.getLogger(__name__)

LIBRARIES = {
    Format.ONNX: ("onnxruntime",),
    Format.JOBLIB: ("scikit-learn", "numpy", "joblib"),
    Format.PICKLE: ("scikit-learn", "numpy"),
}
"""The libraries whose versions decide how a file of this format predicts."""


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_verified(path: Path, digest: str) -> bytes:
    """The content of a model file. Raises ModelError when it is gone or is not what was registered."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read ({error.strerror}); restore it from a backup or register the version again."
        ) from error
    if digest_of(data) != digest:
        raise ModelError(
            f"The model file {path} is not the one that was registered (its SHA-256 differs); restore it from a backup or register the version again."
        )
    return data


def parse(data: bytes, file_format: Format, *, allow_pickle: bool) -> ModelFile:
    """A model file from bytes that are known to be the right ones. Raises ModelError.

    joblib and pickle files run code while they are read, so they are parsed only where the operator allowed it.
    """
    if file_format is Format.ONNX:
        from inference.models.onnx import parse_onnx

        return parse_onnx(data)
    if not allow_pickle:
        raise ModelError(
            f"A {file_format} file can run any code when it is loaded; if you trust its source, register it with --allow-pickle, "
            "or convert it to ONNX."
        )
    from inference.models.sklearn import parse_estimator

    return parse_estimator(data, file_format)


def load_version(version: Version, models_folder: Path) -> LoadedModel:
    """A registered version, ready to answer. Raises ModelError with one sentence."""
    data = read_verified(models_folder / version.path, version.digest)
    file = parse(data, version.format, allow_pickle=bool(version.details.get("allow_pickle")))
    for difference in library_differences(version.details.get("libraries", {})):
        log.warning("%s version %s was registered with %s", version.model, version.version, difference)
    return file.bind(version.signature, labels_of(version), version.details.get("plan", {}))


def labels_of(version: Version) -> tuple[Scalar, ...]:
    """The classes as the model spells them (numbers stay numbers), in the order of ``signature.classes``."""
    return tuple(version.details.get("labels", version.signature.classes))


def library_versions(file_format: Format) -> dict[str, str]:
    return {name: installed for name in LIBRARIES[file_format] if (installed := _installed(name))}


def library_differences(registered: dict[str, Any]) -> list[str]:
    """Libraries whose major or minor version differs from the one at registration, as ``name 1.2.3, this is 1.4.0``."""
    return [
        f"{name} {before}, this is {now}"
        for name, before in registered.items()
        if (now := _installed(name)) and str(before).split(".")[:2] != now.split(".")[:2]
    ]


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
