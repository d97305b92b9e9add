"""Reports: verdicts with the numbers they rest on, as text, JSON and HTML."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from meanfield_pde.studies.files import whole

WIDTH = 88
"""Columns at which running text is broken."""


@dataclass(frozen=True, eq=False)
class Report:
    """A table of numbers, some of its rows with a verdict.

    Parameters
    ----------
    title : str
    columns : tuple of str
        Names of the columns of the table.
    rows : tuple of dict
        One entry a column; other entries appear in `text` and in JSON.
    verdicts : tuple of (bool or None)
        Whether the row's check held; None for rows that only inform.
    notes : tuple of str
        How to read the table: where tolerances and floors come from.

    Examples
    --------
    >>> row = {"claim": "mass", "number": 1e-16}
    >>> report = Report("Check", ("claim", "number"), (row,), (True,))
    >>> print(report.table())
    Check
    claim  number   verdict
    mass   1.0e-16  holds
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    verdicts: tuple[bool | None, ...]
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no check failed and there was one."""
        return False not in self.verdicts and True in self.verdicts

    def table(self) -> str:
        """Return the report as aligned text."""
        lines = [list(self.columns) + ["verdict"]]
        for row, verdict in zip(self.rows, self.verdicts, strict=True):
            lines.append([_text(row.get(name, "")) for name in self.columns] + [_word(verdict)])
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        text = [self.title]
        for line in lines:
            text.append("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip())
        return "\n".join([*text, *(textwrap.fill(note, WIDTH) for note in self.notes)])

    def text(self, failed: bool = False) -> str:
        """Return each row in full: a block a row, a line an entry.

        Parameters
        ----------
        failed : bool
            Whether to leave out rows that hold.
        """
        blocks = []
        for row, verdict in zip(self.rows, self.verdicts, strict=True):
            if failed and verdict is not False:
                continue
            (_, head), *rest = row.items()
            shown = [(k, v) for k, v in rest if v != "" and not isinstance(v, bool)]
            width = max((len(name) for name, _ in shown), default=0)
            lines = [f"{head}: {_word(verdict) or 'left open'}"]
            for name, value in shown:
                start = f"  {name:<{width}}  "
                lines.append(
                    textwrap.fill(
                        f"{value:.10g}" if isinstance(value, float) else str(value),
                        WIDTH,
                        initial_indent=start,
                        subsequent_indent=" " * len(start),
                    )
                )
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists; ``passed`` is None where nothing is judged."""
        judged = any(verdict is not None for verdict in self.verdicts)
        rows = zip(self.rows, self.verdicts, strict=True)
        return {
            "title": self.title,
            "passed": self.passed if judged else None,
            "rows": [{**_plain(row), "verdict": _word(verdict)} for row, verdict in rows],
            "notes": list(self.notes),
            "details": _plain(self.details),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as JSON text, and write it where a path is given.

        Raises
        ------
        ValueError
            If a number is NaN or infinite.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        if path is not None:
            with whole(path) as partial:
                partial.write_text(text + "\n")
        return text

    def to_html(self, path: str | Path) -> None:
        """Write the report as a page of its own."""
        head = "".join(f"<th>{escape(name)}</th>" for name in (*self.columns, "verdict"))
        body = []
        for row, verdict in zip(self.rows, self.verdicts, strict=True):
            cells = [_text(row.get(name, "")) for name in self.columns] + [_word(verdict)]
            style = ' class="fails"' if verdict is False else ""
            body.append(f"<tr{style}>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8">'
            f"<title>{escape(self.title)}</title>"
            "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.3em 1em;text-align:left;"
            "border-bottom:1px solid #ddd}.fails{color:#b00}</style>"
            f"<h1>{escape(self.title)}</h1><table><tr>{head}</tr>{''.join(body)}</table>{notes}</html>"
        )
        with whole(path) as partial:
            partial.write_text(page + "\n")


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:.1e}"


def _word(verdict: bool | None) -> str:
    return {None: "", True: "holds", False: "FAILS"}[verdict]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, float):
        return float(value)
    return value
