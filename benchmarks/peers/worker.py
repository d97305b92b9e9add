"""One package and one problem in a process of its own: ``python -m benchmarks.peers.worker``.

Says first what is installed. Then reads the index of a setting from each line, solves, and answers
with a line of JSON; a setting is compiled and warmed up by a solve that is not counted.
"""

import json
import os
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from .problems import PROBLEMS, double_well_gibbs, restrict


def versions(packages):
    """Return names and versions, or None if one is not installed."""
    try:
        return {name: version(name) for name in packages}
    except PackageNotFoundError:
        return None


def distance(problem, u, exact):
    return float(np.abs(u - exact).sum() * problem.width(len(u)) ** problem.dimension)


def measure(problem, result):
    """Return the L1 error against cell averages, the smallest value and the drift of the mass."""
    if problem.particles:
        edges = np.linspace(-problem.half_width, problem.half_width, 33)
        counts = np.histogram2d(*result.T, bins=[edges, edges])[0]
        u = counts / len(result) / problem.width(32) ** 2
        exact = restrict(PROBLEMS["network-drift"].solution(128), 32)
        return {"error": distance(problem, u, exact), "smallest": 0.0, "drift": 0.0}
    mass = (result - problem.start(len(result))).sum() * problem.width(len(result)) ** result.ndim
    exact = problem.solution(len(result))
    found = {
        "error": distance(problem, restrict(result, len(exact)), exact),
        "smallest": float(result.min()),
        "drift": float(mass),
    }
    if problem.name == "double-well":
        found["gibbs"] = distance(problem, result, double_well_gibbs(problem, len(result), 1))
    return found


def main(peer, name):
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    module, problem = import_module(f"{__package__}.with_{peer}"), PROBLEMS[name]
    found = versions(module.PACKAGES)
    print(json.dumps({"versions": found}), file=answers)
    solves, compiling = {}, {}
    for line in sys.stdin if found is not None else ():
        index = int(line)
        if index not in solves:
            before = time.perf_counter()
            solves[index] = module.prepare(problem, **module.SETTINGS[name][index])
            solves[index]()
            compiling[index] = time.perf_counter() - before
        before = time.perf_counter()
        result = solves[index]()
        seconds = time.perf_counter() - before
        answer = {"seconds": seconds, "first": compiling[index], **measure(problem, result)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
