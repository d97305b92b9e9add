"""Claims about zero-sum games."""

CLAIMS = {"mass-conserved": None}
