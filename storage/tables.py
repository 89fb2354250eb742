"""Tables from files that people bring: CSV as programs and spreadsheets write it, and Parquet."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

_PARQUET_MAGIC = b"PAR1"
_PARQUET_SUFFIXES = (".parquet", ".pq")
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d{1,3}(\.\d{3})+|\d*)(,\d+)?\s*")


class TableError(Exception):
    """A file that cannot be read as a table; the message says why in one sentence."""


def read_table(path: str | Path) -> pd.DataFrame:
    """The table in a CSV or Parquet file, at least one row, column names unique and stripped. Raises TableError.

    CSV: separated by comma, semicolon, tab or bar; UTF-8 with or without a byte-order mark, UTF-16 with one, else
    Windows-1252 or Latin-1; numbers with a decimal comma where the separator is not the comma.
    """
    path = Path(path)
    content = _content(path)
    if content.startswith(_PARQUET_MAGIC) or path.suffix.lower() in _PARQUET_SUFFIXES:
        frame = _read_parquet(path, content)
    else:
        frame = _read_csv(path, _text(path, content))
    if frame.empty:
        raise TableError(f"{path} has no rows, only {'column names' if len(frame.columns) else 'empty lines'}.")
    return frame


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise TableError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise TableError(f"{path} is a folder; name one CSV or Parquet file.") from None
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror}).") from error
    if not content.strip():
        raise TableError(f"{path} is empty.")
    return content


def _read_parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(f"{path} is not a Parquet file, or it is damaged ({_first_sentence(error)}).") from error
    if frame.index.names != [None]:
        frame = frame.reset_index()
    frame.columns = pd.Index(_checked_names(path, [str(name) for name in frame.columns]))
    return frame.reset_index(drop=True)


def _text(path: Path, content: bytes) -> str:
    mark = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    if mark is None and b"\0" in content:
        raise TableError(f"{path} is neither CSV nor Parquet: it holds binary data.")
    for encoding in (mark,) if mark else ("utf-8", "cp1252", "latin-1"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise TableError(f"{path} begins with the mark of {mark} but is not written in it.")


def _read_csv(path: Path, text: str) -> pd.DataFrame:
    separator, header = _sniff(path, text)
    names = _checked_names(path, header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text), sep=separator, header=0, index_col=False, skipinitialspace=True, low_memory=False
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning, ValueError) as error:
        raise TableError(f"{path} cannot be read as CSV: {_first_sentence(error)}.") from error
    if len(frame.columns) == len(names):
        frame.columns = pd.Index([name or str(given) for name, given in zip(names, frame.columns, strict=True)])
    return frame if separator == "," else _with_decimal_commas(frame)


def _sniff(path: Path, text: str) -> tuple[str, list[str]]:
    """The separator that cuts the most of the first lines into as many fields as the header, and the header."""
    lines = "\n".join(text.lstrip("\ufeff\r\n").splitlines()[:_SAMPLE_LINES])
    found = []
    for separator in _SEPARATORS:
        rows = _fields(lines, separator)
        if rows and len(rows[0]) > 1:
            fitting = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
            found.append((fitting, len(rows[0]), separator, rows[0]))
    if found:
        _, _, separator, header = max(found)
        return separator, header
    rows = _fields(lines, ",")
    if not rows:
        raise TableError(f"{path} is empty.")
    return ",", rows[0]


def _fields(lines: str, separator: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True) if row]
    except csv.Error:
        return []


def _checked_names(path: Path, names: Iterable[str]) -> list[str]:
    stripped = [name.strip() for name in names]
    twice = [name for name, count in Counter(stripped).items() if count > 1 and name]
    if twice:
        raise TableError(f"{path} has more than one column named {twice[0]!r}; give each column a name of its own.")
    return stripped


def _with_decimal_commas(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of texts that are all numbers with a decimal comma become numbers."""
    for name in frame.columns:
        known = frame[name].dropna()
        if pd.api.types.is_numeric_dtype(frame[name]) or known.empty:
            continue
        texts = known.astype(str)
        if texts.map(lambda text: bool(_DECIMAL_COMMA.fullmatch(text)) and any(map(str.isdigit, text))).all():
            plain = texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
            frame[name] = plain.astype(float).reindex(frame.index)
    return frame


def _first_sentence(error: Exception | Warning) -> str:
    return " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ").rstrip(".") or type(error).__name__
