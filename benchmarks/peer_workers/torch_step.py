"""Plain PyTorch in channels_last: separate passes of the heads, or one over all batches together.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.torch_step WORKLOAD eager|compile separate|one
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.peer_workers.protocol import Work, serve
from benchmarks.peer_workers.torch_network import MultiHead
from benchmarks.peer_workers.torch_settings import device_name, fastest, tensor
from benchmarks.peer_workers.workload import HeadBatch, Workload, random_batches, total


def make_separate(
    network: MultiHead, batches: Mapping[str, HeadBatch], put: Callable[[Any], Any], wrap: Any
) -> Callable[[], list[torch.Tensor]]:
    """A function that adds up the gradients of one head after the other; returns the losses."""
    loss_of = wrap(network.loss)

    def gradients() -> list[torch.Tensor]:
        losses = []
        for head, batch in batches.items():
            loss = loss_of(head, put(batch.images), put(batch.scalars), put(batch.labels))
            loss.backward()
            losses.append(loss)
        return losses

    return gradients


def make_one(
    network: MultiHead, batches: Mapping[str, HeadBatch], put: Callable[[Any], Any], wrap: Any
) -> Callable[[], list[torch.Tensor]]:
    """A function that computes the gradients of all heads in one pass; returns the losses."""
    losses_of = wrap(network.losses)

    def gradients() -> list[torch.Tensor]:
        parts = list(batches.values())
        losses = losses_of(
            put(np.concatenate([part.images for part in parts])),
            put(np.concatenate([part.scalars for part in parts])),
            put(np.stack([part.labels for part in parts])),
        )
        sum(losses).backward()
        return losses

    return gradients


def make(arguments: Sequence[str]) -> Work:
    """The step of a workload, and its batch."""
    text, mode, passes = arguments
    workload = Workload.from_json(text)
    device = fastest()
    network = MultiHead(workload)
    batches = random_batches(workload)
    first = next(iter(batches.values()))
    # Makes the weights of the lazy layers.
    for head in workload.heads:
        network.loss(head, *(torch.from_numpy(a[:2]) for a in vars(first).values()))
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), workload.learning_rate, fused=True)
    averages = [value for value in network.buffers() if value.is_floating_point()]

    def wrap(function: Any) -> Any:
        def cast(*tensors: Any) -> Any:
            with torch.autocast(device.type, torch.bfloat16, workload.dtype == "bfloat16"):
                return function(*tensors)

        return torch.compile(cast, dynamic=False) if mode == "compile" else cast

    make_gradients = make_separate if passes == "separate" else make_one
    gradients = make_gradients(network, batches, lambda array: tensor(array, device), wrap)

    def update() -> float:
        optimizer.zero_grad()
        losses = gradients()
        optimizer.step()
        return total({str(k): loss.item() for k, loss in enumerate(losses)})

    last = list(network.parameters())[-1]
    return Work(
        update=update,
        finish=lambda: last.detach().cpu(),
        device=device_name(device),
        parameters=sum(value.numel() for value in [*network.parameters(), *averages]),
    )


if __name__ == "__main__":
    serve(make, ["torch"])
