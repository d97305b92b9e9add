"""Settings ``key=value``, which change single values of a case from the command line."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from meanfield_pde.case.wording import CaseError, suggestion


def apply_setting(origin: str, tables: dict[str, Any], setting: str) -> dict[str, Any]:
    """Return the tables of a case with one value changed.

    Raises
    ------
    CaseError
        If the setting is not ``key=value``, its value is no TOML, or its key leads nowhere.
    """
    key, equals, text = setting.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise CaseError(
            f"{origin}: a setting must read key=value, got {setting!r}; for example "
            "solve.tolerance=1e-4"
        )
    changed: dict[str, Any] = _changed(
        origin, setting, tables, parts, _value(origin, setting, text)
    )
    return changed


def _value(origin: str, setting: str, text: str) -> Any:
    text = text.strip()
    if re.fullmatch(r"[A-Za-z][\w-]*", text) and text not in ("true", "false", "inf", "nan"):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    if set(parsed) != {"value"}:
        raise CaseError(
            f"{origin}: the value in {setting!r} must be TOML, got {text!r}; for example 200, "
            "1e-4, [0, 1], true or b1"
        )
    return parsed["value"]


def _changed(origin: str, setting: str, at: Any, parts: list[str], value: Any) -> Any:
    """Copy of what stands at a place, with the value put in further down."""
    if not parts:
        return value
    head, rest = parts[0], parts[1:]
    if isinstance(at, dict):
        return {**at, head: _changed(origin, setting, at.get(head, {}), rest, value)}
    if isinstance(at, list):
        index = _index(origin, setting, at, head)
        inner = _changed(origin, setting, at[index], rest, value)
        return [*at[:index], inner, *at[index + 1 :]]
    raise CaseError(
        f"{origin}: {setting!r} asks for {head!r} inside of {at!r}, which holds no keys; "
        "drop that part of the key"
    )


def _index(origin: str, setting: str, at: list[Any], head: str) -> int:
    """Place of an entry in a list, by its index or by its kind."""
    if head.isdecimal() and int(head) < len(at):
        return int(head)
    kinds = [entry.get("kind", "") if isinstance(entry, dict) else "" for entry in at]
    if kinds.count(head) == 1:
        return kinds.index(head)
    named = [str(kind) for kind in kinds if kinds.count(kind) == 1 and kind]
    known = [*(str(k) for k in range(len(at))), *named]
    raise CaseError(
        f"{origin}: {setting!r} names no entry of a list by {head!r}; {suggestion(head, known)}"
    )
