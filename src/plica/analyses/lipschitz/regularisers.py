"""Terms to add to a loss, and projections to apply between steps: norms, correlations, smallest singular values.

All are differentiable torch functions of the weights, on any device and in any dtype; transforms and decompositions are
done in float64. They are for training and prove nothing: `plica.lipschitz` brackets what came out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from plica.analyses.lipschitz.fourier import Sizes, Torus
from plica.analyses.lipschitz.verified import gram
from plica.errors import ArgumentError, DataError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def layer_bounds(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Upper Lipschitz bounds of all dense and convolutional layers, differentiable.

    Parameters
    ----------
    model : torch.nn.Module
        Convolutions of stride s are bounded on a torus as large as their padded input, rounded up to a multiple of s.
    input_shape : tuple of int
        Of one input, without batch axis.

    Returns
    -------
    dict of str to Tensor
        Scalars by layer name.

    Notes
    -----
    Source: Szegedy et al. (2013), section 4.3, eq. (1). For a convolution the largest singular value over
    all frequencies; the gradient is that of the one block that has it.
    """
    sizes = _input_sizes(model, tuple(input_shape))
    return {name: layer_norm(model.get_submodule(name), size) for name, size in sizes.items()}


def lipschitz_penalty(model: nn.Module, input_shape: tuple[int, ...], *, above: float = 0.0) -> Tensor:
    """Sum over layers of max(0, bound - above) squared: penalises each upper Lipschitz bound.

    Parameters
    ----------
    model, input_shape
        As in `layer_bounds`.
    above : float
        Bounds up to this cost nothing.

    Returns
    -------
    Tensor
        A scalar.
    """
    bounds = layer_bounds(model, input_shape)
    return torch.stack([(b - above).clamp(min=0.0) ** 2 for b in bounds.values()]).sum() if bounds else torch.zeros(())


def layer_norm(layer: nn.Module, size: Sizes | None = None) -> Tensor:
    """Norm of a dense layer, or of a circular convolution on a torus; differentiable.

    Parameters
    ----------
    layer : torch.nn.Linear, Conv1d or Conv2d
    size : tuple of int, optional
        Places per axis of the torus, multiples of the stride; needed for a convolution.
    """
    weight = _weight(layer)
    if isinstance(layer, nn.Linear):
        return _largest(weight.double()[None]).to(weight.dtype)
    blocks = torus_of(layer, size).all_blocks()
    return _largest(blocks).to(device=weight.device, dtype=weight.dtype)


def row_correlation(layer: nn.Module) -> Tensor:
    """Mean squared cosine between different rows (filters), in [0, 1]; 0 for orthogonal rows, differentiable.

    Notes
    -----
    Source: Behrmann et al. (2018), section 4, after Rodriguez et al. (2017). Rows of zeros correlate with nothing.
    """
    rows = _weight(layer).flatten(1)
    if len(rows) < 2:
        return rows.sum() * 0.0
    length = rows.norm(dim=1, keepdim=True)
    unit = rows / length.clamp(min=torch.finfo(rows.dtype).tiny)
    cosines = unit @ unit.T
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (len(rows) * (len(rows) - 1))


def smallest_singular_values(layer: nn.Module, count: int = 1, size: Sizes | None = None) -> Tensor:
    """Return the smallest singular values of a dense layer or a circular convolution, ascending; differentiable.

    Parameters
    ----------
    layer : torch.nn.Linear, Conv1d or Conv2d
    count : int
        How many; frequencies and their conjugates count once.
    size : tuple of int, optional
        Of the torus, for a convolution.

    Notes
    -----
    Gradients are those of simple values; equal ones share theirs in an arbitrary way.
    """
    weight = _weight(layer)
    blocks = weight.double()[None] if isinstance(layer, nn.Linear) else torus_of(layer, size).all_blocks()
    values = torch.linalg.svdvals(blocks).flatten().sort()[0]
    return values[:count].to(device=weight.device, dtype=weight.dtype)


def project_spectrum(layer: nn.Module, ceiling: float, *, floor: float = 0.0, size: Sizes | None = None,
                     rounds: int = 3) -> None:  # fmt: skip
    """Clip the singular values of a layer to [floor, ceiling], in place.

    Parameters
    ----------
    layer : torch.nn.Linear, Conv1d or Conv2d
    ceiling, floor : float
    size : tuple of int, optional
        Of the torus, for a convolution; at least the kernel's reach.
    rounds : int
        Of clipping and cutting, for a convolution.

    Notes
    -----
    Blocks are clipped in the Fourier domain and cut back to the kernel's support (Sedghi, Gupta, Long 2019); the cut
    moves the values again, so this is repeated, and at the end the kernel is scaled down where its norm still exceeds
    the ceiling. The floor holds only approximately for a convolution.
    """
    if not 0 <= floor <= ceiling:
        raise ArgumentError(f"floor = {floor}, ceiling = {ceiling}: 0 <= floor <= ceiling must hold.")
    weight = _weight(layer)
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            weight.copy_(_clipped(weight.double()[None], floor, ceiling)[0].to(weight.dtype))
            return
        torus = torus_of(layer, size)
        for _ in range(max(rounds, 1)):
            clipped = _clipped(torus.all_blocks(), floor, ceiling)
            torus = torus.with_blocks(clipped)
        top = float(_largest(torus.all_blocks()))
        scale = min(1.0, ceiling / top) if top > 0 else 1.0
        weight.copy_((torus.weight * scale).reshape(weight.shape).to(weight))


