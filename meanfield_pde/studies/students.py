r"""Students of a teacher: how many neurons does training need, of which variant, to be symmetric.

The experiment of Maass and Fontbona (arXiv 2405.19995, section 4). A student of N particles learns
a teacher network by SGD, from the same initial particles, batches and noise for every variant. What
is measured is the squared relative distance RMD^2 (`distance.rmd`) at the end of training,

- of students that start on E^G (strongly invariant) to their projection on E^G, where
  :math:`W_2^2(\nu, P \# \nu) = E |z - P z|^2`. It is 0 for data augmentation, feature averaging and
  equivariant architectures, and for plain training vanishes with N if the risk is invariant;
- between variants, of students that start all over Z (weakly invariant). Augmentation and averaging
  agree in the limit of many particles, and plain training with them if the risk is invariant.

In the clock of the flow a step is ``step / N`` (particles move by the gradient of the first
variation of the risk, N times that of the risk in a particle's place) and training ends at ``step *
rounds``, after ``N * rounds`` steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Entropy
from meanfield_pde.energies.loss import Loss
from meanfield_pde.energies.potential import Penalty
from meanfield_pde.energies.risk import Network, Risk
from meanfield_pde.energies.unit import Unit
from meanfield_pde.energies.variants import VARIANTS, with_variant
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem
from meanfield_pde.lagrangian.dynamics import SGD
from meanfield_pde.lagrangian.simulate import simulate
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Chart
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.studies.learnt import PAIRS, Student, table_of
from meanfield_pde.studies.report import Report
from meanfield_pde.studies.tasks import Arrays, Lost, Workplace, carry_out

STARTS = ("strong", "weak")
FEW = (5, 10, 50, 100, 200, 500)
"""Numbers of particles that take minutes."""
MANY = (*FEW, 1000, 5000)
"""Those of the paper: hours."""
EXACT = 200
"""Particles beyond which students that cannot leave E^G are not trained, for none ever does, nor
those of which nothing is measured."""
MEASURED = {"strong": {"vanilla"}, "weak": {name for pair in PAIRS for name in pair}}
"""What is trained beyond that, for each start."""
REACH = 6.4
"""Deviations of the start to the walls of a density's box: 6e-10 of it is beyond."""


