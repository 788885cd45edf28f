"""Calibrations in files of their own, for several runs."""
