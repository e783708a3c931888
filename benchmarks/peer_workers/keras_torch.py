"""Keras 3 on PyTorch: the published loop, eager or with every helper model compiled.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.keras_torch WORKLOAD eager|compile
"""

import os
from collections.abc import Sequence

os.environ["KERAS_BACKEND"] = "torch"

import torch

from benchmarks.peer_workers.keras_network import build, inputs_of
from benchmarks.peer_workers.protocol import Work, serve
from benchmarks.peer_workers.torch_settings import device_name, fastest, tensor
from benchmarks.peer_workers.workload import Workload, random_batches, total


def make(arguments: Sequence[str]) -> Work:
    """The step of a workload, and its batch."""
    text, mode = arguments
    workload = Workload.from_json(text)
    device = fastest()
    network = build(workload)
    helpers = dict(network.helpers)
    if mode == "compile":
        # Keras's layers share functions: each needs a program for every layer of every head.
        torch._dynamo.config.recompile_limit = 1000
        torch._dynamo.config.accumulated_recompile_limit = 10000
        helpers = {head: torch.compile(helper, dynamic=False) for head, helper in helpers.items()}
    parameters = [variable.value for variable in network.whole.trainable_variables]
    optimizer = torch.optim.Adam(parameters, workload.learning_rate, fused=True)
    batches = random_batches(workload)

    def update() -> float:
        optimizer.zero_grad()
        losses = {}
        for head, helper in helpers.items():
            batch = batches[head]
            inputs = [tensor(array, device) for array in inputs_of(workload, batch)]
            outputs = helper(inputs, training=True)
            losses[head] = torch.nn.functional.mse_loss(outputs, tensor(batch.labels, device))
            losses[head].backward()
        optimizer.step()
        return total({head: loss.item() for head, loss in losses.items()})

    return Work(
        update=update,
        finish=lambda: parameters[-1].detach().cpu(),
        device=device_name(device),
        parameters=network.whole.count_params(),
    )


if __name__ == "__main__":
    serve(make, ["torch", "keras"])
