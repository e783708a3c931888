"""Joins the processes of one run: as the flags say, or as JAX finds them by itself."""

import socket
from collections.abc import Mapping
from typing import Any

import jax

from jaxdrive.errors import UsageError, UserError


def join(given: Mapping[str, Any]) -> None:
    """Joins the run that the flags --coordinator, --num_processes and --process_id describe.

    Without these flags JAX looks for other processes by itself; a process that is alone goes ahead.

    Args:
      given: The flags by name, None where they are not given.

    Raises:
      UsageError: Some of the flags are missing or wrong.
      UserError: The other processes cannot be reached, or the port is taken.
    """
    names = ("coordinator", "num_processes", "process_id")
    missing = [f"--{name}" for name in names if given[name] is None]
    if missing and len(missing) < 3:
        raise UsageError(f"a run of several processes needs {', '.join(missing)} as well")
    if not missing:
        _check(given)
    try:
        jax.distributed.initialize(*(given[name] for name in names))
    except ValueError as error:
        # What JAX says where nothing tells of other processes.
        if not missing or "coordinator_address should be defined" not in str(error):
            raise UserError(f"cannot join the other processes: {error}") from error
    except RuntimeError as error:
        raise UserError(
            f"cannot join the other processes ({' '.join(str(error).split())[:200]}): is every one"
            " of them started, with the same --coordinator and --num_processes?"
        ) from error


def _check(given: Mapping[str, Any]) -> None:
    """Checks the flags of a process; in process 0 also the port, on which it will listen."""
    host, _, port = given["coordinator"].rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--coordinator takes host:port, found {given['coordinator']!r}")
    if not 0 <= given["process_id"] < given["num_processes"]:
        raise UsageError(
            f"--process_id={given['process_id']} has to be from 0 to"
            f" {given['num_processes'] - 1}, with --num_processes={given['num_processes']}"
        )
    if given["process_id"]:
        return
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", int(port)))
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen on {given['coordinator']} ({error.strerror}): name another"
            " port, or end the process that uses it"
        ) from error
