"""Run cases through three commands: python case.py FOLDER NAME...

All in one process, as a user's would be three a case: imports cost more than most cases. `simulate`
is left to the tests: `compare` runs the same particles.
"""

import io
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from itertools import product

from meanfield_pde.cli import app

VERBS = ("solve", "compare", "validate")


def code_of(words: list[str]) -> object:
    """Exit code of a command, or the error that it did not catch."""
    try:
        app(words)
    except SystemExit as leaving:
        return leaving.code
    except Exception as error:
        return repr(error)
    return 0


def main(folder: str, *names: str) -> int:
    """Say how each command went, with its last lines where it failed."""
    failed = 0
    for name, verb in product(names, VERBS):
        start, said = time.perf_counter(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = code_of([verb, name, "-o", f"{folder}/{name}/{verb}"])
        print(f"{verb:<9} {name:<32} exit {code} {time.perf_counter() - start:5.0f} s")
        if code != 0:
            failed = 1
            print("\n".join(said.getvalue().splitlines()[-40:]))
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
