"""How often a random change causes a mistake, against its size: plica.error_rate on the embedded digits.

    python examples/how_often.py [PICTURE.png]

Prints a line per radius, and how rare mistakes are at the distance of the nearest one.
"""

import sys

import numpy as np

import plica
from plica.experiments.digits import digits_mlp

module, images = digits_mlp()
net, X, y = plica.load(module, (64,)), images.images[:20], images.labels[:20]
box = plica.Box(0, 1)

nearest = plica.min_distortion(net, X, y, box=box, method="fast")
typical = float(np.median(nearest.distance))
result = plica.error_rate(net, X, y, radii=[typical * f for f in (0.25, 0.5, 1, 2, 4, 8)], samples=2000, box=box)
print(result)
print(f"median distance of the nearest mistake: {typical:.3f}")
shared = plica.shared_activity(net, X, nearest.x_adv)
print(shared)
if len(sys.argv) > 1:
    result.plot().savefig(sys.argv[1], dpi=110)
