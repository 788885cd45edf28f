"""What a user can mend, told apart from what is a bug."""


class BadInput(Exception):
    """A mistake in what the user gave; the message is one sentence that names it and how to mend it."""


class Unfinished(Exception):
    """Work ended with samples or shards left over; the message says which and why."""
