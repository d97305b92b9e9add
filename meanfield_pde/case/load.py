"""Loading: from a name, a path or text to a `Case`, with errors that name file, key and remedy."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from meanfield_pde.case.settings import apply_setting
from meanfield_pde.case.wording import CaseError, check_tables, suggestion

if TYPE_CHECKING:
    from meanfield_pde.case.game import GameSchema
    from meanfield_pde.case.schema import ReactionTable, Schema
    from meanfield_pde.energies.energy import Energy
    from meanfield_pde.flows.gradient_flow import GradientFlow
    from meanfield_pde.flows.problem import Problem
    from meanfield_pde.lagrangian.dynamics import Dynamics
    from meanfield_pde.measures.grid import Grid
    from meanfield_pde.measures.group import Group

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Case:
    """A problem with its numerics and claims, as a case file states them.

    Parameters
    ----------
    name : str
        Name of the file without its ending.
    origin : str
        What errors call it: the file, with the settings that changed it.
    text : str
        The TOML, followed by the settings as comments.
    schema : Schema or GameSchema
        The tables, checked one by one.

    Raises
    ------
    CaseError
        From `problem`, `group` and `symmetry`, where tables do not fit each other. `load_case` asks
        for all.
    """

    name: str
    origin: str
    text: str
    schema: Schema | GameSchema
    tables: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as text, and be made anew there: functions do not pickle."""
        return _restored, (self.name, self.origin, self.text, json.dumps(self.tables))

    @property
    def title(self) -> str:
        """One line that says what it is."""
        return self.schema.title

    @property
    def claims(self) -> dict[str, bool]:
        """Claims that the case states, and whether theory says that they hold."""
        return dict(self.schema.claims)

    @cached_property
    def group(self) -> Group | None:
        """Symmetry group, None where the case names none."""
        schema = self.schema
        table = schema.group
        if table is None:
            return None
        assert not schema.of_game
        dim = (schema.chart or schema.grid).dim
        group = self._made("group", lambda: table.build(dim))
        if (group.matrices if group.z is None else group.z).shape[1] != dim:
            raise CaseError(
                f"{self.origin}: group.kind must act in dimension {dim}, as the parameters have, "
                f"got {table.kind!r}; use reflection, or another grid"
            )
        return group

    @cached_property
    def symmetry(self) -> Group | None:
        """Group that the density solver keeps to the last bit, None unless ``solve.symmetric``."""
        from meanfield_pde.energies.symmetrised import symmetrised
        from meanfield_pde.measures.density import Density

        if not self.schema.solve.symmetric:
            return None
        group, problem = self.group, self.problem
        if group is None:
            raise CaseError(
                f"{self.origin}: solve.symmetric must be false without a group, got true; "
                "add a table [group]"
            )
        rho = problem.initial
        assert isinstance(rho, Density)
        functional = problem.flow.energy.smooth_on(rho.grid)
        self._made("solve.symmetric", lambda: symmetrised(functional, group, rho.values, rho.grid))
        return group

    @cached_property
    def reduce(self) -> Group | None:
        """Group by whose mirrors the density is reduced, None unless ``solve.reduced``."""
        from meanfield_pde.eulerian.reduction import reduction

        if not self.schema.solve.reduced:
            return None
        group, problem = self.group, self.problem
        if group is None or self.schema.solve.symmetric:
            raise CaseError(
                f"{self.origin}: solve.reduced must be false without a group and beside "
                "solve.symmetric, got true; add a table [group], or drop the other"
            )
        self._made("solve.reduced", lambda: reduction(problem, group))
        return group

    @cached_property
    def problem(self) -> Problem[Any, Any]:
        """Flow, initial density and end time; of a game a pair of densities."""
        schema = self.schema
        return self._made("", schema.build) if schema.of_game else self._one_law(schema)

    def _one_law(self, schema: Schema) -> Problem:
        from meanfield_pde.flows.gradient_flow import GradientFlow
        from meanfield_pde.flows.problem import Problem
        from meanfield_pde.measures.chart import FixedSubspace

        grid = self._grid(schema)
        initial = self._made("initial", lambda: schema.initial.build(grid))
        energy: Energy | None = None
        for index, table in enumerate(schema.energy):
            place = f"energy.{index} ({table.kind})"
            term = self._made(place, partial(table.build, grid, self.group))
            self._made(place, partial(term.on, grid))
            energy = term if energy is None else energy + term
        assert energy is not None
        rate = None if schema.rate is None else schema.rate.build()
        metric = None if schema.metric is None else schema.metric.build()
        if schema.metric is not None and schema.grid.kind != "polar":
            raise CaseError(
                f"{self.origin}: metric must be left out on a {schema.grid.kind}, got "
                f"{schema.metric.kind!r}; it acts on grid.kind = 'polar'"
            )
        noise = self.group if isinstance(grid.chart, FixedSubspace) else None
        flow = self._made("energy", lambda: GradientFlow(energy, rate, noise=noise, metric=metric))
        if (given := schema.reaction) is not None:
            flow = self._made("reaction", partial(_reacting, flow, given))
        flow = self._made("frozen", lambda: replace(flow, frozen=tuple(schema.frozen)))
        problem = self._made("frozen", lambda: Problem(flow, initial, schema.t1))
        for place, save in (("times", schema.save), ("simulate", schema.simulate.save)):
            self._made(place, partial(problem.save_times, save))
        return problem

    def solve_options(self) -> dict[str, Any]:
        """Arguments of `meanfield_pde.solve` besides the problem."""
        chosen = self.schema.solve.model_dump(exclude={"symmetric", "reduced"})
        groups = {"symmetry": self.symmetry, "reduce": self.reduce}
        return {"save": self.schema.save, **groups, **chosen}

    def simulate_options(self) -> dict[str, Any]:
        """Arguments of `meanfield_pde.simulate` besides the problem."""
        table = self.schema.simulate
        chosen = table.model_dump(include={"particles", "seeds", "seed"})
        save = self.schema.save if table.save is None else table.save
        return {"save": save, "dynamics": self._dynamics(), **chosen}

    def compare_options(self) -> dict[str, Any]:
        """Arguments of `meanfield_pde.compare` besides solution and run."""
        return self.schema.compare.model_dump()

    def with_settings(self, settings: Sequence[str]) -> Case:
        """Return the case with values changed, each by a text ``key=value``.

        A key is a path such as ``solve.tolerance``; an entry of a list is named by its index from
        0, or by its kind where that is unique: ``energy.entropy.factor``. The value is TOML; a bare
        word is taken as a string.

        Raises
        ------
        CaseError
            If a setting cannot be read, or what it makes is no case.

        Examples
        --------
        >>> case = load_case("kuramoto").with_settings(["t1=2", "save=3"])
        >>> case.problem.t1, case.solve_options()["save"]
        (2.0, 3)
        """
        if not settings:
            return self
        tables = self.tables
        for setting in settings:
            tables = apply_setting(self.origin, tables, setting)
        text = self.text.rstrip("\n") + "".join(f"\n# --set {line}" for line in settings) + "\n"
        origin = f"{self.origin} (with {', '.join(settings)})"
        return _case(self.name, origin, text, tables)

    def _grid(self, schema: Schema) -> Grid:
        table = schema.chart
        chart = None
        if table is not None:
            chart = self._made("chart", lambda: table.build(self.group))
        return self._made("grid", lambda: schema.grid.build(chart))

    def _dynamics(self) -> Dynamics:
        from meanfield_pde.lagrangian.birth_death import DYNAMICS

        table = self.schema.simulate
        given = table.model_dump(include={"dt", "batch", "augmentation"}, exclude_none=True)
        law, schema = table.reservoir, self.schema
        if law is not None and not schema.of_game:
            grid = self._grid(schema)
            given["reservoir"] = self._made("simulate.reservoir", lambda: law.build(grid))
        return DYNAMICS[table.dynamics](**given)

    def _made(self, place: str, make: Callable[[], T]) -> T:
        """Make a part, or say which table is wrong."""
        try:
            return make()
        except CaseError:
            raise
        except ValueError as error:
            where = f"{self.origin}: {place}" if place else self.origin
            raise CaseError(f"{where}: {error}") from error


