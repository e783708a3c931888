"""PyTorch's fastest settings, for every worker that runs on it."""

import numpy as np
import torch

from benchmarks.peer_workers.protocol import cores


def fastest() -> torch.device:
    """Takes all cores; returns the GPU where there is one."""
    torch.manual_seed(0)
    torch.set_num_threads(cores())
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # As JAX and TensorFlow do, products in TF32.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def device_name(device: torch.device) -> str:
    """The name of the accelerator, or `cpu`."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array of the host on the device; on a CPU it shares the memory."""
    return torch.from_numpy(array).to(device, non_blocking=True)
