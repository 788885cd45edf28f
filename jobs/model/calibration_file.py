"""A calibration as a file: read once, checked, and compared with the scheduler that it is to be used with."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import spectrum
from jobs.base.checkpoint_json import read_json
from jobs.base.errors import BadInput
from jobs.options.model import ModelOptions


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration by its place and contents; read when it is needed, so that it need not be sent about.

    Attributes:
        path: as the user gave it.
        digest: 64 hexadecimal digits that name its contents.
    """

    path: str
    digest: str

    @classmethod
    def find(cls, path: str) -> "CalibrationFile":
        """Read a file for the first time.

        Raises:
            BadInput: it is not there, or no calibration.
        """
        return cls(path, read_calibration(path).digest)

    def read(self) -> spectrum.Calibration:
        """Return its contents.

        Raises:
            BadInput: it is gone, or has other contents than it had when the command began.
        """
        calibration = read_calibration(self.path)
        if calibration.digest != self.digest:
            raise BadInput(f"algo.calibration {self.path} was changed since this command began: run the command again")
        return calibration


def read_calibration(path: str) -> spectrum.Calibration:
    """Read a calibration file, once as long as it stays the same.

    Raises:
        BadInput: it is not there, or no calibration.
    """
    file = Path(path).expanduser()
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise BadInput(
            f"algo.calibration {path} cannot be read ({error.strerror}): make it with python -m jobs.calibrate"
        ) from None
    except spectrum.SpectrumError as error:
        raise BadInput(f"algo.calibration: {error} (python -m jobs.calibrate makes one)") from None


@cache
def _read(file: Path, changed: int) -> spectrum.Calibration:
    return spectrum.Calibration.load(file)


def misfit_of(calibration: spectrum.Calibration, model: ModelOptions, folder: Path | None) -> str | None:
    """Return how the scheduler differs from the one that was calibrated; None where it does not, or is not known."""
    if folder is None:
        return None
    now = scheduler_of(model, folder)
    then = {**calibration.source["scheduler_config"], "_class_name": calibration.source["scheduler"]}
    for name in sorted(now.keys() & then.keys()):
        private = name.startswith("_") and name != "_class_name"
        if now[name] != then[name] and not private:
            what = "the scheduler" if name == "_class_name" else f"its scheduler's {name}"
            return f"{what} was {then[name]} and is {now[name]}"
    return None


def scheduler_of(model: ModelOptions, folder: Path) -> dict[str, object]:
    """Return the configuration of the scheduler that a run has, its class as ``_class_name``."""
    now = {**read_json(folder / "scheduler" / "scheduler_config.json"), **model.scheduler_args}
    return {**now, "_class_name": model.scheduler or now.get("_class_name")}
