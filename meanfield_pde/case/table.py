"""What all tables of a case file share: strict models, told apart by ``kind``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from meanfield_pde.case.wording import suggestion

Numbers = float | list[float]
Points = list[float] | list[list[float]]
Covariance = float | list[float] | list[list[float]]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """A table of a case file; keys that it does not know are refused by name."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        defer_build=True,  # of all tables in a case only the outermost is asked to check
    )

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        known = list(cls.model_fields)
        for key in given if isinstance(given, dict) else ():
            if key not in known:
                detail = {"key": key, "hint": suggestion(key, known)}
                raise PydanticCustomError("unknown_key", "is no key here; {hint}", detail)
        return given


def one_of(value: str, known: Collection[str]) -> str:
    """Return a value that must be one of the known names."""
    if value not in known:
        detail = {"expected": ", ".join(known)}
        raise PydanticCustomError("unknown_name", "must be one of {expected}", detail)
    return value