def case_folder() -> Path:
    """Folder of the cases that come with the package: inside it, or beside it in a source tree."""
    package = Path(__file__).parent.parent
    inside = package / "cases"
    return inside if inside.is_dir() else package.parent / "cases"


def _reacting(flow: GradientFlow, table: ReactionTable) -> GradientFlow:
    return replace(flow, reaction=table.rate, entropic=table.entropic, transport=table.transport)


def list_cases() -> dict[str, str]:
    """Names of the cases that come with the package, each with its title.

    Examples
    --------
    >>> "kuramoto" in list_cases()
    True
    """
    listed = {}
    for path in sorted(case_folder().glob("*.toml"), key=lambda path: path.stem):
        listed[path.stem] = str(_parse(str(path), _read(path)).get("title", ""))
    return listed


def load_case(name_or_path: str | Path) -> Case:
    """Load a case by the name of one that comes with the package, or by the path of a TOML file.

    Parameters
    ----------
    name_or_path : str or Path
        A text that ends in ``.toml`` or holds a slash is a path.

    Returns
    -------
    Case
        With every table checked, and its problem built.

    Raises
    ------
    CaseError
        If there is no such case, or it is wrong; the text says where and what to do.

    Examples
    --------
    >>> case = load_case("ornstein-uhlenbeck-1d")
    >>> case.problem.t1, case.problem.initial.grid.cells
    (1.0, (400,))
    """
    given = str(name_or_path)
    path = Path(name_or_path)
    if isinstance(name_or_path, str) and path.suffix != ".toml" and path.name == given:
        path = case_folder() / f"{given}.toml"
        if not path.is_file():
            known = sorted(found.stem for found in case_folder().glob("*.toml"))
            raise CaseError(
                f"{given!r} is no case; {suggestion(given, known)}; a file is given by its path, "
                f"such as ./{given or 'my-case'}.toml"
            )
    text = _read(path)
    return _case(path.stem, str(path), text, _parse(str(path), text))


def _case(name: str, origin: str, text: str, tables: dict[str, Any]) -> Case:
    case = Case(name, origin, text, check_tables(origin, tables), tables)
    _ = case.problem, case.group, case.symmetry, case.reduce
    return case


@lru_cache(maxsize=8)
def _restored(name: str, origin: str, text: str, tables: str) -> Case:
    """Make a case that was pickled, once for the many tasks of a worker."""
    return _case(name, origin, text, json.loads(tables))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CaseError(
            f"{path} cannot be read: {error.strerror or error}; 'meanfield-pde list' shows the "
            "cases that come with the package"
        ) from error
    except UnicodeDecodeError as error:
        raise CaseError(f"{path} is no text in UTF-8: {error}; save it as UTF-8") from error


def _parse(origin: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CaseError(
            f"{origin} is no valid TOML: {error}; strings need quotes, and each table one header"
        ) from error
