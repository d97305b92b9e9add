"""Reports: verdicts, tables, JSON and pages."""

import json

import numpy as np
import pytest

import meanfield_pde as mf


def report(*verdicts, rows=None, **details):
    rows = rows or [{"name": f"row {k}", "number": 0.1 * k} for k in range(len(verdicts))]
    return mf.Report(
        "A title", ("name", "number"), tuple(rows), verdicts, ("How to read it.",), details
    )


# -- verdicts


@pytest.mark.parametrize(
    ("verdicts", "passed"),
    [
        ((True, True), True),
        ((True, None), True),
        ((True, False), False),
        ((None, False), False),
        ((None, None), False),  # nothing was checked
        ((), False),
    ],
)
def test_passed(verdicts, passed):
    assert report(*verdicts).passed is passed


def test_each_verdict_has_its_word():
    lines = report(True, False, None).table().splitlines()
    assert lines[0] == "A title"
    assert lines[2].endswith("holds")
    assert lines[3].endswith("FAILS")
    assert lines[4].split() == ["row", "2", "0.2"]
    assert lines[5] == "How to read it."


def test_rows_in_full():
    """A block a row with all that has a value; long text is broken under its start."""
    rows = [
        {"name": "first", "number": 0.1234567890123, "flag": True, "reason": "word " * 40},
        {"name": "second", "number": 2.0, "reason": ""},
        {"name": "third"},
    ]
    whole = report(True, False, None, rows=rows)
    first, second, third = whole.text().split("\n\n")
    lines = first.splitlines()
    assert lines[:2] == ["first: holds", "  number  0.123456789"]
    assert all(len(line) <= 88 for line in lines)
    assert all(line.startswith("          word") for line in lines[3:])
    assert " ".join(lines[2:]).count("word") == 40
    assert "flag" not in first
    assert second == "second: FAILS\n  number  2"
    assert third == "third: left open"
    assert whole.text(failed=True) == second
    assert report(True).text(failed=True) == ""


def test_rows_and_verdicts_match_in_number():
    rows = ({"name": "a"}, {"name": "b"})
    broken = mf.Report("t", ("name",), rows, (True,))
    with pytest.raises(ValueError, match="shorter"):
        broken.table()


# -- numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.123456, "0.1235"),
        (1234.56, "1235"),
        (0.001, "0.001"),
        (0.00099, "9.9e-04"),
        (12345.6, "1.2e+04"),
        (-2.5e-16, "-2.5e-16"),
        (3, "3"),
        (True, "True"),
        ("word", "word"),
        ("", ""),
    ],
)
def test_numbers_as_text(value, text):
    table = report(True, rows=[{"name": "x", "number": value}]).table()
    assert table.splitlines()[2].split() == ["x", *text.split(), "holds"]


def test_columns_are_aligned():
    rows = [{"name": "short", "number": 1.0}, {"name": "a much longer name", "number": 0.25}]
    lines = report(True, True, rows=rows).table().splitlines()
    assert lines[1].index("number") == lines[2].index("1 ") == lines[3].index("0.25")


def test_what_is_no_column_is_kept_for_json_alone():
    rows = [{"name": "x", "number": 1.0, "replicas": [1.0, 2.0]}]
    found = report(True, rows=rows)
    assert "replicas" not in found.table()
    assert found.to_dict()["rows"][0]["replicas"] == [1.0, 2.0]


# -- JSON


def test_json_reads_back():
    rows = [{"name": "x", "number": np.float64(0.5), "array": np.arange(3.0), "pair": (1, None)}]
    found = report(True, rows=rows, cells=np.int64(4), nested={"a": [np.float64(1)]})
    data = json.loads(found.to_json())
    assert data == {
        "title": "A title",
        "passed": True,
        "rows": [
            {
                "name": "x",
                "number": 0.5,
                "array": [0.0, 1.0, 2.0],
                "pair": [1, None],
                "verdict": "holds",
            }
        ],
        "notes": ["How to read it."],
        "details": {"cells": 4, "nested": {"a": [1.0]}},
    }


def test_json_is_written_where_asked(tmp_path):
    path = tmp_path / "folder" / "report.json"
    text = report(True).to_json(path)
    assert path.read_text() == text + "\n"
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_json_holds_numbers_alone(tmp_path, number):
    """Not a number is no JSON; the old file stays as it was."""
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        report(True, rows=[{"name": "x", "number": number}]).to_json(path)
    assert path.read_text() == "old"


# -- pages


def test_pages_are_escaped_and_marked(tmp_path):
    rows = [{"name": "<b> & co", "number": 1.0}, {"name": "fine", "number": 2.0}]
    found = mf.Report("1 < 2", ("name", "number"), tuple(rows), (False, True), ("a & b",))
    found.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for part in ("1 &lt; 2", "&lt;b&gt; &amp; co", "a &amp; b", "FAILS", "holds"):
        assert part in page
    assert "<b>" not in page
    assert page.count('class="fails"') == 1
    assert page.lower().startswith("<!doctype html>")


def test_pages_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(mf.StorageError, match="cannot be written"):
        report(True).to_html(tmp_path / "file" / "page.html")