@dataclass(frozen=True, eq=False)
class TeacherStudent:
    """Teachers, students and how they are trained.

    Parameters
    ----------
    unit : Unit
    group : Group
        With its actions on x, outputs and z.
    inputs : Data
        The law of x; its targets are replaced by those of a teacher.
    teachers : mapping of str to Cloud
        Laws of the parameters of teacher networks.
    spread : float
        Students start as independent N(0, spread^2 I), or its projection on E^G.
    tau, beta : float
        Factors of the penalty |z|^2 and of the entropy. The noise of strong starts is projected.
    loss : str
        See `Risk`.
    step, rounds, batch
        Step ``step / N``, ``rounds * N`` steps of ``batch`` samples.

    Examples
    --------
    >>> paper = TeacherStudent.swap_matrices()
    >>> list(paper.teachers), paper.group.fixed_basis().shape
    (['arbitrary', 'weak', 'strong'], (4, 2))
    >>> paper.train("weak", "strong", "data-augmented", particles=5, seeds=2).shape
    (2, 5, 4)
    """

    unit: Unit
    group: Group
    inputs: Data
    teachers: Mapping[str, Cloud]
    spread: float = 0.25
    tau: float = 1e-4
    beta: float = 1e-6
    loss: str = "squared"
    step: float = 50.0
    rounds: int = 20
    batch: int = 20

    @classmethod
    def swap_matrices(cls, nodes: int = 16, loss: str = "half_squared") -> TeacherStudent:
        """Set up the paper's: logistic units of 2 x 2 matrices, and the swap of coordinates.

        The inputs, N(0, 16 I), are Gauss-Hermite nodes, ``nodes`` a dimension; batches are drawn
        from them. Draws from the normal law itself change no mean by more than its spread. The
        loss is the mean of squares over the two outputs: the numbers that are known of this
        experiment fit it, and not the sum (``squared``), which moves particles twice as fast.
        """
        group = Group.swap().acting(y=lambda p: p, z=lambda p: np.kron(p, p))
        rows = [[-2, 0, 0, 1], [1, 2, 0, 2], [-1, 0.6, 2, 0], [0, -2, -1, 2], [1.4, -1.4, 1, 1.4]]
        arbitrary = 0.25 * np.array(rows)
        weak = np.concatenate([arbitrary, arbitrary @ group.on_z(4)[1].T])
        pairs = 0.5 * np.array([[1, 0], [0.5, 1], [-0.5, 0.3], [0, -1], [0.7, 0.7]])
        strong = pairs @ np.array([[1, 0, 0, 1], [0, 1, 1, 0]])
        teachers = {"arbitrary": Cloud(arbitrary), "weak": Cloud(weak), "strong": Cloud(strong)}
        inputs = Data.gauss_hermite(2, nodes, lambda x: x, scale=4.0)
        return cls(Unit.matrix_ridge("logistic", 2), group, inputs, teachers, loss=loss)

    @property
    def fingerprint(self) -> str:
        """Twelve letters that change with any of the numbers."""
        numbers = self.spread, self.tau, self.beta, self.step, self.rounds, self.batch
        digest = sha256(repr((self.unit, self.group.name, self.loss, numbers)).encode())
        parts = [self.inputs.x, self.inputs.weights]
        parts += [getattr(self.group, f"on_{s}")(n) for s, n in self._spaces.items()]
        for name, teacher in self.teachers.items():
            digest.update(name.encode())
            parts += [teacher.points, teacher.weights]
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:12]

    @property
    def _spaces(self) -> dict[str, int]:
        dim = next(iter(self.teachers.values())).dim
        return {"x": self.inputs.dim, "y": self.unit.outputs, "z": dim}

    def risk(self, teacher: str) -> Risk:
        """Risk of learning a teacher, which says by `Data.invariance_defect` what is invariant."""
        inputs = self.inputs
        target = Network(self.unit, self.teachers[_known("teacher", teacher, self.teachers)])
        data = Data(inputs.x, target(inputs.x), inputs.weights, inputs.period)
        return Risk(self.unit, data, Loss.named(self.loss))

    def problem(self, teacher: str, start: str, variant: str) -> Problem:
        """Flow, start and end time of a student.

        Raises
        ------
        ValueError
            If one of the names is not known.
        """
        strong = _known("start", start, STARTS) == "strong"
        energy = with_variant(self.risk(teacher), variant, self.group)
        energy = energy + self.tau * Penalty() + self.beta * Entropy()
        dim = self._spaces["z"]
        self.group.on_z(dim)
        onto = self.group.projection() if strong else np.eye(dim)

        def initial(n: int, rng: np.random.Generator) -> Array:
            return self.spread * rng.standard_normal((n, dim)) @ onto

        flow = GradientFlow(energy, noise=self.group if strong else None)
        return Problem(flow, initial, self.step * self.rounds)

    def limit(self, teacher: str, variant: str, cells: int = 64) -> Problem:
        """Flow of the law on E^G of infinitely many students with a strong start, for `solve`.

        A density in an orthonormal basis of E^G, on a square of ``cells`` a dimension that ends 6.4
        deviations from the origin: `Risk.predict` gives its outputs as it does those of students.

        Raises
        ------
        ValueError
            If one of the names is not known, or E^G has not dimension 1 or 2.

        Examples
        --------
        >>> paper = TeacherStudent.swap_matrices()
        >>> grid = paper.limit("weak", "vanilla").initial.grid
        >>> grid.cells, grid.ambient_dim
        ((64, 64), 4)
        """
        chart = Chart.fixed_subspace(self.group)
        size, end = chart.coordinates, REACH * self.spread
        grid = Grid.box([-end] * size, [end] * size, [cells] * size, chart)
        start = Density.gaussian(grid, [0.0] * size, self.spread**2)
        return replace(self.problem(teacher, "strong", variant), initial=start)

    def train(
        self, teacher: str, start: str, variant: str, particles: int, seeds: int = 1, seed: int = 0
    ) -> Array:
        """Particles at the end of training, shape (seeds, particles, d)."""
        problem = self.problem(teacher, start, variant)
        dynamics = SGD(self.step / particles, self.batch)
        end = simulate(problem, particles, seed, dynamics, save=[problem.t1], seeds=seeds)
        return np.asarray(end.points[0])


