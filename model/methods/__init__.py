"""The table of methods: a short name, where the method lives, and what is to be known before it is chosen."""

from model.method import MethodClass
from model.methods.row import MethodRow

# Why written by hand: a checkpoint or a config names a method by its short name,
# so neither can ever make the program import something else.
METHODS: dict[str, MethodRow] = {
    "dst_carbon_former": MethodRow(
        "model.methods.dst_carbon_former.method:DSTCarbonFormer",
        "a base that suits the totals, bent by networks that learn from the totals alone",
        "The default. From 100 coarse cells with mass up, with layers finer than a block; on less ground it says so "
        "and uses its base. See README for where it is no better than single_proxy.",
        "this repository; after DSTCarbonFormer v1.7 and v3.0",
        "model.methods.dst_carbon_former.options:DSTCarbonFormerOptions",
        trained_on="totals",
        pretrained=True,
    ),
    "dst_carbon_former_v1_7": MethodRow(
        "model.methods.dst_carbon_former.published:V17",
        "DSTCarbonFormer v1.7 as published, shown one total for each window",
        "To compare with the published form. It is taught nothing below the totals' own scale; takes hours.",
        "DSTCarbonFormer v1.7; its settings are in configs/dst_carbon_former_v1_7.yaml",
        "model.methods.dst_carbon_former.options:V17Options",
        trained_on="totals",
    ),
    "dst_carbon_former_v3_0": MethodRow(
        "model.methods.dst_carbon_former.published:V30",
        "DSTCarbonFormer v3.0 as published, trained on block sums alone",
        "To compare with the published form; takes hours.",
        "DSTCarbonFormer v3.0; its settings are in configs/dst_carbon_former_v3_0.yaml",
        "model.methods.dst_carbon_former.options:V30Options",
        trained_on="totals",
    ),
    "smooth_mask": MethodRow(
        "model.methods.classical.smooth_mask:SmoothMask",
        "a smooth surface that keeps every total, on the cells the covariates allow",
        "On few coarse cells, or where layers tell where mass may be but not how much.",
        "pycnophylactic interpolation (Tobler 1979, doi:10.1080/01621459.1979.10481647) with binary dasymetric mapping",
    ),
    "single_proxy": MethodRow(
        "model.methods.classical.single_proxy:SingleProxy",
        "each total shared out in proportion to the one covariate that predicts the totals best",
        "On few coarse cells, when one layer stands for the sector (buildings for heat, roads for traffic).",
        "dasymetric mapping (Wright 1936, doi:10.2307/209467)",
    ),
    "uniform": MethodRow(
        "model.methods.classical.uniform:Uniform",
        "each total spread evenly over the valid cells of its block",
        "As the row that every table must beat.",
        "areal weighting (Goodchild and Lam 1980, Geo-Processing 1, 297-312)",
        layers=False,
    ),
    "bilinear": MethodRow(
        "model.methods.classical.bilinear:Bilinear",
        "each total read as a density at its block's centre, interpolated in between",
        "For smooth quantities such as precipitation, when there are neither layers nor fine fields.",
        "bilinear interpolation, rescaled to the totals",
        layers=False,
    ),
    "pycnophylactic": MethodRow(
        "model.methods.classical.pycnophylactic:Pycnophylactic",
        "a smooth surface that keeps every total, on all valid ground",
        "When mass varies smoothly and no layer tells where it is.",
        "Tobler 1979, doi:10.1080/01621459.1979.10481647",
        layers=False,
    ),
    "proxy_product": MethodRow(
        "model.methods.classical.proxy_product:ProxyProduct",
        "each total shared out in proportion to the product of the covariates that rise with the totals",
        "When several layers each tell a part, as night lights and population do.",
        "after LitPop (Eberenz et al. 2020, doi:10.5194/essd-12-817-2020)",
    ),
    "additive_nnls": MethodRow(
        "model.methods.classical.additive:AdditiveLeastSquares",
        "each total shared out by a non-negative sum of covariates (least squares)",
        "When layers are parts of one whole, such as kinds of buildings, and large totals count most.",
        "non-negative least squares (Lawson and Hanson 1974, Solving Least Squares Problems)",
    ),
    "additive_poisson": MethodRow(
        "model.methods.classical.additive:AdditivePoisson",
        "each total shared out by a non-negative sum of covariates (Poisson likelihood)",
        "When layers are parts of one whole and small totals should count too.",
        "Poisson regression for areal interpolation (Flowerdew and Green 1989)",
    ),
    "exposure": MethodRow(
        "model.methods.classical.exposure:ExposureIntensity",
        "the Poisson sum of covariates, times a smooth intensity that keeps every total",
        "As additive_poisson, where what the layers miss varies smoothly in space.",
        "dasymetric regression with mass-preserving smoothing (Tobler 1979) of the ratio",
    ),
    "random_forest": MethodRow(
        "model.methods.trees.random_forest:RandomForest",
        "a random forest on the density of the totals, on the cells the covariates allow",
        "With many layers of unlike kinds and thousands of coarse cells.",
        "Breiman 2001, doi:10.1023/A:1010933404324; for population maps Stevens et al. 2015, "
        "doi:10.1371/journal.pone.0107042",
        package="sklearn",
        extra="trees",
    ),
    "srresnet": MethodRow(
        "model.methods.srgan.srresnet:SRResNet",
        "a residual network with sub-pixel steps, learned from pairs of coarse and fine fields",
        "When fine fields of some dates are known, for the smallest error.",
        "SRResNet (Ledig et al. 2017, doi:10.1109/CVPR.2017.19)",
        "model.methods.srgan.options:SRResNetOptions",
        trained_on="pairs",
        any_factor=True,
        layers=False,
    ),
    "srgan": MethodRow(
        "model.methods.srgan.srgan:SRGAN",
        "SRResNet, then taught by contents and a discriminator, for fields as rough as true ones",
        "When fine fields of some dates are known, and extremes and roughness matter more than the smallest error.",
        "SRGAN (Ledig et al. 2017, doi:10.1109/CVPR.2017.19)",
        "model.methods.srgan.options:SRGANOptions",
        trained_on="pairs",
        any_factor=True,
        layers=False,
    ),
    "gradient_boosting": MethodRow(
        "model.methods.trees.gradient_boosting:GradientBoosting",
        "boosted trees with a Tweedie likelihood on the density of the totals",
        "As random_forest, where many totals are 0.",
        "LightGBM (Ke et al. 2017, NeurIPS 30, 3146-3154)",
        package="lightgbm",
        extra="trees",
    ),
}


def installed(name: str) -> bool:
    """Whether what the method takes is there; nothing is imported."""
    return name not in METHODS or METHODS[name].installed


def method_class(name: str) -> MethodClass:
    """The class behind a short name; heavy libraries load only now.

    Raises: KeyError when the table has no such name.
    """
    return METHODS[name].method_class()
