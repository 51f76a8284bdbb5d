"""Compiles what many tests share, before them (two test processes would do it twice): warm.py plane, warm.py space."""

import sys

import numpy as np
import torch
from torch import nn

import plica


class Maxout(nn.Module):
    """The largest of three lines per unit."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(1, (-1, 3)).amax(2)


def relu(n: int) -> plica.Network:
    return plica.load(
        nn.Sequential(nn.Linear(n, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)).eval(), (n,)
    )


def plane() -> None:
    """Regions of two inputs."""
    maxout = plica.load(nn.Sequential(nn.Linear(2, 12), Maxout(), nn.Linear(4, 2)).eval(), (2,))
    counted(relu(2), plica.Box([-1.0, -1.0], [1.0, 1.0]))
    counted(maxout, plica.Box([-1.0, -1.0], [1.0, 1.0]))


def space() -> None:
    """Regions of other numbers of inputs, smallest perturbations, moments."""
    cube, X = plica.Box(np.full(3, -1.0), np.full(3, 1.0)), np.random.default_rng(0).uniform(-1, 1, (4, 3))
    counted(relu(2), plica.Segment(np.full(2, -1.0), np.full(2, 1.0)))
    counted(relu(3), cube)
    counted(relu(3), plica.Ball(np.zeros(3), 1.0))
    for norm in (2.0, np.inf, 1.0):
        plica.min_distortion(relu(3), X, box=cube, norm=norm, exact=True)
    plica.moments(relu(3), X[0], np.eye(3))


def counted(net: plica.Network, domain: plica.Box | plica.Segment | plica.Ball) -> None:
    plica.count_regions(net, domain)
    plica.regions(net, domain)


if __name__ == "__main__":
    torch.manual_seed(0)
    {"plane": plane, "space": space}[sys.argv[1]]()
