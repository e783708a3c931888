"""The one exception that means "the user can mend this": its text is the whole message.

`launch.py` prints it without a traceback and leaves with its exit code.
"""


class UserError(Exception):
    """A mistake or a circumstance that the user can mend.

    The text says what was found, where, and what to do.
    """

    exit_code = 1


class UsageError(UserError):
    """The command line itself is wrong: an unknown verb, field or file."""

    exit_code = 2
