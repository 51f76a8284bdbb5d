"""The section on linear regions: the map says what the network says."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import plica
from plica.core.domain import Box, Plane
from plica.core.result import Completeness
from plica.show import ModelPart, ReportData, render
from plica.show.sections.regions import picture_of, regions_view


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    layers = [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)]
    return plica.load(nn.Sequential(*layers).double().eval(), (4,))


@pytest.fixture(scope="module")
def found(net):
    plane = Plane(np.array([0.1, -0.2, 0.3, 0.0]), np.eye(4)[:, :2], Box([-2, -2], [2, 2]))
    return plica.regions(net, plane, maps=True)


def test_the_map_says_what_the_network_says(net, found):
    picture = picture_of(found)
    points = found.points(found.centres())
    values = net(points).numpy()
    assert found.count > 10 and picture.label.tolist() == values.argmax(1).tolist()
    s = np.column_stack([found.centres(), np.ones(found.count)])
    np.testing.assert_allclose(np.einsum("rkc,rc->rk", picture.maps, s), values, atol=1e-12)
    np.testing.assert_allclose(picture.areas(), found.sizes, atol=1e-12)
    on = np.concatenate([net.upto(k)(points).numpy() > 0 for k in (0, 1)], axis=1)
    bits = np.unpackbits(picture.bits, axis=1, count=12, bitorder="little")
    assert (bits == on).all() and (picture.active == on.sum(1)).all()
    assert picture.layers == tuple((name, 6) for name in net.layers[:2])


def test_regions_that_share_both_ends_of_a_side_are_neighbours(found):
    """The page finds neighbours so."""
    sides = {}
    for i in range(found.count):
        loop = found.corners[found.first[i] : found.first[i + 1]]
        for side in zip(loop, np.roll(loop, -1), strict=True):
            sides.setdefault(frozenset(map(int, side)), []).append(i)
    pairs = sorted(tuple(sorted(own)) for own in sides.values() if len(own) > 1)
    assert pairs == sorted(map(tuple, found.adjacency().tolist()))


def test_choices_of_many_branches_are_not_on_or_off():
    class Two(nn.Module):
        def forward(self, x):
            return nn.functional.max_pool1d(x[:, None], 3).flatten(1)

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 9), Two(), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    found = plica.regions(plica.load(module, (2,)), Box([-1, -1], [1, 1]), maps=True)
    picture = picture_of(found)
    assert sum(n for _, n in picture.layers) == 3 and picture.bits.shape == (found.count, 1)


def test_the_section(found):
    header = {"images": [4, 7], "places": np.array([[0.0, 0.0], [1.0, 1.0]]), "halvings": 1}
    result = dataclasses.replace(found, header=header)
    data = ReportData({}, (ModelPart("tiny", {}, (result,)),))
    view = regions_view(data)
    assert f"{found.count:,} pieces in tiny" in view.answer and view.standing == "rigorous"
    page = render(data)
    assert 'data-payload="regions-map-tiny-data"' in page and "A: image 4, B: image 7." in page
    assert "2 times narrower" in page
    part = dataclasses.replace(result, completeness=Completeness.BUDGET, matrices=None)
    assert "at least" in regions_view(ReportData({}, (ModelPart("tiny", {}, (part,)),))).answer
    assert regions_view(ReportData({}, ())) is None
