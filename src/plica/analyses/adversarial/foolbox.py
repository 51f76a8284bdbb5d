"""`min_distortion` called as an attack of foolbox (Rauber et al. 2017, 2020); foolbox itself is not imported."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from plica.analyses.adversarial.distortion import min_distortion
from plica.core.domain import Box
from plica.errors import ArgumentError


class _Called(nn.Module):
    """A foolbox model as a module; the empty parameter carries the dtype and the device."""

    def __init__(self, fmodel: Any, like: Tensor) -> None:
        super().__init__()
        self.fmodel = fmodel
        self.like = nn.Parameter(like.new_zeros(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fmodel(x)


@dataclass(frozen=True)
class FoolboxAttack:
    """An attack that is called as foolbox's are.

    Parameters
    ----------
    norm : {2, inf, 1}
    options : dict
        Further arguments of `min_distortion`: ``method``, ``seed``, ``starts`` and others.

    Examples
    --------
    Instead of ``foolbox.attacks.DDNAttack()``::

        attack = FoolboxAttack()
        raw, clipped, is_adv = attack(fmodel, images, labels, epsilons=[0.5, 1.0])
    """

    norm: float = 2.0
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: Any, inputs: Tensor, criterion: Any, *, epsilons: Any) -> tuple[Any, Any, Any]:
        """Attack a batch.

        Parameters
        ----------
        model : foolbox.PyTorchModel
            Or anything with `bounds` that gives logits of a batch; its module in evaluation mode.
        inputs : torch.Tensor, shape (n, ...)
        criterion : torch.Tensor of int, shape (n,), or a criterion of foolbox
            Labels, or Misclassification (`labels`), or TargetedMisclassification (`target_classes`).
        epsilons : None, float, or sequence of them
            Sizes to which perturbations are cut; None for the whole.

        Returns
        -------
        raw, clipped, is_adv
            Tensors for one epsilon; for several a list, a list, and a tensor of shape (epsilons, n). Inputs for which
            nothing was found come back as they are.

        Raises
        ------
        ArgumentError
            For another criterion, or a module in training mode.
        """
        labels, targets = _aims(criterion)
        inner = getattr(model, "_model", None)
        if isinstance(inner, nn.Module) and inner.training:
            raise ArgumentError("The foolbox model's module is in training mode; call module.eval() first.")
        result = min_distortion(
            _Called(model, inputs).eval(),
            inputs,
            labels,
            norm=self.norm,
            targets="all" if targets is None else targets[:, None],
            box=Box(float(model.bounds[0]), float(model.bounds[1])),
            **self.options,
        )
        found = torch.as_tensor(result.x_adv).to(inputs)
        raw = torch.where(torch.isnan(found), inputs, found)
        several = isinstance(epsilons, Iterable)
        clipped = [_clip(inputs, raw, epsilon, self.norm) for epsilon in (epsilons if several else [epsilons])]
        with torch.no_grad():
            answers = [model(points).argmax(1) for points in clipped]
        won = [answer != labels if targets is None else answer == targets for answer in answers]
        if several:
            return [raw] * len(clipped), clipped, torch.stack(won)
        return raw, clipped[0], won[0]


def _aims(criterion: Any) -> tuple[Tensor | None, Tensor | None]:
    """Labels, or targets; foolbox wraps tensors, and keeps the tensor in `raw`."""
    targets = getattr(criterion, "target_classes", None)
    labels = criterion if isinstance(criterion, Tensor) else getattr(criterion, "labels", None)
    labels, targets = (getattr(v, "raw", v) for v in (labels, targets))
    if not isinstance(labels, Tensor) and not isinstance(targets, Tensor):
        raise ArgumentError(
            f"criterion is a {type(criterion).__name__}; give labels as a torch.Tensor, Misclassification, or "
            "TargetedMisclassification."
        )
    return (None, targets) if isinstance(targets, Tensor) else (labels, None)


def _clip(inputs: Tensor, raw: Tensor, epsilon: float | None, norm: float) -> Tensor:
    """Cut perturbations to a size as foolbox does: entry by entry for inf, scaled for the others."""
    if epsilon is None:
        return raw
    step = raw - inputs
    if norm == math.inf:
        return inputs + step.clamp(-epsilon, epsilon)
    size = torch.linalg.vector_norm(step.flatten(1), ord=norm, dim=1)
    share = (epsilon / size.clamp_min(1e-30)).clamp_max(1.0)
    return inputs + share.reshape(-1, *[1] * (step.ndim - 1)) * step
