"""Bins divide the range of a head's target into intervals and exact values.

Balancing draws by them, evaluation reports by them and a classification tells them apart, so all
share the functions here.
"""

import dataclasses
import functools

import numpy as np

from jaxdrive.errors import UserError


@dataclasses.dataclass(frozen=True)
class Bins:
    """A division of a target's range.

    Attributes:
      edges: Ascending borders, the ends of the range included.
      atoms: Those edges that are a bin of their own (exactly 0.0, exactly 1.0). An edge that is no
        atom belongs to the interval on its side towards zero, so that the bins of -y mirror those
        of y (0 itself, to the one above); the ends of the range belong to their only interval.
    """

    edges: tuple[float, ...]
    atoms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        pairs = list(zip(self.edges, self.edges[1:], strict=False))
        # Not a number is neither above nor below anything.
        wrong = [f": {b} follows {a}" for a, b in pairs if not a < b]
        if not pairs or wrong:
            raise UserError(
                "bins need at least two ascending edges, so that they neither overlap nor leave"
                f" gaps, found {self.edges}{''.join(wrong[:1])}"
            )
        unknown = set(self.atoms) - set(self.edges)
        if unknown:
            raise UserError(f"bins: the exact values {sorted(unknown)} are not among the edges")

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of every bin in ascending order; low equals high where the bin is an atom."""
        spans = []
        for index, edge in enumerate(self.edges):
            if index:
                spans.append((self.edges[index - 1], edge))
            if edge in self.atoms:
                spans.append((edge, edge))
        return tuple(spans)

    @property
    def values(self) -> tuple[float, ...]:
        """What every bin stands for where a network names bins: its centre; an atom, itself.

        Unlike the mean of the training labels in a bin they need no data and stay the same under
        any balancing and augmentation; they miss a label by half a bin's width at most.
        """
        return tuple((low + high) / 2 for low, high in self.spans)

    @functools.cached_property
    def lookup(self) -> np.ndarray:
        """The bin by rank code: int64 [2 * edges + 1].

        The code of a value is the sum of its left and right ranks among the edges: odd on an edge,
        even between two, so that both cases are one look-up, on the host and on a device.
        """
        spans = list(self.spans)
        table = np.zeros(2 * len(self.edges) + 1, np.int64)
        for rank, edge in enumerate(self.edges):
            below = spans.index((self.edges[rank - 1], edge)) if rank else None
            inner = rank + 1 < len(self.edges)
            above = spans.index((edge, self.edges[rank + 1])) if inner else None
            owner = below if above is None or (below is not None and edge > 0) else above
            if edge in self.atoms:
                owner = spans.index((edge, edge))
            assert owner is not None  # There are at least two edges, so one side is an interval.
            table[2 * rank + 1] = owner
            if above is not None:
                table[2 * rank + 2] = above
        table[0], table[-1] = table[1], table[-2]
        return table

    def __len__(self) -> int:
        return len(self.spans)


def bin_index(bins: Bins, targets: np.ndarray) -> np.ndarray:
    """The bin of every target: int64, same shape.

    Targets outside the range fall into the first or the last bin. Comparisons are made in float32,
    in which targets are kept, so that every user of a target finds the same bin.
    """
    edges = np.asarray(bins.edges, np.float32)
    targets = np.clip(np.asarray(targets, np.float32), edges[0], edges[-1])
    left, right = (np.searchsorted(edges, targets, side=side) for side in ("left", "right"))
    return bins.lookup[left + right]
