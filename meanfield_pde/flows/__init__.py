"""The equations of motion, and problems to be solved."""