def torus_of(layer: nn.Module, size: Sizes | None) -> DifferentiableTorus:
    """A convolution's weights on a torus, with their gradient."""
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        raise ArgumentError(f"layer = {type(layer).__name__}: give a Linear, Conv1d or Conv2d.")
    if size is None or len(size) != len(layer.stride):
        raise ArgumentError(f"size = {size}: a convolution needs the size of its torus, one entry per axis.")
    for n, k, s, d in zip(size, layer.kernel_size, layer.stride, layer.dilation, strict=True):
        if n % s or n < d * (k - 1) + 1:
            raise ArgumentError(
                f"size = {tuple(size)}: each entry must be a multiple of the stride ({s}) and hold the kernel "
                f"({d * (k - 1) + 1} places)."
            )
    weight = _weight(layer).double().cpu()
    grouped = weight.reshape(layer.groups, weight.shape[0] // layer.groups, *weight.shape[1:])
    return DifferentiableTorus(grouped, tuple(size), tuple(layer.stride), tuple(layer.dilation))


class DifferentiableTorus(Torus):
    """A `Torus` whose blocks keep the gradient of the weights."""

    def all_blocks(self) -> Tensor:
        """Blocks of all groups and evaluated frequencies, shape (groups * frequencies, rows, columns)."""
        ((_, blocks),) = self.blocks(2**62)
        return blocks.flatten(0, 1)

    def with_blocks(self, blocks: Tensor) -> DifferentiableTorus:
        """The kernel whose blocks are nearest to given ones: their inverse transform on the kernel's support."""
        groups, rows, columns, *kernel = self.weight.shape
        multiplicity = torch.from_numpy(self.multiplicity().copy()).double()
        value = blocks.reshape(groups, len(multiplicity), rows, -1, columns) * multiplicity[:, None, None, None]
        weight = torch.zeros(groups, rows, columns, math.prod(kernel), dtype=torch.float64)
        for number, places, roots in self.phases(0, self.half[0]):
            part = torch.einsum("gfoi,fu->goiu", value[:, :, :, number], roots.conj())
            weight[..., places] = part.real / math.prod(self.grid)
        shape = (groups, rows, columns, *kernel)
        return DifferentiableTorus(weight.reshape(shape), self.size, self.stride, self.dilation)


def _weight(layer: nn.Module) -> Tensor:
    if not isinstance(layer, LAYERS):
        raise ArgumentError(f"layer = {type(layer).__name__}: give a Linear, Conv1d or Conv2d.")
    if not bool(torch.isfinite(layer.weight).all()):
        raise DataError(f"{layer}: weights that are NaN or infinite; no singular values exist. Has training diverged?")
    return layer.weight


def _largest(blocks: Tensor) -> Tensor:
    """Largest singular value over some matrices; only the matrix that has it is differentiated."""
    if not blocks.numel():
        return blocks.real.sum()
    with torch.no_grad():
        best = int(torch.linalg.eigvalsh(gram(blocks))[:, -1].argmax())
    return torch.linalg.matrix_norm(blocks[best], 2)


def _clipped(blocks: Tensor, floor: float, ceiling: float) -> Tensor:
    left, values, right = torch.linalg.svd(blocks, full_matrices=False)
    return (left * values.clamp(floor, ceiling)[:, None].to(left.dtype)) @ right


def _input_sizes(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, Sizes | None]:
    """Torus sizes of the convolutions among a model's layers, None for dense ones."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LAYERS)}
    if not layers:
        return {}
    seen: dict[str, tuple[int, ...]] = {}
    hooks = []
    for name, m in layers.items():

        def note(module: nn.Module, args: tuple, name: str = name) -> None:
            seen.setdefault(name, tuple(args[0].shape[1:]))

        hooks.append(m.register_forward_pre_hook(note))
    modes = {m: m.training for m in model.modules()}
    try:
        first = next(model.parameters())
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return {name: _padded_size(layers[name], shape) for name, shape in seen.items()}


def _padded_size(layer: nn.Module, shape: tuple[int, ...]) -> Sizes | None:
    if isinstance(layer, nn.Linear):
        return None
    sizes = []
    for n, k, s, d in zip(shape[1:], layer.kernel_size, layer.stride, layer.dilation, strict=True):  # type: ignore[arg-type]
        reach = n + d * (k - 1)
        sizes.append(reach + -reach % s)
    return tuple(sizes)


__all__ = [
    "layer_bounds",
    "layer_norm",
    "lipschitz_penalty",
    "project_spectrum",
    "row_correlation",
    "smallest_singular_values",
]
