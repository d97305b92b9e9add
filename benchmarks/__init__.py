"""Times of solves, and of other packages beside them."""
