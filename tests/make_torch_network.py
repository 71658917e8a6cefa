"""Makes torch_network.safetensors: DARTS' CIFAR network as PyTorch computes it.

    python tests/make_torch_network.py tests/torch_network.safetensors

It needs torch, which no test does. The network follows the tables of arXiv:1806.09055
and the names of the arrays of github.com/quark0/darts; the file holds a state dict of
random weights and statistics, two images and their logits in evaluation mode. The
committed file was made with torch 2.13.0 on a CPU.
"""

import json
import sys

import torch
from safetensors.torch import save_file
from torch import nn

GENOTYPE = {
    "format": "jnas.genotype",
    "version": 1,
    "space": "darts",
    "cells": {
        "normal": {
            "edges": [
                [0, 2, "sep_conv_3x3"],
                [1, 2, "dil_conv_3x3"],
                [0, 3, "skip_connect"],
                [2, 3, "avg_pool_3x3"],
                [3, 4, "sep_conv_5x5"],
                [1, 4, "conv_7x1_1x7"],
            ],
            "concat": [2, 3, 4],
        },
        "reduce": {
            "edges": [
                [0, 2, "skip_connect"],
                [0, 2, "skip_connect"],
                [1, 3, "max_pool_3x3"],
                [2, 3, "dil_conv_5x5"],
                [1, 4, "conv_7x1_1x7"],
                [0, 4, "sep_conv_3x3"],
            ],
            "concat": [3, 4],
        },
    },
}


def conv(source, target, kernel, **how):
    """A convolution without a bias."""
    return nn.Conv2d(source, target, kernel, bias=False, **how)


def separable(features, kernel, stride, dilation):
    """ReLU, depthwise, pointwise, norm."""
    margin = dilation * (kernel // 2)
    how = dict(stride=stride, padding=margin, dilation=dilation, groups=features)
    return [
        nn.ReLU(),
        conv(features, features, kernel, **how),
        conv(features, features, 1),
        nn.BatchNorm2d(features),
    ]


class Sequence(nn.Module):
    """Layers under the name ``op``."""

    def __init__(self, *layers):
        """Takes the layers."""
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x):
        """Applies them."""
        return self.op(x)


class FactorizedReduce(nn.Module):
    """Halves the image by two convolutions, the second one pixel further."""

    def __init__(self, source, target):
        """Makes both and the norm."""
        super().__init__()
        self.conv_1 = conv(source, target // 2, 1, stride=2)
        self.conv_2 = conv(source, target // 2, 1, stride=2)
        self.bn = nn.BatchNorm2d(target)

    def forward(self, x):
        """Joins both."""
        x = torch.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


def operation(name, features, stride):
    """Builds an operation of the paper's table."""
    if name == "skip_connect":
        halving = FactorizedReduce(features, features)
        return nn.Identity() if stride == 1 else halving
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "conv_7x1_1x7":
        return nn.Sequential(
            nn.ReLU(),
            conv(features, features, (1, 7), stride=(1, stride), padding=(0, 3)),
            conv(features, features, (7, 1), stride=(stride, 1), padding=(3, 0)),
            nn.BatchNorm2d(features),
        )
    kernel = int(name[-1])
    if name.startswith("dil"):
        return Sequence(*separable(features, kernel, stride, 2))
    twice = separable(features, kernel, stride, 1) + separable(features, kernel, 1, 1)
    return Sequence(*twice)


class Cell(nn.Module):
    """One cell."""

    def __init__(self, cell, before, last, features, reduction, after_reduction):
        """Makes the preprocessing and an operation an edge."""
        super().__init__()

        def plain(source):
            norm = nn.BatchNorm2d(features)
            return Sequence(nn.ReLU(), conv(source, features, 1), norm)

        first = FactorizedReduce if after_reduction else None
        self.preprocess0 = first(before, features) if first else plain(before)
        self.preprocess1 = plain(last)
        self.cell = cell
        self._ops = nn.ModuleList(
            operation(name, features, 2 if reduction and source < 2 else 1)
            for source, _, name in cell["edges"]
        )

    def forward(self, before, last):
        """Computes the nodes, each the sum of two edges."""
        states = [self.preprocess0(before), self.preprocess1(last)]
        results = [
            (edge, op) for edge, op in zip(self.cell["edges"], self._ops, strict=True)
        ]
        for (a, one), (b, two) in zip(results[::2], results[1::2], strict=True):
            states.append(one(states[a[0]]) + two(states[b[0]]))
        return torch.cat([states[i] for i in self.cell["concat"]], 1)


class Network(nn.Module):
    """The CIFAR network."""

    def __init__(self, genotype, features, num_layers, num_classes):
        """Makes stem, cells and classifier."""
        super().__init__()
        before = last = 3 * features
        self.stem = nn.Sequential(conv(3, last, 3, padding=1), nn.BatchNorm2d(last))
        self.cells, after = nn.ModuleList(), False
        for layer in range(num_layers):
            reduction = layer in (num_layers // 3, 2 * num_layers // 3)
            features *= 2 if reduction else 1
            cell = genotype["cells"]["reduce" if reduction else "normal"]
            self.cells.append(Cell(cell, before, last, features, reduction, after))
            before, last, after = last, len(cell["concat"]) * features, reduction
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x):
        """Returns logits."""
        states = [self.stem(x)] * 2
        for cell in self.cells:
            states = [states[1], cell(*states)]
        return self.classifier(states[1].mean((2, 3)))


def main(path):
    """Writes the file."""
    torch.manual_seed(0)
    network = Network(GENOTYPE, 2, 3, 10).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data *= 3  # so that two images differ in their logits
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        logits = network(images)
    arrays = {f"state/{name}": array for name, array in network.state_dict().items()}
    arrays |= {"images": images, "logits": logits}
    save_file(arrays, path, metadata={"genotype": json.dumps(GENOTYPE)})
    print(logits)


if __name__ == "__main__":
    main(sys.argv[1])
