"""What SRResNet and SRGAN may be told."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from model.options import MethodOptions, SourcePath


class SRResNetOptions(MethodOptions):
    """Of the generator, which both train."""

    width: Annotated[int, Field(ge=4, le=512, description="channels of the network")] = 24
    residual_blocks: Annotated[PositiveInt, Field(description="of the generator")] = 8
    transform: Annotated[
        Literal["log1p", "quantile"], Field(description="of depths, fitted on the training dates")
    ] = "log1p"
    shift_blocks: Annotated[
        bool,
        Field(
            description="blocks are laid anew over the fine field at each draw; false: the run's own alone"
        ),
    ] = True


class SRGANOptions(SRResNetOptions):
    """Of the second phase beside."""

    adversarial_epochs: Annotated[PositiveInt, Field(description="of the second phase, after `epochs`")] = 8
    adversarial_weight: Annotated[
        NonNegativeFloat,
        Field(description="of fooling the discriminator, beside the content loss"),
    ] = 1e-3
    content: Annotated[
        Literal["spectral", "features", "pixel", "vgg19"],
        Field(description="where contents are compared; vgg19 needs a file of its weights"),
    ] = "spectral"
    content_weight: Annotated[
        NonNegativeFloat, Field(description="of comparing contents, beside the pixels")
    ] = 0.1
    vgg19: Annotated[
        SourcePath | None,
        Field(
            description="file of the published weights (features.0.weight ...), .pt or .safetensors, never a "
            "pickle; none is shipped"
        ),
    ] = None

    @model_validator(mode="after")
    def _agree(self) -> "SRGANOptions":
        if (self.content == "vgg19") != (self.vgg19 is not None):
            raise ValueError("`content: vgg19` and `vgg19:`, a file of its weights, go together")
        return self

    def weight_files(self) -> tuple[str, ...]:
        """That of VGG19, when contents are compared by it."""
        return () if self.vgg19 is None else (self.vgg19,)
