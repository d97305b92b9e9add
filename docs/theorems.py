"""Write docs/theorems.md: each statement of the theory, where it was checked, and the numbers.

    python docs/theorems.py

runs ``validate`` on every case that ships and writes the page with its figures.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.studies.claims import CLAIMS, GAME_CLAIMS

KNOWN = {**CLAIMS, **{name: claim for name, claim in GAME_CLAIMS.items() if name not in CLAIMS}}
FOLDER = Path(__file__).parent
PREAMBLE = """\
# What theory says, and what was found

Written by `python docs/theorems.py`, which runs `meanfield-pde validate` on every case. What
should hold does if its number is within the tolerance *and* its control, the same number after the
planted fault, is not; what should not hold here must miss the tolerance a thousandfold.
"""


def main() -> None:
    """Run every case and write the page."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    reports = {}
    for name in mf.list_cases():
        case = mf.load_case(name)
        if not case.claims:
            continue
        reports[name] = report = mf.validate(case)
        for row in report.to_dict()["rows"]:
            found[row["claim"]].append({"case": name, **row})
        verdict = "passed" if report.passed else "FAILED"
        sys.stderr.write(f"{name}: {verdict}\n")
    sections = [PREAMBLE, _summary(found)]
    sections += [_section(name, found[name]) for name in KNOWN if name in found]
    sections.append(_figures(reports))
    (FOLDER / "theorems.md").write_text("\n".join(sections))


def _summary(found: dict[str, list[dict[str, Any]]]) -> str:
    rows = [row for rows in found.values() for row in rows]
    held = sum(row["verdict"] == "holds" for row in rows)
    return f"{held} of {len(rows)} checks of {len(found)} claims hold.\n"


def _section(name: str, rows: list[dict[str, Any]]) -> str:
    claim = KNOWN[name]
    lines = [f"## {name}", "", f"{claim.statement[0].upper()}{claim.statement[1:]}.", ""]
    lines += [f"*{claim.source}.*", ""]
    lines += ["| case | theory says | number | tolerance | control | planted fault | verdict |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["case"], row["theory says"]]
        cells += [_number(row.get(key, "")) for key in ("number", "tolerance", "control")]
        cells += [str(row.get("because of", "")), row["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _figures(reports: dict[str, mf.Report]) -> str:
    lines = [
        "## Figures",
        "",
        "Numbers (filled), tolerances (bars) and controls (open), by case.",
        "",
    ]
    (FOLDER / "validation").mkdir(exist_ok=True)
    for name, report in reports.items():
        plot.save_figure(plot.validation_figure(report), FOLDER / "validation" / f"{name}.png")
        lines += [f"![{name}](validation/{name}.png)", ""]
    return "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
