"""Axes of a sweep: which keys of a case take which values."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy import generic, linspace

PARTICLES = "particles"
"""Short for `simulate.particles`, and the dimension that rates are fitted along."""
OWN = {
    "simulate.seeds": "give their number by seeds",
    "simulate.seed": "set it in the case; replicas of a sweep are its seeds",
    "seed": "give the number of replicas by seeds",
    "time": "saved times are those of the case",
}
"""Keys that can be no axis, and what to do instead."""
MOST = 10_000
"""Values on an axis beyond which a range is a slip of the pen."""


@dataclass(frozen=True)
class Axis:
    """A key of a case and the values that it takes.

    Examples
    --------
    >>> axis = Axis.parse("particles", "32:256:log2")
    >>> axis.values, axis.setting(axis.values[0])
    ((32, 64, 128, 256), 'simulate.particles=32')
    >>> Axis.parse("energy.0.factor", "1:4:7").values
    (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    """

    key: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, key: str, given: Any) -> Axis:
        """Make an axis of values, or of a text: ``a,b,c``, ``lo:hi:n`` or ``lo:hi:logN``.

        ``lo:hi:n`` are n values at equal distances, ends included; ``lo:hi:log2`` doubles from lo
        to hi, and any other base multiplies likewise.

        Raises
        ------
        ValueError
            If the key can be no axis, or the values cannot be read, are none or repeat.
        """
        if not isinstance(key, str):
            raise ValueError(
                f"over must name keys of a case, got {key!r}; name one by a text, such as particles"
            )
        key = PARTICLES if key.strip() == f"simulate.{PARTICLES}" else key.strip()
        if not key or key in OWN:
            remedy = OWN.get(key, "name a key of the case, such as particles")
            raise ValueError(f"over must name keys of a case, got {key!r}; {remedy}")
        if isinstance(given, str):
            values = _range(key, given) if ":" in given else _listed(key, given)
        elif isinstance(given, Iterable):
            values = [v.item() if isinstance(v, generic) else v for v in given]
        else:
            raise ValueError(f"{key} must have several values, got {given!r}; write [{given!r}]")
        texts = [_toml(value) for value in values]
        if not values or len(set(texts)) < len(values):
            raise ValueError(
                f"{key} must have values, each of them once, got {', '.join(texts) or 'none'}; "
                "drop the repeated ones"
            )
        return cls(key, tuple(values))

    @property
    def moves_density(self) -> bool:
        """Whether the density may depend on it."""
        return self.key != PARTICLES and not self.key.startswith(("simulate.", "compare."))

    @property
    def coordinate(self) -> list[Any]:
        """Values as a coordinate of a dataset: numbers, or texts."""
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        return list(self.values) if numbers else [str(value) for value in self.values]

    def setting(self, value: Any) -> str:
        """Return the text that sets the value, as ``--set`` takes it."""
        return f"{'simulate.' if self.key == PARTICLES else ''}{self.key}={_toml(value)}"


def parse_axes(over: Mapping[str, Any] | Iterable[str]) -> tuple[Axis, ...]:
    """Axes of a mapping from keys to values, or of texts ``key=values``.

    Raises
    ------
    ValueError
        If a text has no ``=``, a key stands twice, or an axis is wrong.
    """
    if not isinstance(over, Mapping):
        pairs = [text.partition("=") for text in over]
        for key, equals, values in pairs:
            if not equals:
                raise ValueError(
                    f"over must read KEY=VALUES, got {key + equals + values!r}; for example "
                    "particles=32:4096:log2"
                )
        items = [(key, values) for key, _, values in pairs]
    else:
        items = list(over.items())
    axes = tuple(Axis.parse(key, values) for key, values in items)
    keys = [axis.key for axis in axes]
    if not axes or len(set(keys)) < len(keys):
        raise ValueError(
            f"over must name each key once, got {', '.join(keys) or 'none'}; for example "
            "particles=32:4096:log2"
        )
    return axes


def _range(key: str, text: str) -> list[Any]:
    """Values of ``lo:hi:n`` or ``lo:hi:logN``; whole numbers where all of them are."""
    found = re.fullmatch(r"([^:]+):([^:]+):(?:log)?([^:]+)", text.strip())
    wrong = f"{key} must have values a,b,c, lo:hi:n or lo:hi:log2, got {text!r}"
    if found is None:
        raise ValueError(f"{wrong}; for example 32:4096:log2")
    low, high, last = (_number(part) for part in found.groups())
    if low is None or high is None or last is None or not low < high:
        raise ValueError(f"{wrong}; lo and hi must be numbers, and lo below hi")
    if "log" not in text:
        if not 2 <= last <= MOST or last != int(last):
            raise ValueError(f"{wrong}; n is the number of values, from 2 to {MOST}")
        values = [float(value) for value in linspace(low, high, int(last))]
    else:
        if low <= 0 or last <= 1:
            raise ValueError(f"{wrong}; lo must be above 0 and the base above 1")
        count = round(math.log(high / low, last))
        if abs(low * last**count / high - 1) > 1e-9 or count > MOST:
            raise ValueError(
                f"{wrong}; hi must be lo times a power of the base, such as {low * last**count:g}"
            )
        values = [float(low * last**k) for k in range(count + 1)]
    whole = all(value == int(value) for value in (low, high, *values))
    decimal = any(mark in part for part in found.groups()[:2] for mark in ".eE")
    return [int(value) for value in values] if whole and not decimal else values


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _listed(key: str, text: str) -> list[Any]:
    """Values of ``a,b,c``, as TOML; bare words are texts."""
    try:
        return list(tomllib.loads(f"values = [{text}]")["values"])
    except tomllib.TOMLDecodeError:
        words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[A-Za-z][\w-]*", word) for word in words):
        raise ValueError(
            f"{key} must have values a,b,c, lo:hi:n or lo:hi:log2, got {text!r}; values are TOML, "
            "such as 1e-3,1e-4 or [0, 1],[1, 0]"
        )
    return list(words)


def _toml(value: Any) -> str:
    """Return a value as TOML, which JSON is for numbers, texts, booleans and lists of them."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(
            f"over must have finite numbers, texts, booleans or lists of them, got {value!r}; "
            "change that value"
        ) from None
