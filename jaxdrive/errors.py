"""The one exception that means "the user can mend this": its text is the whole message.

`launch.py` prints it without a traceback and leaves with its exit code. What the system refuses is
turned into one here too.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake or a circumstance that the user can mend.

    The text says what was found, where, and what to do.
    """

    exit_code = 1


class UsageError(UserError):
    """The command line itself is wrong: an unknown verb, field or file."""

    exit_code = 2


# A full disk, a used-up quota, a file larger than is allowed.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A folder that is a file, is missing, or may not be written.
_NO_ENTRY = (errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT)


@contextmanager
def plain_system_errors() -> Iterator[None]:
    """Says plainly what a disk or folder refuses, whichever library found out."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reasons = [os.strerror(number) for number in _NO_SPACE]
        told = next((reason for reason in reasons if reason in str(error)), None)
        where = f" {error.filename}" if getattr(error, "filename", None) else ""  # type: ignore[attr-defined]
        if told is not None or getattr(error, "errno", None) in _NO_SPACE:
            raise UserError(
                f"no space left: cannot write{where} ({told or error}). Free some, or name other"
                " folders with --workdir and --config.data.dir. What was complete is kept: the"
                " same command goes on from there"
            ) from error
        if isinstance(error, OSError) and error.errno in _NO_ENTRY:
            raise UserError(
                f"cannot use{where}: {error.strerror}. Name another folder with --workdir or"
                " --config.data.dir"
            ) from error
        raise
