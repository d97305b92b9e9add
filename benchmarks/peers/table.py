"""What is made of the measurements: which setting counts, ratios, tables."""

from collections.abc import Sequence
from statistics import median


def reaches(error: float, target: float) -> bool:
    """Whether an error, at two significant digits as it is printed, is at or below the target."""
    return float(f"{error:.1e}") <= target


def fastest(trials: Sequence[dict], target: float = float("inf")) -> dict | None:
    """Return the fastest trial that reaches the target, None if none does."""
    good = [trial for trial in trials if reaches(trial["error"], target)]
    return min(good, key=lambda trial: trial["seconds"], default=None)


def chosen(trials: Sequence[dict], cells: int, target: float) -> list[dict]:
    """Return the fastest trial on the problem's own grid, and the fastest that reaches the target.

    They may be one and the same; where nothing reaches the target, the second is the most exact.
    """
    own = [trial for trial in trials if trial["setting"].get("cells", cells) == cells]
    picked = [fastest(own), fastest(trials, target) or min(trials, key=lambda t: t["error"])]
    return [
        trial for k, trial in enumerate(picked) if trial is not None and trial not in picked[:k]
    ]


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Return how many times longer they take, by the medians of runs that alternate."""
    return median(theirs) / median(ours)


def row(entry: dict) -> list[str]:
    """Return the cells of a line of the table for a measured setting or for a failure."""
    if "seconds" not in entry:
        return [entry["peer"], entry["failure"], *[""] * 7]
    setting = ", ".join(f"{key}={value}" for key, value in entry["setting"].items())
    seconds = f"{median(entry['seconds']):.3g}"
    return [
        entry["peer"],
        setting,
        seconds,
        f"{entry['compiling']:.2g}",
        f"{entry['error']:.1e}",
        "yes" if entry["reached"] else "not reached",
        f"{entry['ratio']:.2g}" if "ratio" in entry else "1",
        f"{entry['smallest']:.0e}",
        f"{entry['drift']:.0e}",
    ]


HEADER = ["peer", "setting", "seconds", "+ first", "L1", "target", "ratio", "min", "drift"]


def table(rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """Return a table with aligned columns, or the same in Markdown."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])
