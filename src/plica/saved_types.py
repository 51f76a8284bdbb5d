"""The types that a saved file may name, and where they are; a type that is not here is not loaded."""

from __future__ import annotations

# Results; old names stay readable for ever.
RESULTS = {
    "DistortionResult": "plica.analyses.adversarial.result:DistortionResult",
    "RadiusResult": "plica.analyses.adversarial.certified:RadiusResult",
    "ErrorRateResult": "plica.analyses.adversarial.often:ErrorRateResult",
    "SharedActivityResult": "plica.analyses.adversarial.activity:SharedActivityResult",
    "LargestActivationResult": "plica.analyses.adversarial.activation:LargestActivationResult",
    "AdversarialTrainingResult": "plica.analyses.adversarial.training:AdversarialTrainingResult",
    "TransferResult": "plica.analyses.adversarial.transfer:TransferResult",
    "KindResult": "plica.analyses.preimage.result:KindResult",
    "DualConeResult": "plica.analyses.preimage.dual:DualConeResult",
    "FacetResult": "plica.analyses.preimage.result:FacetResult",
    "ImpostorResult": "plica.analyses.preimage.result:ImpostorResult",
    "OmnidirectionalResult": "plica.analyses.preimage.kinds:OmnidirectionalResult",
    "MixingResult": "plica.analyses.preimage.mixing_result:MixingResult",
    "PreimageResult": "plica.analyses.preimage.union_result:PreimageResult",
    "InfoResult": "plica.loaders.info:InfoResult",
    "LipschitzResult": "plica.analyses.lipschitz.result:LipschitzResult",
    "ConvSpectrumResult": "plica.analyses.lipschitz.spectrum:ConvSpectrumResult",
    "MomentsResult": "plica.analyses.moments.result:MomentsResult",
    "MomentBoundsResult": "plica.analyses.moments.result:MomentBoundsResult",
    "ProbabilityResult": "plica.analyses.moments.uses.results:ProbabilityResult",
    "FoolingResult": "plica.analyses.moments.uses.results:FoolingResult",
    "FoolingMapResult": "plica.analyses.moments.uses.results:FoolingMapResult",
    "BatchMomentsResult": "plica.analyses.moments.uses.results:BatchMomentsResult",
    "NoiseCurveResult": "plica.analyses.moments.uses.results:NoiseCurveResult",
    "NoiseResult": "plica.analyses.moments.uses.results:NoiseResult",
    "RegionCountResult": "plica.analyses.regions.result:RegionCountResult",
    "RegionsResult": "plica.analyses.regions.result:RegionsResult",
    "NeighbourhoodsResult": "plica.analyses.regions.neighbourhoods:NeighbourhoodsResult",
    "PerturbationResult": "plica.analyses.regions.perturbation:PerturbationResult",
    "BoundsResult": "plica.analyses.regions.bound_result:BoundsResult",
    "SpectrumResult": "plica.analyses.spectrum.result:SpectrumResult",
    "RemovedRowsResult": "plica.analyses.spectrum.rows:RemovedRowsResult",
    "AdmissibleResult": "plica.analyses.spectrum.admissible:AdmissibleResult",
    "EqualActivationResult": "plica.analyses.units.result:EqualActivationResult",
    "UnitClustersResult": "plica.analyses.units.result:UnitClustersResult",
    "MaximisersResult": "plica.analyses.units.maximisers:MaximisersResult",
    "UnitMapsResult": "plica.analyses.units.result:UnitMapsResult",
    "DiffResult": "plica.compare:DiffResult",
    "ManyResult": "plica.jobs.result:ManyResult",
    "ExpansionResult": "plica.jobs.result:ExpansionResult",
    "ReportResult": "plica.experiments.report.job:ReportResult",
    "VerifyResult": "plica.certificates.proof:VerifyResult",
    "FigureResult": "plica.experiments.figure:FigureResult",
    "ReproduceResult": "plica.experiments.reproduce:ReproduceResult",
}
# Plain records inside results.
RECORDS = {
    "RegionBound": "plica.analyses.regions.bound_result:RegionBound",
    "Claim": "plica.experiments.figure:Claim",
    "Panel": "plica.experiments.figure:Panel",
}
WORDS = {
    "Standing": "plica.core.result:Standing",
    "Completeness": "plica.core.result:Completeness",
    "Kind": "plica.analyses.preimage.result:Kind",
}
