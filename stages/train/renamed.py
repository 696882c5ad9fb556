"""Keys of the train section in version 0.1 of the program, and where what they said stands now."""

from collections.abc import Mapping

from stages.contract.section import Renamed

TO_METHOD = (
    "noise",
    "network",
    "width",
    "pool",
    "blocky_layers",
    "without",
    "added",
    "drop_layers",
    "sum_loss",
    "transform",
    "shift_blocks",
    "adversarial_epochs",
    "adversarial_weight",
    "content",
    "content_weight",
    "vgg19",
)
OVER_12 = "12 divided by each: [6] becomes [2], [1] becomes [12]"
RENAMED: Mapping[str, Renamed] = {
    **{name: Renamed(f"method.{name}") for name in TO_METHOD},
    "least": Renamed("method.reporting_threshold"),
    "turns": Renamed("method.augment"),
    "blocks": Renamed("method.residual_blocks"),
    "members": Renamed("networks"),
    "clip": Renamed("max_grad_norm"),
    "average": Renamed("ema_decay"),
    "scales": Renamed("coarsen", OVER_12),
    "judge_scales": Renamed("validation_coarsen", OVER_12),
    "judge_by": Renamed("validation_score"),
}