def students(
    setup: TeacherStudent | None = None,
    particles: Sequence[int] = FEW,
    seeds: int | Mapping[int, int] = 10,
    seed: int = 0,
    processes: int = 1,
    folder: str | Path | None = None,
    teachers: Sequence[str] | None = None,
    starts: Sequence[str] = STARTS,
    variants: Sequence[str] = VARIANTS,
    progress: bool = False,
) -> Report:
    """Train students of every teacher, start, variant and number of particles, and compare them.

    Parameters
    ----------
    setup : TeacherStudent, optional
        The paper's where it is left out.
    particles : sequence of int
    seeds : int or mapping
        Independent students of each kind; or a number for each number of particles.
    seed : int
        Seed of all randomness. Results do not depend on the number of processes.
    processes : int
        With more than one, call it below ``if __name__ == "__main__":``.
    folder : path, optional
        Where trained students are kept, to go on after an interrupt: those that it holds of the
        same set-up are not trained again.
    teachers, starts, variants : sequence of str, optional
        All where they are left out.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Report
        A row a quantity and number of particles: mean and standard deviation of RMD^2 over the
        seeds. A row a quantity with how it depends on N, as a power; these, and what must vanish
        for every N, have verdicts. With more than 200 particles of a strong start only plain
        training is run: the others stay on E^G to the last bit, whatever their number.

    Raises
    ------
    ValueError
        If an argument is wrong.

    Examples
    --------
    >>> report = students(particles=[5], seeds=2, teachers=["weak"], starts=["strong"])
    >>> [row["quantity"] for row in report.rows][:2]
    ['vanilla to E^G', 'data-augmented to E^G']
    """
    setup = TeacherStudent.swap_matrices() if setup is None else setup
    check.instance("setup", setup, TeacherStudent, "TeacherStudent.swap_matrices() is the paper's")
    names = [_known("teacher", t, setup.teachers) for t in teachers or setup.teachers]
    sizes = sorted({check.count("particles", n, "a whole number of neurons") for n in particles})
    chosen = [_known("start", s, STARTS) for s in starts]
    asked = [v for v in VARIANTS if v in {_known("variant", v, VARIANTS) for v in variants}]
    replicas = seeds if isinstance(seeds, Mapping) else dict.fromkeys(sizes, seeds)
    for n in sizes:
        check.count("seeds", replicas.get(n), "10 give an idea of the spread", least=2)
    every = [
        Student(teacher, start, variant, n, replicas[n], seed)
        for n, start, teacher, variant in product(sizes, chosen, names, asked)
        if n <= EXACT or variant in MEASURED[start]
    ]
    if not every:
        raise ValueError(
            f"particles must reach down to {EXACT} for variants that stay on E^G, got {sizes}; "
            "with more none of them ever leaves it, and there is nothing to measure"
        )
    trained = _train_all(setup, every, processes, folder, progress)
    invariant = {t: max(setup.risk(t).data.invariance_defect(setup.group)) < 1e-9 for t in names}
    return table_of(trained, setup.group, invariant)


def _known(kind: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    if name not in known:
        raise ValueError(f"{kind} must be one of {', '.join(known)}, got {name!r}; pick one")
    return name


def _train_all(
    setup: TeacherStudent,
    every: Sequence[Student],
    processes: int,
    folder: str | Path | None,
    progress: bool,
) -> dict[Student, Array]:
    """Train all that the folder lacks."""
    processes = check.count("processes", processes, "2 on a machine with two cores")
    workplace = Workplace("here") if processes == 1 else Workplace("processes", processes)
    kept = None if folder is None else Path(folder) / setup.fingerprint
    found = carry_out(
        partial(_trained, setup),
        every,
        workplace,
        partial(_file, kept),
        _cost,
        "students",
        progress,
    )
    lost = [result.reason for result in found.values() if isinstance(result, Lost)]
    if lost:
        raise RuntimeError(f"{len(lost)} students were not trained: {lost[0]}")
    return {s: result["points"] for s, result in found.items() if not isinstance(result, Lost)}


def _trained(setup: TeacherStudent, student: Student) -> Arrays:
    names = student.teacher, student.start, student.variant
    return {"points": setup.train(*names, student.particles, student.seeds, student.seed)}


def _cost(student: Student) -> float:
    """Particles times steps, twice for a whole orbit."""
    both = student.variant in ("data-augmented", "feature-averaged")
    return float(student.seeds * student.particles**2 * (2 if both else 1))


def _file(folder: Path | None, student: Student) -> Path | None:
    name = "-".join(str(value) for value in astuple(student))
    return None if folder is None else folder / f"{name}.npz"
