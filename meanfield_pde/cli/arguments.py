"""The command line's application, and the arguments that its commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import meanfield_pde as mf

app = typer.Typer(
    name="meanfield-pde",
    help="Mean-field limits of wide neural networks: densities and particles, side by side.",
    epilog="Exit codes: 0 done and every check held; 1 a check failed; 2 bad case or usage; "
    "3 the numerics failed; 4 input or output; 130 interrupted.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[
    str, typer.Argument(metavar="CASE", help="Name of a case, or path of a TOML file.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Folder to write to; results/CASE if left out."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value of the case, as in grid.cells=200."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]


def case_and_folder(
    name: str, settings: list[str] | None, output: Path | None
) -> tuple[mf.Case, Path]:
    """Load a case, and make sure that its results can be written before they are computed."""
    case = mf.load_case(name).with_settings(settings or [])
    return case, writable(Path("results") / case.name if output is None else output)


def writable(folder: Path) -> Path:
    """Return a folder in which files can be made; else raise StorageError."""
    standing = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise mf.StorageError(
            f"{folder} cannot be written to: {standing} is "
            f"{'not writable' if standing.is_dir() else 'no folder'}; give another one by -o"
        )
    return folder
