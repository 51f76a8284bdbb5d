"""Rivals of `plica.min_distortion`: foolbox DDN and Carlini-Wagner, adv-lib ALMA. Run by benchmarks/adversarial.py.

Needs an environment of its own (torch, foolbox, adv-lib without its dependencies, with empty modules visdom and
torchvision), and does not import plica:

    python -m venv rivals && rivals/bin/pip install torch foolbox eagerpy tqdm matplotlib
    rivals/bin/pip install --no-deps adv-lib
    python benchmarks/adversarial_rivals.py FOLDER MODEL [RIVAL ...]

FOLDER holds MODEL.pt (TorchScript, pixels in [0, 1]) and MODEL.npz (images, labels); for every rival
MODEL-RIVAL.npz is written: the images found and the CPU seconds.
"""

import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

for name in ("visdom", "torchvision"):
    stub = types.ModuleType(name)
    stub.models = types.ModuleType("models")
    sys.modules.setdefault(name, stub)


class Counted(torch.nn.Module):
    """Counts images that pass forward."""

    def __init__(self, net):
        super().__init__()
        self.net, self.passed = net, 0

    def forward(self, x):
        self.passed += len(x)
        return self.net(x)


def with_foolbox(attack):
    def run(model, x, y):
        import foolbox

        return attack(foolbox.attacks)(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None)[0]

    return run


def with_alma(steps):
    def run(model, x, y):
        from adv_lib.attacks import alma

        return alma(model, x, y, num_steps=steps, distance="l2", init_lr_distance=1.0)

    return run


RIVALS = {
    "DDN-1000": with_foolbox(lambda attacks: attacks.DDNAttack(steps=1000)),
    "ALMA-1000": with_alma(1000),
    "CW": with_foolbox(lambda attacks: attacks.L2CarliniWagnerAttack(steps=1000)),
}


def main(folder, name, *rivals):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = np.load(Path(folder) / f"{name}.npz")
    net = torch.jit.load(str(Path(folder) / f"{name}.pt")).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    x, y = torch.from_numpy(data["images"]).float(), torch.from_numpy(data["labels"])
    for rival in rivals or RIVALS:
        model = Counted(net).eval()
        RIVALS[rival](Counted(net).eval(), x[:1], y[:1])  # imports and first calls are not timed
        start = time.process_time()
        found = RIVALS[rival](model, x, y).detach()
        seconds = time.process_time() - start
        np.savez(Path(folder) / f"{name}-{rival}.npz", found=found.numpy(), seconds=seconds, passed=model.passed)
        fooled = net(found).argmax(1) != y
        size = (found - x).flatten(1).norm(dim=1)
        print(f"{name} {rival}: mean {size.mean():.6f}, fooled {int(fooled.sum())}/{len(x)}, {seconds:.2f} CPU s")


if __name__ == "__main__":
    main(*sys.argv[1:])
