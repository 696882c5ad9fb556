"""The table of methods: a short name and where the method lives."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

# Why written by hand: a checkpoint or a config names a method by its short name,
# so neither can ever make the program import something else.
METHODS: dict[str, str] = {
    "dst_carbon_former": "model.methods.dst_carbon_former.method:DSTCarbonFormer",
    "dst_carbon_former_v1_7": "model.methods.dst_carbon_former.published:V17",
    "dst_carbon_former_v3_0": "model.methods.dst_carbon_former.published:V30",
    "smooth_mask": "model.methods.classical.smooth_mask:SmoothMask",
    "single_proxy": "model.methods.classical.single_proxy:SingleProxy",
    "uniform": "model.methods.classical.uniform:Uniform",
    "bilinear": "model.methods.classical.bilinear:Bilinear",
    "pycnophylactic": "model.methods.classical.pycnophylactic:Pycnophylactic",
    "proxy_product": "model.methods.classical.proxy_product:ProxyProduct",
    "additive_nnls": "model.methods.classical.additive:AdditiveLeastSquares",
    "additive_poisson": "model.methods.classical.additive:AdditivePoisson",
    "exposure": "model.methods.classical.exposure:ExposureIntensity",
    "random_forest": "model.methods.trees.random_forest:RandomForest",
    "srresnet": "model.methods.srgan.srresnet:SRResNet",
    "srgan": "model.methods.srgan.srgan:SRGAN",
    "gradient_boosting": "model.methods.trees.gradient_boosting:GradientBoosting",
}

# Of methods that take more than the core, the package that the extra `trees` brings.
NEEDS = {"random_forest": "sklearn", "gradient_boosting": "lightgbm"}


def installed(name: str) -> bool:
    """Whether what the method takes is there; nothing is imported."""
    return name not in NEEDS or find_spec(NEEDS[name]) is not None


def method_class(name: str) -> Any:
    """The class behind a short name; heavy libraries load only now.

    Raises: KeyError when the table has no such name.
    """
    place, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(place), attribute)
