"""What the layers of a small network cannot distinguish: run with `.venv/bin/python examples/quickstart.py`."""

import plica
from plica.experiments.digits import digits_mlp

module, images = digits_mlp()
net = plica.load(module, input_shape=(64,))
print(plica.info(net))

X = images.images[:50]
for layer in net.layers:
    print(plica.preimage_kind(net, X, layer=layer))
print(plica.nearest_facet(net, X))

pair = plica.impostor(net, X[0], towards=X[1], layer="relu2")
print(pair)
