"""Tables from the files that people bring."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from storage.tables import TableError, read_table


def written(tmp_path: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def columns(path: Path) -> dict[str, list[object]]:
    return {str(name): column.tolist() for name, column in read_table(path).items()}


@pytest.mark.parametrize(
    "content",
    [
        "age,city\n31,Köln\n42,Rome\n",
        "age;city\n31;Köln\n42;Rome\n",
        "age\tcity\n31\tKöln\n42\tRome\n",
        "age|city\n31|Köln\n42|Rome\n",
        "age,city\r\n31,Köln\r\n42,Rome\r\n",
        "age,city\n31,Köln\n42,Rome",
        'age,city\n31,"Köln"\n42,"Rome"\n\n\n',
        " age , city \n31, Köln\n42, Rome\n",
        "\n\nage,city\n31,Köln\n42,Rome\n",
        "\ufeffage,city\n31,Köln\n42,Rome\n",
        "\ufeffage;city\n31;Köln\n42;Rome\n".encode("utf-16"),
        "age,city\n31,Köln\n42,Rome\n".encode("cp1252"),
    ],
)
def test_csv_is_read_however_it_is_written(tmp_path: Path, content: str | bytes) -> None:
    assert columns(written(tmp_path, content)) == {"age": [31, 42], "city": ["Köln", "Rome"]}


def test_decimal_commas_become_numbers_where_the_separator_is_another(tmp_path: Path) -> None:
    path = written(tmp_path, "price;total;note;code\n1,5;1.234,50;a,b;1,2x\n-2;;c;3\n0,25;12,0;;4\n")

    frame = read_table(path)

    assert frame["price"].tolist() == [1.5, -2.0, 0.25]
    assert frame["total"].dropna().tolist() == [1234.5, 12.0]
    assert frame["note"].dropna().tolist() == ["a,b", "c"]
    assert frame["code"].tolist() == ["1,2x", "3", "4"]


def test_points_stay_decimal_points_where_they_are(tmp_path: Path) -> None:
    assert columns(written(tmp_path, "a;b\n1.5;x\n2.25;y\n")) == {"a": [1.5, 2.25], "b": ["x", "y"]}


def test_separators_in_quotes_do_not_mislead(tmp_path: Path) -> None:
    path = written(tmp_path, 'name,note\n"a;b;c","x;y;z"\n"d;e;f","line one\nline two"\n')

    assert columns(path) == {"name": ["a;b;c", "d;e;f"], "note": ["x;y;z", "line one\nline two"]}


def test_one_column_is_a_table(tmp_path: Path) -> None:
    assert columns(written(tmp_path, "age\n31\n42\n")) == {"age": [31, 42]}


def test_missing_values_are_missing(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, "a,b\n1,\n,x\n"))

    assert frame.isna().to_numpy().tolist() == [[False, True], [True, False]]


def test_a_first_column_without_a_name_is_kept(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path, ",a\n0,5\n1,6\n"))

    assert frame["a"].tolist() == [5, 6]
    assert len(frame.columns) == 2


@pytest.mark.parametrize("name", ["table.parquet", "table.pq", "table.data"])
def test_parquet_is_read_under_any_name(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"age": [31, 42], "city": ["Köln", None]})
    frame.to_parquet(tmp_path / name)

    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame)


def test_a_named_index_of_a_parquet_file_is_a_column(tmp_path: Path) -> None:
    pd.DataFrame({"age": [31]}, index=pd.Index(["x"], name="key")).to_parquet(tmp_path / "t.parquet")

    assert columns(tmp_path / "t.parquet") == {"key": ["x"], "age": [31]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("\ufeff", "is empty"),
        ("age,city\n", "has no rows"),
        ("age,age\n1,2\n", "more than one column named 'age'"),
        ("age, age \n1,2\n", "more than one column named 'age'"),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as CSV"),
        ("a,b\n1,2,3\n4,5,6\n", "cannot be read as CSV"),
        ('a,b\n1,"2\n3,4\n', "cannot be read as CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary data"),
        (gzip.compress(b"a,b\n1,2\n" * 50, mtime=0), "binary data"),
        (b"PAR1 this is no parquet", "not a Parquet file, or it is damaged"),
        (b"\xff\xfea", "begins with the mark of utf-16"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused_with_one_sentence(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = written(tmp_path, content)

    with pytest.raises(TableError) as caught:
        read_table(path)

    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_text_under_the_name_of_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="not a Parquet file"):
        read_table(written(tmp_path, "a,b\n1,2\n", "table.parquet"))


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "t.parquet")

    with pytest.raises(TableError, match="has no rows"):
        read_table(tmp_path / "t.parquet")


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path)
