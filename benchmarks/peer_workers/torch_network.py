"""The networks in PyTorch: images come as [n, H, W, 3] and are computed on in channels_last."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peer_workers.workload import Workload


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's padding "same" adds before and after a direction of `size`."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _padded(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    height, width = x.shape[2:]
    return functional.pad(x, (*_same(width, kernel, stride), *_same(height, kernel, stride)))


def _pooled(x: torch.Tensor) -> torch.Tensor:
    """Maxima of 3 x 3, every second one, padded as "same"; without a copy of a square map."""
    height, width = (_same(size, 3, 2) for size in x.shape[2:])
    if height == width == (1, 1):
        return functional.max_pool2d(x, 3, 2, padding=1)
    if height == width == (0, 1):
        return functional.max_pool2d(x, 3, 2, ceil_mode=True)
    return functional.max_pool2d(functional.pad(x, (*width, *height), value=float("-inf")), 3, 2)


class Convolutions(nn.Module):
    """Convolutions with a ReLU each, then the map flattened."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.same = workload.padding == "same"
        channels = [3, *(layer.channels for layer in workload.convolutions)]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, layer.channels, layer.size, layer.stride)
            for before, layer in zip(channels, workload.convolutions, strict=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [n, 3, H, W] to [n, features]."""
        for layer in self.layers:
            if self.same:
                x = _padded(x, layer.kernel_size[0], layer.stride[0])
            x = functional.relu(layer(x))
        return torch.flatten(x, 1)


class Separable(nn.Module):
    """A depthwise and a 1x1 convolution, then batch normalisation."""

    def __init__(self, before: int, after: int, workload: Workload) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)
        self.norm = _norm(after, workload)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [n, before, H, W] to [n, after, H, W]."""
        return self.norm(self.pointwise(self.depthwise(x)))


def _norm(channels: int, workload: Workload) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=workload.epsilon, momentum=1 - workload.momentum)


class Block(nn.Module):
    """One of Xception's blocks, see jaxdrive/models/xception.py."""

    def __init__(self, before: int, channels: Sequence[int], end: str, work: Workload) -> None:
        super().__init__()
        self.end = end
        inputs = (before, *channels)
        self.layers = nn.ModuleList(
            Separable(*pair, work) for pair in zip(inputs, channels, strict=False)
        )
        if end == "halved":
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, channels[-1], 1, 2, bias=False), _norm(channels[-1], work)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [n, before, H, W] to [n, channels[-1], H, W], halved where `end` says so."""
        first = x
        for number, layer in enumerate(self.layers):
            if number or self.end != "plain":
                x = functional.relu(x)
            x = layer(x)
        if self.end == "plain":
            return functional.relu(x)
        if self.end == "added":
            return x + first
        return _pooled(x) + self.shortcut(first)


class Xception(nn.Module):
    """The published network without its classifier, then the mean over the map."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, bias=False),
            _norm(32, workload),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, bias=False),
            _norm(64, workload),
            nn.ReLU(),
        )
        blocks, before = [], 64
        for channels, end in workload.blocks.values():
            blocks.append(Block(before, channels, end, workload))
            before = channels[-1]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [n, 3, H, W] to [n, 2048]."""
        return self.blocks(self.stem(x)).mean((2, 3))


class MultiHead(nn.Module):
    """Backbone, shared dense layers, and a column of dense layers for every head."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.heads = workload.heads
        self.backbone = Xception(workload) if workload.blocks else Convolutions(workload)
        self.common = _dense(workload.common)
        self.columns = nn.ModuleDict(
            {
                head: nn.Sequential(_dense(workload.head), nn.LazyLinear(1))
                for head in workload.heads
            }
        )

    def features(self, images: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        """What all heads share, of images uint8 [n, H, W, 3] and scalars [n, s]."""
        x = images.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
        x = self.backbone(x.contiguous(memory_format=torch.channels_last))
        return self.common(torch.cat([x, scalars], 1))

    def loss(
        self, head: str, images: torch.Tensor, scalars: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """The mean squared error of one head on its own batch; labels [n, 1]."""
        outputs = self.columns[head](self.features(images, scalars))
        return functional.mse_loss(outputs.float(), labels)

    def losses(
        self, images: torch.Tensor, scalars: torch.Tensor, labels: torch.Tensor
    ) -> list[torch.Tensor]:
        """The same of all heads in one pass; labels [heads, n, 1], images [heads * n, H, W, 3]."""
        features = self.features(images, scalars).chunk(len(self.heads))
        return [
            functional.mse_loss(self.columns[head](own).float(), wanted)
            for head, own, wanted in zip(self.heads, features, labels, strict=True)
        ]


def _dense(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.LazyLinear(width), nn.ReLU()]
    return nn.Sequential(*layers)
