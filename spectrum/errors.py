"""The one error type of the package."""


class SpectrumError(ValueError):
    """Something that Spectrum cannot do.

    The text is one sentence without a full stop that says what is wrong and how to mend it, and that can follow
    "error: ". Where an argument is at fault the text begins with its name, which stands in `option` too, so that
    callers can call it what their users do: `f"algo.{error.option} {error.problem}"`.

    Args:
        problem: The text, without the name of the option.
        option: The argument at fault, as the Python API calls it; None where no single one is.

    Attributes:
        problem: As given: "must be a number from 0 to 1, not 2".
        option: As given: "w".
    """

    def __init__(self, problem: str, *, option: str | None = None) -> None:
        super().__init__(problem if option is None else f"{option} {problem}")
        self.problem = problem
        self.option = option
