"""Case files of zero-sum games: ``[game]`` and two ``[[player]]`` in place of ``[[energy]]``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from meanfield_pde.case.claim_names import GAME_CLAIM_NAMES
from meanfield_pde.case.initial import AnyInitial
from meanfield_pde.case.payoff import AnyPayoff, payoff_of
from meanfield_pde.case.schema import (
    AnyRate,
    CompareTable,
    GridTable,
    Saved,
    SimulateTable,
    SolveTable,
    require_claims,
)
from meanfield_pde.case.table import Positive, Table
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.flows.problem import Game, Problem
from meanfield_pde.flows.schedule import Rate
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

T = TypeVar("T")


class GameTable(Table):
    """``[game]``: payoff and motion of both players, as `meanfield_pde.ZeroSumGame` takes them."""

    beta: Annotated[float, Field(ge=0)] = 0.0
    reaction: Annotated[float, Field(ge=0)] = 0.0
    entropic: bool = False
    transport: bool = True
    payoff: Annotated[list[AnyPayoff], Field(min_length=1)]

    def build(self, grids: tuple[Grid, Grid], rate: Rate) -> ZeroSumGame:
        """Make the flow."""
        payoff = payoff_of(self.payoff, grids)
        return ZeroSumGame(payoff, self.beta, self.reaction, self.entropic, self.transport, rate)


class PlayerTable(Table):
    """``[[player]]``: the grid and the initial law of one player, of the first first."""

    grid: GridTable
    initial: AnyInitial

    def build(self) -> Density:
        """Make the initial density."""
        return self.initial.build(self.grid.build(None))


class GameSchema(Table):
    """A whole case file of a game."""

    title: Annotated[str, Field(min_length=1)]
    source: str = ""
    about: str = ""
    t1: Positive
    save: Saved = 5
    rate: AnyRate | None = None
    game: GameTable
    player: Annotated[list[PlayerTable], Field(min_length=2, max_length=2)]
    solve: SolveTable = SolveTable()
    simulate: SimulateTable = SimulateTable()
    compare: CompareTable = CompareTable()
    claims: dict[str, bool] = {}

    group: ClassVar[None] = None
    of_game: ClassVar[Literal[True]] = True

    @field_validator("claims")
    @classmethod
    def _known_claims(cls, claims: dict[str, bool]) -> dict[str, bool]:
        return require_claims(claims, GAME_CLAIM_NAMES)

    @field_validator("solve")
    @classmethod
    def _without_symmetry(cls, table: SolveTable) -> SolveTable:
        if table.symmetric or table.reduced:
            raise PydanticCustomError(
                "of_one_law", "must not have symmetric or reduced in a game; drop it"
            )
        return table

    @field_validator("simulate")
    @classmethod
    def _without_data(cls, table: SimulateTable) -> SimulateTable:
        if table.dynamics == "sgd" or table.batch is not None:
            raise PydanticCustomError(
                "of_one_law", "must not have dynamics = 'sgd' in a game, which has no data; drop it"
            )
        if table.reservoir is not None:
            raise PydanticCustomError("of_one_law", "must not have a reservoir in a game; drop it")
        return table

    def build(self) -> Game:
        """Make flow, initial laws and end time.

        Raises
        ------
        ValueError
            If tables do not fit each other.
        """
        p0, q0 = (_named(f"player.{k}", table.build) for k, table in enumerate(self.player))
        grids = p0.grid, q0.grid
        rate = None if self.rate is None else self.rate.build()
        flow = _named("game", lambda: self.game.build(grids, rate))
        _named("game.payoff", lambda: flow.payoff.on(*grids))
        problem = Problem(flow, (p0, q0), self.t1)
        for place, save in (("times", self.save), ("simulate", self.simulate.save)):
            _named(place, partial(problem.save_times, save))
        return problem


def _named(place: str, make: Callable[[], T]) -> T:
    """Make a part, or say which table is wrong."""
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
