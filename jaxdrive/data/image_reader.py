"""Random access to the arrays of stored records, safe to share between threads."""

import collections
import threading
from collections.abc import Sequence

import numpy as np

from jaxdrive.data import store as stores
from jaxdrive.data.dataset import Dataset
from jaxdrive.data.record import array_bytes, find_layout
from jaxdrive.data.store import IMAGE, RECORD_ID, DamageError, Shard, Store

# Shards that a thread keeps open: systems allow a process about a thousand files.
_OPEN_READERS = 64


class ImageReader:
    """Reads the arrays of a dataset's records by record id.

    Each thread keeps its own file handles, since a shard's reader has one position in its file.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._shards = [(store, shard) for store in dataset.stores for shard in store.shards]
        lengths = [shard.records for _, shard in self._shards]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._places = dataset.places
        self._arrays = dataset.arrays
        self._local = threading.local()

    def read(self, ids: np.ndarray, name: str = IMAGE) -> np.ndarray:
        """The arrays of one name in the order of `ids` (int [n]): [n, *shape], by default images.

        Raises:
          DamageError: A record is damaged, or that of another place.
        """
        array = self._arrays[name]
        values = np.empty((len(ids), *array.shape), array.dtype)
        places = self._places[ids]
        shards = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(shards):
            rows = np.flatnonzero(shards == number)
            within = (places[rows] - self._starts[number]).tolist()
            store, shard = self._shards[number]
            try:
                records = self._records(int(number), within)
                found = _values(store, shard, within, records, name)
                for row, value in zip(rows, found, strict=True):
                    values[row] = np.frombuffer(value, array.dtype).reshape(array.shape)
            except stores.READ_ERRORS as error:
                raise DamageError(
                    f"damaged dataset: {shard.path} cannot be read at records {within} ({error}):"
                    f" where it is not the disk's fault, {stores.remedy(store.path)}"
                ) from error
        return values

    def _records(self, number: int, places: Sequence[int]) -> Sequence[bytes]:
        readers = self._local.__dict__.setdefault("readers", collections.OrderedDict())
        if number not in readers:
            if len(readers) == _OPEN_READERS:
                readers.popitem(last=False)[1].close()
            readers[number] = stores.open_shard(self._shards[number][1])
        readers.move_to_end(number)
        return readers[number].read(places)


def _values(
    store: Store, shard: Shard, places: Sequence[int], records: Sequence[bytes], name: str
) -> list[memoryview]:
    """The bytes of an array in records, after a look at the records' ids.

    Raises:
      ValueError: A record is that of another place.
    """
    if not store.nonce:
        return [array_bytes(record, name) for record in records]
    # All records of a store are laid out alike; a foreign one shows by its id.
    slices = find_layout(records[0]).slices
    own, wanted = slices[RECORD_ID], slices[name]
    for place, record in zip(places, records, strict=True):
        fault = stores.foreign(store, shard, place, record[own])
        if fault:
            raise ValueError(f"it {fault}")
    return [memoryview(record)[wanted] for record in records]
