"""The wording of errors in case files: file, key, what was got, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from meanfield_pde.case.game import GameSchema
    from meanfield_pde.case.schema import Schema

Place = tuple[int | str, ...]


class CaseError(ValueError):
    """A case cannot be found or is wrong; the text names the file, the key and the remedy."""


def suggestion(given: str, known: Iterable[str]) -> str:
    """List the known names, after the one that was probably meant."""
    names = list(known)
    near = get_close_matches(given, names, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(names)}"


def check_tables(origin: str, tables: dict[str, Any]) -> Schema | GameSchema:
    """Check the tables of a case one by one.

    Raises
    ------
    CaseError
        With a line for each key that is wrong.
    """
    from pydantic import ValidationError as Invalid

    schema = _schema(origin, tables)
    try:
        return schema.model_validate(tables)
    except Invalid as error:
        lines = _lines(_with_known_kinds(schema, tables, error), tables)
    if len(lines) == 1:
        raise CaseError(f"{origin}: {lines[0]}")
    raise CaseError("\n  ".join([f"{origin} has {len(lines)} errors:", *lines]))


def _schema(origin: str, tables: dict[str, Any]) -> type[Schema] | type[GameSchema]:
    """Tables of a game, or of the flow of one law; a case cannot be both."""
    from meanfield_pde.case.schema import Schema

    if "game" not in tables and "player" not in tables:
        return Schema
    from meanfield_pde.case.game import GameSchema

    of_one = [name for name in ("energy", "grid", "initial") if name in tables]
    if of_one:
        raise CaseError(
            f"{origin} states a game and {', '.join(of_one)}; a case is either an energy with one "
            "grid and one initial law, or [game] with two [[player]], each with its own: drop one"
        )
    return GameSchema


def _with_known_kinds(
    schema: type[Schema] | type[GameSchema], tables: dict[str, Any], error: ValidationError
) -> list[ErrorDetails]:
    """Details of an error; where a kind is missing, those of an empty one, which list the known."""
    from pydantic import ValidationError as Invalid

    details = error.errors(include_url=False)
    missing = [_walk(tables, d["loc"]) for d in details if d["type"] == "union_tag_not_found"]
    completed = deepcopy(tables)
    for place in missing:
        at: Any = completed
        for part in place:
            at = at[part]
        at["kind"] = ""
    try:
        schema.model_validate(completed)
    except Invalid as again:
        return again.errors(include_url=False)
    return details


def _lines(details: Sequence[ErrorDetails], tables: dict[str, Any]) -> list[str]:
    """One line for each place; of the alternatives tried there, those that came nearest."""
    found: dict[Place, list[ErrorDetails]] = {}
    for detail in details:
        found.setdefault(_place(detail, tables), []).append(detail)
    lines = []
    for place, here in found.items():
        if any(len(other) > len(place) and other[: len(place)] == place for other in found):
            continue
        near = [d for d in here if not d["type"].endswith("_type")] or here
        wanted = " or ".join(dict.fromkeys(_wanted(d) for d in near))
        lines.append(f"{'.'.join(map(str, place))} {wanted}{_got(near[0])}{_hint(near[0])}")
    return lines


def _place(detail: ErrorDetails, tables: dict[str, Any]) -> Place:
    """Return where the error stands in the file, by its keys alone."""
    place = _walk(tables, detail["loc"])
    if detail["type"] == "missing":
        return (*place, detail["loc"][-1])
    if detail["type"] == "unknown_key":
        return (*place, detail["ctx"]["key"])
    return (*place, "kind") if detail["type"] == "union_tag_invalid" else place


def _walk(tables: Any, loc: Sequence[int | str]) -> Place:
    """Return what of a location stands in the file: names of kinds and of types are left out."""
    at, place = tables, []
    for part in loc:
        inside = isinstance(at, dict) and part in at
        if inside or (isinstance(at, list) and isinstance(part, int) and part < len(at)):
            place.append(part)
            at = at[part]
    return tuple(place)


def _wanted(detail: ErrorDetails) -> str:
    """Return what a place must be, as the rest of a sentence."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing" if detail["loc"] == ("energy",):
            return "is missing; give it, or a [game] with two [[player]]"
        case "missing" if detail["loc"] == ("player",):
            return "is missing; give two [[player]], each with its grid and initial law"
        case "missing":
            return "is missing; give it"
        case "union_tag_invalid" if not context["tag"]:
            return f"is missing; give one of {', '.join(_known(detail))}"
        case "union_tag_invalid" | "literal_error":
            return f"must be one of {', '.join(_known(detail))}"
        case "list_type":
            return "must be a list"
        case "model_type" | "model_attributes_type":
            return "must be a table"
        case "too_short" if context["min_length"] > 1:
            return f"must have {context['min_length']} entries"
        case "too_long":
            return f"must have {context['max_length']} entries"
        case "too_short":
            return "must not be empty"
        case _:
            return detail["msg"].replace("Input should be", "must be")


def _known(detail: ErrorDetails) -> list[str]:
    context = detail["ctx"]
    names = context["expected_tags" if "tag" in context else "expected"]
    return [name.strip("'") for name in names.replace(" or ", ", ").split(", ")]


def _got(detail: ErrorDetails) -> str:
    if detail["type"] in ("missing", "unknown_key", "of_dynamics", "of_one_law"):
        return ""
    given = detail["input"]
    if detail["type"] == "union_tag_invalid":
        given = detail["ctx"]["tag"]
    if detail["type"] in ("too_short", "too_long"):
        given = detail["ctx"]["actual_length"]
    text = repr(given)
    return f", got {text if len(text) <= 60 else text[:57] + '...'}" if text != "''" else ""


def _hint(detail: ErrorDetails) -> str:
    given = detail["input"]
    if detail["type"] == "list_type" and isinstance(given, dict):
        return "; a list of tables has a header in double brackets for each"
    if detail["type"] == "union_tag_invalid":
        given = detail["ctx"]["tag"]
    elif detail["type"] not in ("literal_error", "unknown_name") or not isinstance(given, str):
        return ""
    near = get_close_matches(given, _known(detail), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
