"""Kinds of work: shards of a run's directory, made by tasks and pools. A ``Run`` generates; others read what it made."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from jobs.base.report import Report
from jobs.execute.halt import Halt
