"""A checkpoint at the wheel."""
