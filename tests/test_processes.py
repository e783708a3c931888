"""Flags of a run of several processes are looked at before anyone is waited for."""

import socket

import pytest

from jaxdrive import processes
from jaxdrive.errors import UsageError, UserError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "a:1"}, "needs --num_processes, --process_id as well"),
        (
            {"coordinator": "a", "num_processes": 2, "process_id": 0},
            "--coordinator takes host:port, found 'a'",
        ),
        (
            {"coordinator": "localhost:http", "num_processes": 2, "process_id": 0},
            "--coordinator takes host:port",
        ),
    ],
)
def test_flags_of_several_processes_are_checked_before_joining(given, message):
    flags = dict.fromkeys(("coordinator", "num_processes", "process_id")) | given
    with pytest.raises(UsageError, match=message):
        processes.join(flags)


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        given = {"coordinator": address, "num_processes": 2, "process_id": 0}
        with pytest.raises(UserError, match=rf"cannot listen on {address} .*another port"):
            processes._check(given)
        processes._check(given | {"process_id": 1})
    processes._check(given)
