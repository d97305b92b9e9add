"""Run every problem in every installed package beside ours and print ratios at equal error.

Each package solves a problem in a process of its own. The settings it has for that problem are
tried once; the fastest on the problem's grid, and the fastest that reaches the problem's target,
are then timed, each solve after one of ours.
"""

import argparse
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from statistics import median

from .problems import PROBLEMS
from .table import HEADER, chosen, ratio, reaches, row, table

ROOT = Path(__file__).parents[2]
PEERS = ("diffrax", "pypde", "fipy", "fplanck", "pychangcooper", "numpy", "jax", "torch")
FRESH = """
import sys
import meanfield_pde as mf
mf.solve(mf.load_case(sys.argv[1]).problem)
"""


class FailedError(RuntimeError):
    """A package gave no answer."""


class Worker:
    """A process that solves one problem with one package."""

    def __init__(self, python: str, peer: str, problem: str, options: argparse.Namespace) -> None:
        self.patience = options.patience
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        extra = getattr(import_module(f"{__package__}.with_{peer}"), "ENVIRONMENT", {})
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-m", f"{__package__}.worker", peer, problem],
            cwd=ROOT,
            env=environment(options.threads) | extra,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        self.versions = self.answer()["versions"]

    def solve(self, index: int) -> dict:
        with suppress(BrokenPipeError):  # answer() says what the process died of
            self.process.stdin.write(f"{index}\n".encode())
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict:
        if not select.select([self.process.stdout], [], [], self.patience)[0]:
            self.close()
            raise FailedError(f"no answer in {self.patience:g} s")
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().splitlines()
            raise FailedError("failed: " + (said[-1][:100] if said else "without a word"))
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def environment(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return os.environ | dict.fromkeys(names, str(threads))


def settings(peer: str, problem: str) -> list[dict]:
    return import_module(f"{__package__}.with_{peer}").SETTINGS.get(problem, [])


def try_all(worker: Worker, peer: str, name: str) -> list[dict]:
    """Solve once with every setting."""
    problem = PROBLEMS[name]
    trials = []
    for index, setting in enumerate(settings(peer, name)):
        found = worker.solve(index)
        found["compiling"] = max(found.pop("first") - found["seconds"], 0.0)
        found["reached"] = reaches(found["error"], problem.target)
        trials.append({"peer": peer, "index": index, "setting": setting, **found})
    return trials


def alternate(entry: dict, worker: Worker, ours: Worker, own: int, options) -> dict:
    """Time a setting and our own in turn, until either the repeats or the seconds are used up."""
    theirs, mine, begun = [], [], time.monotonic()
    while len(theirs) < options.repeats and (
        not theirs or time.monotonic() - begun < options.budget
    ):
        mine.append(ours.solve(own)["seconds"])
        theirs.append(worker.solve(entry["index"])["seconds"])
    return entry | {"seconds": theirs, "ours": mine, "ratio": ratio(theirs, mine)}


def compare(name: str, options: argparse.Namespace) -> list[dict]:
    """Return the entries of a problem's table: ours first, then each peer's or its failure."""
    problem, entries = PROBLEMS[name], []
    ours = Worker(sys.executable, "us", name, options)
    best = chosen(try_all(ours, "us", name), problem.cells, problem.target)[-1]
    for peer in options.peers:
        if not settings(peer, name):
            continue
        worker = None
        try:
            worker = Worker(options.python, peer, name, options)
            if worker.versions is None:
                raise FailedError("not installed")
            trials = try_all(worker, peer, name)
            for entry in chosen(trials, problem.cells, problem.target):
                timed = alternate(entry, worker, ours, best["index"], options)
                entries.append(timed | {"versions": worker.versions, "trials": trials})
        except FailedError as failure:
            entries.append({"peer": peer, "failure": str(failure)})
        if worker is not None:
            worker.close()
    own = [seconds for entry in entries for seconds in entry.get("ours", [])]
    ours.close()
    return [best | {"seconds": own or [best["seconds"]]}, *entries]


def fresh(options: argparse.Namespace) -> dict[str, float]:
    """Seconds from start to exit of a process that loads and solves a case on 64^2 cells."""

    def once(**extra: str) -> float:
        before = time.perf_counter()
        command = [sys.executable, "-c", FRESH, str(case)]
        subprocess.run(command, cwd=ROOT, env=environment(options.threads) | extra, check=True)
        return time.perf_counter() - before

    shipped = ROOT / "cases" / "ornstein-uhlenbeck-2d.toml"
    with tempfile.TemporaryDirectory() as empty:
        case = Path(empty) / "small.toml"
        case.write_text(shipped.read_text().replace("[128, 128]", "[64, 64]"))
        cold = once(NUMBA_CACHE_DIR=empty)
        warm = [once(NUMBA_CACHE_DIR=empty) for _ in range(options.repeats)]
    return {"cold": cold, "warm": median(warm)}


def machine(threads: int) -> str:
    model = platform.processor() or "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), model)
    load = os.getloadavg()[0]
    return (
        f"{platform.platform()}, {model}, {os.cpu_count()} cores, {threads} threads used, "
        f"Python {platform.python_version()}, load {load:.1f} before the run"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    add("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, metavar="NAME")
    add("--peers", nargs="*", default=list(PEERS), choices=PEERS, metavar="NAME")
    add("--python", default=sys.executable, help="the interpreter that has the peers")
    add("--repeats", type=int, default=5, help="timed solves a setting")
    add("--budget", type=float, default=60, help="seconds after which no more repeats start")
    add("--patience", type=float, default=300, help="seconds after which a solve is given up")
    add("--threads", type=int, default=2)
    add("--fresh", action=argparse.BooleanOptionalAction, default=True)
    add("--markdown", action="store_true")
    add("--json", type=Path, help="file for every number")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if hasattr(os, "sched_setaffinity"):  # for libraries that ask the machine and not the shell
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    record = {"machine": machine(options.threads), "problems": {}, "versions": {}}
    print(record["machine"])
    for name in options.problems:
        try:
            entries = record["problems"][name] = compare(name, options)
        except FailedError as failure:  # ours: there is nothing to compare with
            print(f"\n{name}: meanfield_pde {failure}")
            continue
        for entry in entries:
            record["versions"] |= entry.get("versions", {})
        print(f"\n{name}: target {PROBLEMS[name].target:.1e}\n")
        print(table([HEADER, *map(row, entries)], options.markdown), flush=True)
        for entry in entries:
            if "gibbs" in entry:
                print(f"{entry['peer']}: {entry['gibbs']:.1e} from the discrete Gibbs state")
        if options.json:
            options.json.write_text(json.dumps(record, indent=1))
    if options.fresh:
        record["fresh"] = fresh(options)
        warm, cold = record["fresh"]["warm"], record["fresh"]["cold"]
        print(f"\nimport, load, solve at 64^2, exit: {warm:.2f} s, {cold:.1f} s with empty caches")
    print("\n" + ", ".join(f"{name} {v}" for name, v in record["versions"].items()))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
