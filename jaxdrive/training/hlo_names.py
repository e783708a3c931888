"""Reads from a trace's XSpace file which source operation every compiled operation comes from.

On a CPU a trace names operations as the compiler does ("fusion.7"). The compiled modules say what
they were in the program, and JAX puts these into the same file as protocol buffers. The few fields
that matter are read here by number, from openxla's xplane.proto and hlo.proto, since no
package that jaxdrive needs has these messages.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

# Fields by number: of XSpace and what it holds, then of HloModuleProto and what it holds.
_PLANE, _PLANE_NAME, _EVENT_METADATA, _MAP_VALUE = 1, 2, 4, 2
_STAT, _BYTES_VALUE, _HLO_MODULE = 5, 6, 1
_MODULE_NAME, _COMPUTATION, _COMPUTATION_ID, _INSTRUCTION = 1, 3, 5, 2
_NAME, _METADATA, _OP_NAME, _ID, _OPERANDS, _CALLED = 1, 7, 2, 35, 36, 38
_METADATA_PLANE = b"/host:metadata"
# Takes the place of the primitive in the path of an operation that the compiler added.
ADDED = "(added by the compiler)"


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    path: str
    operands: Sequence[int]
    called: Sequence[int]


def source_names(xspace: bytes) -> dict[tuple[str, str], str]:
    """By module and operation as the trace names them, the path of the source operation.

    A fusion has one path, however many operations it joins: that of its result or, where that has
    none, of the last operation that has one. What the compiler adds, such as a change of layout,
    has the path of the operation that it works on, with `ADDED` at the end; of several, the one
    computed last, which is a backward operation where there is one. Operations of which no path is
    known are left out.

    Args:
      xspace: Content of a `.xplane.pb` file.
    """
    found: dict[tuple[str, str], str] = {}
    for plane in _get(memoryview(xspace), _PLANE):
        if next(_get(plane, _PLANE_NAME), b"") != _METADATA_PLANE:
            continue
        for stat in _get(plane, _EVENT_METADATA, _MAP_VALUE, _STAT):
            for module in _get(stat, _BYTES_VALUE, _HLO_MODULE):
                name = _text(module, _MODULE_NAME)
                found |= {(name, op): path for op, path in _paths(module).items() if path}
    return found


def is_backward(path: str) -> bool:
    """Whether an operation belongs to a backward pass."""
    return "transpose(" in path


def _paths(module: memoryview) -> dict[str, str]:
    """By operation of one module, its path; empty where nothing is known."""
    instructions: dict[int, _Instruction] = {}
    last_inside: dict[int, str] = {}
    for computation in _get(module, _COMPUTATION):
        its = {
            next(_get(message, _ID), 0): _instruction(message)
            for message in _get(computation, _INSTRUCTION)
        }
        instructions |= its
        paths = [one.path for one in its.values() if one.path]
        last_inside[next(_get(computation, _COMPUTATION_ID), 0)] = paths[-1] if paths else ""
    # By instruction, its path and how many others it waits for, one after the other. Each comes
    # after its operands, and computations after those that they call.
    known: dict[int, tuple[str, int]] = {}
    for number, one in instructions.items():
        path = one.path or "".join(last_inside[called] for called in one.called[:1])
        before = [known[operand] for operand in one.operands if operand in known]
        latest = max(
            (found for found in before if found[0]), key=lambda found: found[1], default=None
        )
        if not path and latest:
            path = latest[0].rpartition("/")[0] + f"/{ADDED}"
        known[number] = path, 1 + max((depth for _, depth in before), default=0)
    return {one.name: known[number][0] for number, one in instructions.items()}


def _instruction(message: memoryview) -> _Instruction:
    path = _text(message, _METADATA, _OP_NAME)
    return _Instruction(
        _text(message, _NAME),
        # That of a parameter is its name, which is no path.
        path if "/" in path else "",
        [number for packed in _get(message, _OPERANDS) for number in _numbers(packed)],
        [number for packed in _get(message, _CALLED) for number in _numbers(packed)],
    )


def _get(message: Any, number: int, *inner: int) -> Iterator[Any]:
    """The values of a field: numbers, or the bytes of texts and messages."""
    for found, value in _fields(message):
        if found == number:
            if inner:
                yield from _get(value, *inner)
            else:
                yield value


def _text(message: Any, *numbers: int) -> str:
    return bytes(next(_get(message, *numbers), b"")).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of every field of a message in protocol buffers' wire format."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _number(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _number(message, at)
        else:
            size = {1: 8, 5: 4}[kind]
        yield key >> 3, message[at : at + size]
        at += size


def _numbers(packed: Any) -> Iterator[int]:
    """The numbers of a repeated field, which may be packed into bytes."""
    if isinstance(packed, int):
        yield packed
        return
    at = 0
    while at < len(packed):
        value, at = _number(packed, at)
        yield value


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at byte `at`, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
