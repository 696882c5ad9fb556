"""Flat settings of tests, sorted into what a method is told and what the training loop is told."""

from typing import Any

from model.methods import METHODS
from model.options import MethodOptions
from model.training.options import TrainingOptions
from stages.train import stage as train


def told(kind: type[MethodOptions], **settings: Any) -> tuple[MethodOptions, TrainingOptions]:
    """What a method is made with: options of its own, and those of the loop."""
    loop = {name: value for name, value in settings.items() if name in TrainingOptions.model_fields}
    own = {name: value for name, value in settings.items() if name not in loop}
    return kind(**own), TrainingOptions(**loop)


def section(method: str = train.DEFAULT_METHOD, **settings: Any) -> train.Config:
    """A train section in which options of the method may stand beside the rest; those it does not hear are left out."""
    options = {name for row in METHODS.values() for name in row.options_class().model_fields}
    heard = METHODS[method].options_class().model_fields
    own = {name: value for name, value in settings.items() if name in heard}
    loop = {name: value for name, value in settings.items() if name not in options}
    return train.Config(method={"name": method, **own}, **loop)
