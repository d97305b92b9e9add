"""Studies put answers side by side (compare) or beside the theory (validate)."""
