"""Saved results: exact round trips, and clear refusals of everything else."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plica.analyses.lipschitz.result import LipschitzResult
from plica.analyses.lipschitz.spectrum import ConvSpectrumResult
from plica.analyses.moments.result import MomentBoundsResult, MomentsResult
from plica.analyses.moments.uses import results as uses
from plica.analyses.preimage.kinds import OmnidirectionalResult
from plica.analyses.preimage.result import FacetResult, ImpostorResult, Kind, KindResult
from plica.analyses.regions.analysis import regions
from plica.analyses.regions.result import RegionCountResult
from plica.core.choice import relu
from plica.core.domain import Box, Plane
from plica.core.network import Graph, Origin
from plica.core.result import Completeness, Standing
from plica.errors import ArgumentError, DataError, PlicaError
from plica.loaders import info, load
from plica.store import FORMAT, RESULTS, header, load_result, save, stamped

COMMON = {"standing": Standing.CERTIFIED, "completeness": Completeness.BUDGET}
AWKWARD = {
    "options": {"layer": "relu1", "limit": 200, "mean": (0.5, math.inf), "none": None, "yes": True},
    "$key": [1, 2.5, [math.nan, -math.inf]],
    3: {"nested": {"tuple": ((), (1, "é\n'\"")), "word": Standing.RIGOROUS}},
    "large": 2**200,
    "tiny": 5e-324,
    "minus zero": -0.0,
    "scalar": np.float32(0.1),
    "array": np.arange(6, dtype=">i4").reshape(2, 3),
    "complex": np.array([1 + 2j]),
    "words": np.array(["a", "öl", ""], dtype=object).reshape(3, 1),
}


def make_kind(**changes):
    values = {
        "header": AWKWARD,
        "layer": "relu1",
        "source": ("input",),
        "kinds": np.array(["singleton", "unbounded"]),
        "dimensions": np.array([0, 7]),
        "positive": np.array([784, 700]),
        "standings": np.array(["rigorous", "certified"]),
        "reasons": ("because", "Nullraum ≠ {0}"),
        "shape": (800, 784),
    }
    return KindResult(**COMMON, **{**values, **changes})


def make_facet():
    distances = np.array([[0.5, np.inf], [np.nan, -0.0]])
    return FacetResult(**COMMON, header={}, layers=("a", "b"), distances=distances, units=np.array([[1, -1], [0, 2]]))


def make_impostor():
    x = np.linspace(-1, 1, 12).reshape(3, 2, 2)
    return ImpostorResult(
        **COMMON,
        header=header(seed=3),
        layer="relu",
        x=x,
        towards=x + 1,
        impostor=np.asfortranarray(x * 2),
        feature_difference=1e-16,
        feature_difference_model=math.nan,
        model_dtype="float32",
        feature_scale=math.inf,
        distance_start=2.0,
        distance=0.1 + 0.2,
        class_x=3,
        class_towards=-1,
        class_impostor=3,
        reason="",
    )


def make_omnidirectional():
    certificate = {"method": "support", "rows": np.array([0, 2]), "parts": [{"x": np.zeros((0, 3))}]}
    return OmnidirectionalResult(**COMMON, header={}, value=True, reason="so", certificate=certificate)


def make_report():
    from plica.experiments.report import ReportResult

    return ReportResult(**COMMON, header={}, page="r/report.html", folder="r", lines=("one", "two"))


def make_figure():
    from plica.experiments.figure import Claim, FigureResult, Panel

    claims = (Claim("error falls", "0.1", "0.09", True), Claim("size", "784", "64", None, "Digits instead."))
    panels = (Panel("lines", "error", {"a": np.array([[1.0, 2.0], [0.5, 0.25]])}, "n", "error", "y"),)
    return FigureResult(**COMMON, header={}, paper="toy2020", name="fig1", title="Toy", claims=claims, panels=panels)


def make_reproduce():
    from plica.experiments.reproduce import ReproduceResult

    return ReproduceResult(**COMMON, header={}, paper="toy2020", folder="r", figures=(make_figure(),))


def make_verify():
    from plica.certificates import VerifyResult

    return VerifyResult(**COMMON, header={}, accepted=True, lines=("model 12", "layer relu"))


def make_info():
    graph = Graph((2, 2))
    graph.add("relu1", relu((2, 2)), "input")
    return info(graph.network(origin=Origin("tiny", dtype="float32", notices=("one", "two"))))


def make_moments():
    return MomentsResult(
        **COMMON, header={}, method="monte_carlo", mean=np.array([0.5, -1.0]), covariance=np.eye(2),
        standard_error=np.array([0.1, 0.2]), covariance_standard_error=None, samples=10, reason="sampled",
    )  # fmt: skip


def make_moment_bounds():
    two, four = np.array([0.5, -0.0]), np.array([[1.0, -math.inf], [-math.inf, 2.0]])
    return MomentBoundsResult(**COMMON, header={}, mean_lower=two, mean_upper=two, covariance_lower=four,
                              covariance_upper=four)  # fmt: skip


def make_probability():
    p = np.array([0.25, 0.75])
    return uses.ProbabilityResult(**COMMON, header={}, method="gaussian", probabilities=p, intervals=np.array([p, p]),
                                  confidence=0.95, samples=0, reason="formula")  # fmt: skip


def make_fooling():
    one = np.array([1, 2])
    return uses.FoolingResult(**COMMON, header={}, method="two_stage", clean=one, shifted=one, expected=one,
                              orders=np.zeros((2, 2, 1), int), share=None, samples=0, reason="formula")  # fmt: skip


def make_fooling_map():
    return uses.FoolingMapResult(**COMMON, header={}, method="exact", fooled=np.ones((1, 2, 3)), classes=np.array([4]),
                                 window=7, stride=1, variance=0.5, samples=0, reason="formula")  # fmt: skip


def make_batch_moments():
    one = np.array([[1.0, -0.0]])
    return uses.BatchMomentsResult(**COMMON, header={}, method="exact", inputs=np.array([0]), mean=one, variance=one,
                                   centred_variance=one, points=np.array([0]), reason="formula")  # fmt: skip


def make_noise():
    two = np.array([0.5, -1.0])
    return uses.NoiseResult(**COMMON, header={}, method="exact", shift=two, variance=0.1, support=two > 0, before=0,
                            target=-1, mean=two, margin=-1.5, sampled_mean=two, sampled_error=two, share=0.5,
                            interval=two, samples=10, reason="found")  # fmt: skip


def make_noise_curve():
    row, table = np.array([0.1, 0.2]), np.array([[0.5, 1.0], [0.25, 0.75]])
    return uses.NoiseCurveResult(**COMMON, header={}, x=row, levels=row, mean=table, spread=table, formula_mean=table,
                                 formula_spread=table, method="exact", probabilities=table,
                                 intervals=np.stack([table, table], -1), samples=10)  # fmt: skip


def make_distortion():
    from plica.analyses.adversarial import DistortionResult

    two = np.array([0.5, math.inf])
    return DistortionResult(
        **COMMON, header={}, x_adv=np.full((2, 3), 0.1, dtype=np.float32), distance=two, lower_bound=np.zeros(2),
        proven=np.array([True, False]), l2=two, linf=two, rms=two, label=np.array([0, 1]), target=np.array([1, -1]),
        status=("found", "not found"), c=np.array([0.1, math.nan]), norm=2.0, method="auto", layer="", forward=9,
        backward=8, seed=0,
    )  # fmt: skip


def make_radius():
    from plica.analyses.adversarial import RadiusResult

    two = np.array([0.5, math.inf])
    return RadiusResult(**COMMON, header={}, radius=two, label=np.array([0, 1]), right=np.array([True, False]),
                        done=np.array([True, True]), norm=2.0)  # fmt: skip


def make_error_rate():
    from plica.analyses.adversarial import ErrorRateResult

    two, table = np.array([0.1, 0.2]), np.array([[0.0, 0.25], [0.5, math.nan]])
    return ErrorRateResult(**COMMON, header={}, radii=two, rate=table, low=table, high=table, standard_error=table,
                           none=table == 0, mean=two, mean_error=two, certified=two, label=np.array([0, 1]),
                           norm=2.0, samples=4, seed=0)  # fmt: skip


def make_shared_activity():
    from plica.analyses.adversarial import SharedActivityResult

    one, yes = np.array([[0.25]]), np.array([[True]])
    return SharedActivityResult(**COMMON, header={}, layers=("a",), changed=one, same=yes, same_layer=yes,
                                distance=one, decided=np.array([[1]]), kept=yes, label=np.array([1]),
                                target=np.array([0]))  # fmt: skip


def make_largest_activation():
    from plica.analyses.adversarial import LargestActivationResult

    two = np.array([0.5, math.inf])
    return LargestActivationResult(**COMMON, header={}, layer="a", units=np.array([4, 1]), inputs=np.zeros((2, 3)),
                                   attained=two, upper_bound=two, proven=np.array([True, False]),
                                   nodes=np.array([1, 0]))  # fmt: skip


def make_training():
    from plica.analyses.adversarial import AdversarialTrainingResult

    return AdversarialTrainingResult(
        **COMMON, header={}, layers=("input", "1"), loss=np.array([0.5]), error=np.array([0.1]),
        test_error=np.array([math.nan]), sizes=np.array([[3, 0]]), distortion=np.array([[0.5, math.nan]]),
        pool_error=np.array([[1.0, math.nan]]), seed=0,
    )  # fmt: skip


def make_transfer():
    from plica.analyses.adversarial import TransferResult

    return TransferResult(
        **COMMON, header={}, models=("a", "b"), rows=("distorted for a", "Gaussian noise 0.1"),
        kinds=("distorted", "noise"), sources=np.array([0, -1]), levels=np.array([math.nan, 0.1]), errors=np.eye(2),
        new_errors=np.eye(2), counts=np.array([2, 2]), rms=np.array([0.05, 0.1]), clean=np.zeros(2), clip=True,
        distortions=(make_distortion(),), seed=0,
    )  # fmt: skip


def make_bounds():
    from plica.analyses.regions.bounds import region_bounds

    return region_bounds([20, 5000], inputs=3)


def make_lipschitz():
    return LipschitzResult(
        **COMMON, header={}, names=("a", "b"), kinds=("dense", "relu"), methods=("matrix", "steepest slope"),
        lowers=np.array([0.5, 1.0]), uppers=np.array([math.inf, 1.0]), product=math.inf, upper=2.0,
        upper_method="ellipsoids", lower=0.25, domain="", local_lower=math.nan, local_upper=math.nan, local_pieces=0,
        local_reason="",
    )  # fmt: skip


def make_conv_spectrum():
    return ConvSpectrumResult(
        **COMMON, header={}, values=np.array([2.0, 1.0, 0.0]), upper=2.5, zero_below=1e-15, input_shape=(1, 3),
        output_shape=(1, 3), block=(1, 1),
    )  # fmt: skip


def make_unit_maps():
    from plica.analyses.units import UnitMapsResult

    maps = np.arange(12.0).reshape(3, 2, 2)
    return UnitMapsResult(**COMMON, header={}, layer="a", units=np.array([4, 1]), maps=maps, offsets=maps[..., 0],
                          values=maps[..., 1], pieces=np.array([0, 1, 0]), error=1e-16)  # fmt: skip


def make_maximisers():
    from plica.analyses.units import MaximisersResult

    two = np.array([[3, 1], [0, 2]])
    return MaximisersResult(**COMMON, header={}, layer="a", kind="natural", directions=np.eye(2), images=two,
                            values=two * 0.5, labels=two, purity=np.array([0.5, 0.5]),
                            baseline=np.array([0.6, 0.5, 1.0]))  # fmt: skip


def make_unit_clusters():
    from plica.analyses.units import cluster_maps

    return cluster_maps(make_unit_maps(), 2)


def make_equal_activation():
    from plica.analyses.units import EqualActivationResult

    x, one = np.array([[0.5, 1.0]]), np.array([1.0])
    return EqualActivationResult(
        **COMMON, header={}, layer="a", unit=3, level=2.5, sources=np.array([7]), before=one, points=x, maps=x, low=x,
        high=x, shares=np.array(["1/3"], dtype=object), errors=one, distances=one, reason="",
    )  # fmt: skip


def make_neighbourhoods():
    from plica.analyses.regions.neighbourhoods import NeighbourhoodsResult

    points, one = np.array([[0.5], [1.5]]), np.array([[0.5]])
    return NeighbourhoodsResult(
        **COMMON, header={}, layers=("input", "fold1"), counts=(np.array([1, 1]), np.array([2])),
        parents=(np.array([0, 0]), np.array([-1])), centres=(points, one), corners=((one, one + 1), (one,)),
        partial=(0, 1), border=False,
    )  # fmt: skip


def make_perturbation():
    from plica.analyses.regions.perturbation import PerturbationResult

    return PerturbationResult(**COMMON, header={}, base=9, sizes=np.array([0.1]), counts=np.array([[9, 10, -1]]))


def make_spectrum():
    from plica.analyses.spectrum import SpectrumResult

    row = np.array([[2.0, 1e-3]])
    return SpectrumResult(
        **COMMON, header={}, layers=("a", "a"), sides=("pre", "post"), units=np.array([2, 2]), inputs=3,
        values=(row, row), ranks=np.array([[2, 1]]), most=np.array([[2, 2]]), proven=np.array([[True, False]]),
        thresholds=np.array([[1e-15, 1e-2]]), errors=np.array([[1e-16, math.inf]]), alive=np.array([[2, 2]]),
        methods=np.array([["gram", "svd"]]), directions=(row[None], row[None]), window=((0, 3),),
    )  # fmt: skip


def make_removed_rows():
    from plica.analyses.spectrum import removed_rows

    return removed_rows([[1.0, 0.0], [0.01, 1.0]], [1], slopes=0.1)


def make_admissible():
    from plica.analyses.spectrum import admissible_sets

    return admissible_sets([[1.0, 0.0], [0.0, 1.0]])


def make_preimage():
    from plica.analyses.preimage.union_result import PreimageResult

    return PreimageResult(
        **COMMON, header={}, layer="b", source="input", target="the activity of x", kind=Kind.FINITE, dimension=0,
        dimensions=np.array([0, 0]), bounded=np.array([True, True]), points=np.array([[-3.0], [3.0]]),
        branches={"a": np.array([[0, 1], [1, 0]])}, lower=np.array([-np.inf]), upper=np.array([np.inf]),
        counts={"nodes": 5}, reason="found",
    )  # fmt: skip


def make_many():
    from plica.jobs import ManyResult

    return ManyResult(**COMMON, header={}, analysis="moments", results=(make_moments(), make_moments()))


def make_expansion():
    from plica.jobs import ExpansionResult

    return ExpansionResult(**COMMON, header={}, found={"leaves": np.eye(2)}, children=({"cells": np.eye(3)}, {}))


def make_diff():
    from plica.compare import diff

    return diff(make_facet(), make_kind())


def make_mixing():
    from plica.analyses.preimage.mixing_result import MixingResult

    grid = np.array([[[np.nan, 1.5], [2.0, np.nan]]])
    return MixingResult(
        **COMMON, header={}, layers=("a",), cuts=np.array([True]), labels=np.array([0, 1]), classes=np.array([0, 1]),
        pairs=np.array([[0, 0, 1]]), distances=grid, targets=np.array([[[-1, 1], [0, -1]]]), nearest=grid,
        verdicts=np.array([["open", "read differently"]]), answers=np.array([[-1, 1]]), points=grid, extent="nearest",
        bounds=grid, images=grid[0],
    )  # fmt: skip


def make_region_count():
    return RegionCountResult(
        **COMMON, header=AWKWARD, count=2**70, dimension=2, layers=("relu1", "ö"), per_layer=(7, 2**70), decided=3,
        method="polygons", frontier={"waiting": np.array(2), "mark": np.array("ö"), "0.value.relu1": np.ones((2, 3))},
    )  # fmt: skip


def make_regions():
    layer = torch.nn.Linear(2, 3)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.tensor([0.0, 0, -1])
    net = load(torch.nn.Sequential(layer, torch.nn.ReLU()), (2,))
    return regions(net, Plane([0.5, 0], [[1, 0], [0, 2]], Box([-2, -2], [2, 2])), maps=True)


def make_dual_cone():
    from plica import dual_cone

    return dual_cone([[1.0, 0.0], [1.0, 1.0]], [2.0, -3.0])


EXAMPLES = {
    "DualConeResult": make_dual_cone,
    "RegionCountResult": make_region_count,
    "RegionsResult": make_regions,
    "MixingResult": make_mixing,
    "DiffResult": make_diff,
    "ManyResult": make_many,
    "ExpansionResult": make_expansion,
    "DistortionResult": make_distortion,
    "RadiusResult": make_radius,
    "ErrorRateResult": make_error_rate,
    "SharedActivityResult": make_shared_activity,
    "LargestActivationResult": make_largest_activation,
    "AdversarialTrainingResult": make_training,
    "TransferResult": make_transfer,
    "PreimageResult": make_preimage,
    "SpectrumResult": make_spectrum,
    "RemovedRowsResult": make_removed_rows,
    "AdmissibleResult": make_admissible,
    "NeighbourhoodsResult": make_neighbourhoods,
    "PerturbationResult": make_perturbation,
    "UnitMapsResult": make_unit_maps,
    "MaximisersResult": make_maximisers,
    "UnitClustersResult": make_unit_clusters,
    "EqualActivationResult": make_equal_activation,
    "LipschitzResult": make_lipschitz,
    "ConvSpectrumResult": make_conv_spectrum,
    "BoundsResult": make_bounds,
    "MomentsResult": make_moments,
    "MomentBoundsResult": make_moment_bounds,
    "ProbabilityResult": make_probability,
    "FoolingResult": make_fooling,
    "FoolingMapResult": make_fooling_map,
    "BatchMomentsResult": make_batch_moments,
    "NoiseCurveResult": make_noise_curve,
    "NoiseResult": make_noise,
    "InfoResult": make_info,
    "KindResult": make_kind,
    "FacetResult": make_facet,
    "ImpostorResult": make_impostor,
    "OmnidirectionalResult": make_omnidirectional,
    "ReportResult": make_report,
    "FigureResult": make_figure,
    "VerifyResult": make_verify,
    "ReproduceResult": make_reproduce,
}


def same(a, b) -> bool:
    """Equal in type, value, dtype and shape; NaN equals NaN and -0.0 differs from 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (a != a and b != b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return a == b


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_every_result_type_comes_back_equal(name, tmp_path):
    result = EXAMPLES[name]()
    loaded = load_result(save(result, tmp_path / "r.npz"))
    assert same(result, loaded)
    assert same(result.to_dict(), loaded.to_dict())


@given(
    array=hnp.arrays(
        dtype=st.one_of(
            hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.unicode_string_dtypes()
        ),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_comes_back_equal(array, tmp_path_factory):
    result = make_kind(kinds=array, header={"again": array, "more": [array]})
    loaded = load_result(save(result, tmp_path_factory.mktemp("any") / "r.npz"))
    assert same(result, loaded)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(value=st.dictionaries(st.text(), plain))
def test_any_header_comes_back_equal(value, tmp_path_factory):
    result = make_kind(header=value)
    assert same(result, load_result(save(result, tmp_path_factory.mktemp("any") / "r.npz")))


def test_numpy_alone_reads_the_arrays(tmp_path):
    path = save(make_facet(), tmp_path / "r.npz")
    with np.load(path, allow_pickle=False) as file:
        assert file["units"].tolist() == [[1, -1], [0, 2]]


def test_suffix_and_folders_are_added(tmp_path):
    path = save(make_facet(), tmp_path / "new" / "answer")
    assert path == tmp_path / "new" / "answer.npz"
    assert path.is_file()


# --- whole or not at all ----------------------------------------------------------------------------------------


def test_failed_save_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = save(make_facet(), tmp_path / "r.npz")
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match=r"header\.bad holds a object"):
        save(make_kind(header={"bad": object()}), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.npz"]


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    path = save(make_facet(), tmp_path / "r.npz")
    before = path.read_bytes()

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(ArgumentError, match="No space left"):
        save(make_kind(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.npz"]


def test_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        save(make_facet(), tmp_path / "file" / "r.npz")


@pytest.mark.parametrize("value", [3, None, {"a": 1}, Standing.CERTIFIED])
def test_only_results_are_saved(value, tmp_path):
    with pytest.raises(ArgumentError, match="not a result"):
        save.__wrapped__(value, tmp_path / "r.npz") if hasattr(save, "__wrapped__") else save(value, tmp_path / "r.npz")


@pytest.mark.parametrize("array", [np.array([1, None], dtype=object), np.array(["2020"], dtype="M8[D]")])
def test_arrays_without_a_place_are_refused(array, tmp_path):
    with pytest.raises(ArgumentError, match="kinds"):
        save(make_kind(kinds=array), tmp_path / "r.npz")
    assert not list(tmp_path.iterdir())


# --- foreign, damaged and later files ---------------------------------------------------------------------------


def rewritten(path, change=None, drop=(), replace=None):
    """Write the archive anew with a changed header, without some members, or with others replaced."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name not in drop}
    if change is not None:
        body = json.loads(members["header.json"])
        change(body)
        members["header.json"] = json.dumps(body).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, **(replace or {})}.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(share, tmp_path):
    path = save(make_kind(), tmp_path / "r.npz")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"r\.npz.*not a whole result"):
        load_result(path)


@pytest.mark.big(sample=25)
@pytest.mark.parametrize("case", range(250))
def test_a_flipped_byte_never_gives_a_wrong_result(case, tmp_path):
    """The file is refused, or the byte was one that does not matter."""
    result = make_kind()
    path = save(result, tmp_path / "r.npz")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(case)
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    try:
        loaded = load_result(path)
    except PlicaError:
        return
    assert same(result, loaded)


def test_missing_folder_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_result(tmp_path / "none.npz")
    with pytest.raises(DataError, match="cannot be read"):
        load_result(tmp_path)
    (tmp_path / "text.npz").write_text("not a zip file")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    for name in ("text.npz", "arrays.npz", "array.npy"):
        with pytest.raises(DataError, match=name):
            load_result(tmp_path / name)


def test_later_format_asks_for_an_update(tmp_path):
    path = rewritten(save(make_facet(), tmp_path / "r.npz"), lambda body: body.update(format=FORMAT + 1, plica="9.0"))
    with pytest.raises(DataError, match=r"written by plica 9\.0.*Update plica"):
        load_result(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(type="os:system"),
        lambda body: body.update(type=None),
        lambda body: body.pop("type"),
        lambda body: body.pop("format"),
        lambda body: body.update(format="1"),
        lambda body: body["fields"].pop("units"),
        lambda body: body["fields"].update(more=1),
        lambda body: body["fields"].update(units={"$array": "nothing"}),
        lambda body: body["fields"].update(units={"$call": "os.system"}),
        lambda body: body["fields"].update(standing={"$word": "Standing", "value": "sure"}),
        lambda body: body["fields"].update(standing={"$word": "os:system", "value": "true"}),
    ],
)
def test_tampered_headers(change, tmp_path):
    path = rewritten(save(make_facet(), tmp_path / "r.npz"), change)
    with pytest.raises(DataError, match=r"r\.npz"):
        load_result(path)


def test_object_arrays_in_a_file_are_never_opened(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([print], dtype=object), allow_pickle=True)
    evil = (tmp_path / "evil.npy").read_bytes()
    path = rewritten(save(make_facet(), tmp_path / "r.npz"), replace={"units.npy": evil})
    with pytest.raises(DataError, match="not a whole result"):
        load_result(path)


def test_missing_member(tmp_path):
    path = rewritten(save(make_facet(), tmp_path / "r.npz"), drop=("units.npy",))
    with pytest.raises(DataError, match=r"units\.npy"):
        load_result(path)


# --- headers ----------------------------------------------------------------------------------------------------


def test_header_says_how_to_repeat_the_run():
    about = header(data=np.zeros(3), options={"layer": 1}, seed=0, seconds=1.5)
    assert {"plica", "torch", "numpy", "python", "time", "data_hash"} <= about.keys()
    assert (about["format"], about["seed"], about["seconds"], about["options"]) == (FORMAT, 0, 1.5, {"layer": 1})
    assert "network_hash" not in about


def test_hash_sees_values_shape_and_dtype():
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.array([0.0, 0, 0, 1])]
    assert len({header(data=a)["data_hash"] for a in arrays}) == 4
    strided = np.zeros((4, 2))[:, 0]
    assert header(data=strided)["data_hash"] == header(data=np.zeros(4))["data_hash"]


def test_network_hash_sees_weights_and_wiring_but_not_names():
    import torch

    from plica.core.affine import Dense
    from plica.core.network import INPUT, Graph

    def net(names=("a", "b"), value=1.0):
        graph = Graph((2,))
        first = graph.add(names[0], Dense(torch.eye(2, dtype=torch.float64), None, (2,)), INPUT)
        graph.add(names[1], Dense(value * torch.ones(1, 2, dtype=torch.float64), None, (2,)), first)
        return graph.network()

    hashes = [header(network=n)["network_hash"] for n in (net(), net(("c", "d")), net(value=2.0))]
    assert hashes[0] == hashes[1] != hashes[2]


def test_stamped_keeps_what_the_result_says():
    result = stamped(make_kind(header={"seconds": 2.0, "seed": 7}), seed=1, seconds=9.0)
    assert (result.header["seed"], result.header["seconds"]) == (7, 2.0)
    assert result.header["plica"]
