"""The train section: what learns, from what, for how long."""

import hashlib
import json
from collections.abc import Mapping
from itertools import filterfalse
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, field_validator, model_serializer

from model.methods.choice import MethodChoice
from model.options import SourcePath
from model.training.options import Coarsening, TrainingOptions
from model.training.policy import Policy
from stages.contract.device import Device
from stages.contract.section import SafeName, Section, dump
from stages.train.renamed import RENAMED

DEFAULT_METHOD = "dst_carbon_former"
# Settings heard whatever the method; by whatever takes steps, beside these; and by what learns from totals alone.
ALWAYS = frozenset({"method", "seed", "years"})
FROM_TOTALS = frozenset({"coarsen", "validation_coarsen", "networks"})


class Config(Section, TrainingOptions):
    """What learns, from what, for how long; what one method alone may be told stands under `method`."""

    RENAMED = RENAMED

    # A short name of the table of methods, or {name: NAME, option: value}; `pipeline methods` lists them.
    method: MethodChoice = MethodChoice.parse(DEFAULT_METHOD)
    years: PositiveInt = 3  # years in a window; fewer when the cube has fewer
    # As coarsen, when validation is scored; None: as in training. A whole window is seldom validation ground alone.
    validation_coarsen: Annotated[tuple[Coarsening, ...], Field(min_length=1)] | None = None
    # What stops training and chooses its state, over the mean non-zero total; balanced: zeros count as much.
    validation_score: Literal["nonzero_mae", "balanced_mae"] = "nonzero_mae"
    networks: PositiveInt | None = None  # one for each fold held out; 1: the first fold's alone, as published
    accumulate: PositiveInt = 1  # batches whose gradients make one step: more ground without more memory
    not_finite: Literal["stop", "skip"] = "stop"  # when a loss is no number: end there, or leave the step out
    precision: Literal["auto", "float32", "bf16"] = "auto"  # inside networks; auto: bf16 on a GPU alone
    # Folder of a checkpoint made on other ground of the same inputs: networks begin with its own; `start` goes first.
    pretrained: SourcePath | None = None
    start: SourcePath | None = None  # folder of a finished run's history whose states training begins with
    start_at: SafeName = "best"  # which of them: best, epoch_010, ...
    save_every: PositiveInt = 50  # steps between two saves of the state from which training resumes
    device: Device = "auto"

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, method: object) -> object:
        """Options without a name are those of the default method."""
        if isinstance(method, Mapping) and "name" not in method:
            return {"name": DEFAULT_METHOD, **method}
        return method

    @model_serializer(mode="wrap")
    def _heard_alone(self, everything: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As it enters a fingerprint: a setting that the method does not hear makes nothing stale."""
        return {name: value for name, value in everything(self).items() if name not in self.unheard}

    @property
    def unheard(self) -> tuple[str, ...]:
        """Settings of the loop that mean nothing to the chosen method.

        A method that takes no steps hears none but ALWAYS; one that learns from pairs none of FROM_TOTALS; one whose
        networks cannot begin with those of another run no `pretrained`.
        """
        row = self.method.row
        if row.trained_on is None:
            return tuple(filterfalse(ALWAYS.__contains__, type(self).model_fields))
        deaf = set() if row.trained_on == "totals" else set(FROM_TOTALS)
        return tuple(sorted(deaf if row.pretrained else deaf | {"pretrained"}))

    @property
    def policy(self) -> Policy:
        """What the training loop does around a step."""
        return Policy(self.accumulate, self.not_finite, self.precision)

    def digest(self) -> str:
        """SHA-256 of the section as it enters a fingerprint: a state of training belongs to its settings."""
        return hashlib.sha256(json.dumps(dump(self), sort_keys=True).encode()).hexdigest()
