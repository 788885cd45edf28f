"""Samples of a finished run made again, to be compared with what is in its tars."""
