"""PyTorch's DataLoader: the same batches gathered from a mapped file, whole batches at once.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.loader_torch FOLDER workers|main
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.peer_workers.loader_files import LoaderFiles, first_pixels, read
from benchmarks.peer_workers.protocol import Work, cores, serve


class Batches(Dataset):
    """Item k is batch k as tensors (images, labels)."""

    def __init__(self, files: LoaderFiles) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files.ids)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.files.batch(position)
        return torch.from_numpy(images), torch.from_numpy(labels)


class Endless(Sampler):
    """0, 1, ..., count - 1, again and again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return itertools.cycle(range(self.count))


def make(arguments: Sequence[str]) -> Work:
    """Batches as tensors, loaded by a process for each core or by this one."""
    folder, mode = arguments
    batches = Batches(read(folder))
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=Endless(len(batches)),
        num_workers=cores() if mode == "workers" else 0,
    )
    iterator = iter(loader)
    return Work(
        update=lambda: first_pixels(next(iterator)[0].numpy()),
        finish=lambda: None,
        device="cpu",
        parameters=0,
        settle=0.2,
    )


if __name__ == "__main__":
    serve(make, ["torch"])
