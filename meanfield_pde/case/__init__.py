"""Cases: TOML files that name a problem, the numerics and what theory claims of it."""

from meanfield_pde.case.load import Case, case_folder, list_cases, load_case
from meanfield_pde.case.wording import CaseError

__all__ = ["Case", "CaseError", "case_folder", "list_cases", "load_case"]
