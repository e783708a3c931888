"""Which frames are for training, for validation and for the final test: by session, never by frame.

Neighbouring frames are near copies of each other, so a split by frame would test on what was
trained on. A hash of the session's name decides, so a session recorded later never moves an
earlier one.
"""

import hashlib

from jaxdrive.data.frames import Session

SPLITS = ("train", "validation", "test")

# Of 100 sessions, these many go to validation and to test.
_VALIDATION_PERCENT = 10
_TEST_PERCENT = 10


def split_of(session: Session) -> str:
    """The split of a session: its own where the source decides it, else by a hash of its name."""
    if session.split is not None:
        return session.split
    bucket = int.from_bytes(hashlib.sha256(session.name.encode()).digest()[:8], "big") % 100
    if bucket < _TEST_PERCENT:
        return "test"
    if bucket < _TEST_PERCENT + _VALIDATION_PERCENT:
        return "validation"
    return "train"
