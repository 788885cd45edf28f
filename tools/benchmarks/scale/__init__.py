"""How the submitting side of a large launch does."""
