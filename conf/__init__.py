"""Hydra configuration: what can be chosen."""
