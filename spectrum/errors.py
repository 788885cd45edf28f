"""The one error type of the package."""


class SpectrumError(ValueError):
    """Something Spectrum cannot do; the message is one sentence that says what, and how to mend it."""
