"""Run one case through four commands: python case.py NAME FOLDER.

All in one process, as a user's would be four: imports cost more than most cases.
"""

import io
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

from meanfield_pde.cli import app

VERBS = ("solve", "simulate", "compare", "validate")


def code_of(words: list[str]) -> object:
    """Exit code of a command, or the error that it did not catch."""
    try:
        app(words)
    except SystemExit as leaving:
        return leaving.code
    except Exception as error:
        return repr(error)
    return 0


def main(name: str, folder: str) -> int:
    """Say how each command went, with its last lines where it failed."""
    failed = 0
    for verb in VERBS:
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
