"""The training loop: resumes byte for byte, keeps the right state, names what went wrong."""

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from model.ground.errors import NumberError
from model.methods.classical.smooth_mask import SmoothMask
from model.methods.dst_carbon_former.method import DSTCarbonFormer
from model.methods.dst_carbon_former.options import DSTCarbonFormerOptions
from model.training.phase import Keep, Optim, OptimisationStep, Patience, Phase
from model.training.sampler import draw_chances
from model.training.validation import candidate_scores
from tests.train_settings import told, totals_trainer


class Killed(Exception):
    """Stands for SIGKILL."""


class Memory:
    """Keeps the state as bytes would: nothing shared with what goes on training."""

    def __init__(self, kill_at_save: int = -1) -> None:
        self.state, self.saves, self.kill_at_save = None, 0, kill_at_save

    def save(self, state, epoch=None, best=False):
        self.state = copy.deepcopy(state)
        self.saves += 1
        if self.saves == self.kill_at_save:
            raise Killed

    def load(self):
        return copy.deepcopy(self.state)


def learner(survey, **chosen):
    options = {"epochs": 3, "steps_per_epoch": 4, "batch_tiles": 2, "width": 8} | chosen
    method = DSTCarbonFormer(*told(DSTCarbonFormerOptions, **options))
    method.prepare(survey)
    method.cells = 5000  # the map stands for a large one
    return method


def trained(method, training, validation, keeper, **how):
    method.calibrate(training.tiles)
    (member,) = method.members((0,))
    return totals_trainer(member, training, validation, (2,), 7, keeper, every=3, **how).run()


def weights(method) -> bytes:
    return b"".join(value.tobytes() for _, value in sorted(method.state()[0].items()))


@pytest.mark.parametrize("kill_at_save", [1, 2, 4])
def test_a_killed_and_resumed_training_ends_byte_for_byte_like_an_undisturbed_one(
    kill_at_save, training_plan, validation_plan, make_survey
):
    survey = make_survey(training_plan[0])
    whole = learner(survey)
    undisturbed = trained(whole, training_plan, validation_plan, Memory())
    keeper = Memory(kill_at_save)
    with pytest.raises(Killed):
        trained(learner(survey), training_plan, validation_plan, keeper)
    resumed = learner(survey)
    keeper.kill_at_save = -1
    progress = trained(resumed, training_plan, validation_plan, keeper)
    assert weights(resumed) == weights(whole)
    assert progress.history == undisturbed.history
    assert resumed.state()[1] == whole.state()[1]
    assert progress.kept[0].step == undisturbed.kept[0].step


def test_training_learns_what_the_totals_teach(training_plan, validation_plan, make_survey):
    method = learner(make_survey(training_plan[0]), epochs=6, steps_per_epoch=12)
    progress = trained(method, training_plan, validation_plan, Memory())
    assert progress.kept[0].score < 0.8 * progress.first_score
    assert [line["step"] for line in progress.history] == [0, 12, 24, 36, 48, 60, 72]


def test_another_seed_draws_other_tiles(training_plan, validation_plan, make_survey):
    survey = make_survey(training_plan[0])
    results = []
    for seed in (1, 2):
        method = learner(survey, epochs=1)
        totals_trainer(*method.members((0,)), training_plan, validation_plan, (2,), seed, Memory()).run()
        results.append(weights(method))
    assert results[0] != results[1]


def test_without_cells_to_validate_on_nothing_is_trained(training_plan, without_validation, make_survey):
    method = learner(make_survey(training_plan[0]))
    before = weights(method)
    assert trained(method, training_plan, without_validation, Memory()) is None
    assert weights(method) == before


def test_a_loss_that_is_not_finite_stops_with_step_tiles_and_layer_ranges(
    training_plan, validation_plan, make_survey
):
    method = learner(make_survey(training_plan[0]))
    method.calibrate(training_plan.tiles)
    for tile in training_plan.tiles:
        tile.covariates[0, :, 3, 3] = np.nan
    keeper = Memory()
    with pytest.raises(NumberError) as caught:
        totals_trainer(*method.members((0,)), training_plan, validation_plan, (2,), 7, keeper).run()
    assert "step 1, tile " in caught.value.where
    assert "built nan to nan" in caught.value.found
    assert "age 0 to" in caught.value.found
    assert caught.value.code == 7


class Scripted(SmoothMask):
    """Learns nothing but follows a script of validation scores, to see which state the loop keeps."""

    def __init__(self, scores: list[Mapping[str, float]], tolerance: float, patience: int = 99) -> None:
        super().__init__()
        self.network = torch.nn.Linear(1, 1)
        self.scores, self.tolerance, self.patience, self.chosen = scores, tolerance, patience, None

    def phases(self):
        turn = OptimisationStep("only", self.network, self.loss)
        keep, stop = Keep.best_within(self.tolerance), (Patience(self.patience),)
        return (Phase("script", len(self.scores) - 1, 1, 1, (turn,), Optim(1.0), keep, stop),)

    def loss(self, tiles, generator):
        return self.network.weight.sum()

    def choose(self, name):
        self.chosen = name


@pytest.mark.parametrize(
    ("scores", "tolerance", "step", "choice"),
    [
        ([1.0, 0.5, 0.4, 0.6], 0.0, 2, "full"),
        ([1.0, 0.405, 0.4, 0.6], 0.03, 1, "full"),
        ([1.0, 0.405, 0.4, 0.39], 0.03, 2, "full"),
        ([0.3, 0.5, 0.4, 0.6], 0.0, 0, "full"),
    ],
)
def test_the_earliest_state_within_the_tolerance_of_the_best_is_used(
    scores, tolerance, step, choice, training_plan, validation_plan, monkeypatch
):
    method = Scripted([{"full": score, "half": score + 0.1} for score in scores], tolerance)
    script = iter(method.scores)
    monkeypatch.setattr("model.training.validation.candidate_scores", lambda *_: next(script))
    progress = totals_trainer(method, training_plan, validation_plan, (2,), 0, Memory()).run()
    assert (progress.kept[0].step, method.chosen) == (step, choice)


def test_the_better_strength_is_chosen_and_patience_ends_training(
    training_plan, validation_plan, monkeypatch
):
    method = Scripted([{"full": 1.0, "half": 0.9 + 0.01 * step} for step in range(9)], 0.0, patience=3)
    script = iter(method.scores)
    monkeypatch.setattr("model.training.validation.candidate_scores", lambda *_: next(script))
    progress = totals_trainer(method, training_plan, validation_plan, (2,), 0, Memory()).run()
    assert (method.chosen, progress.total, progress.kept[0].step) == ("half", 3, 0)


def test_the_validation_score_is_pooled_over_tiles_and_by_hand_right(make_tile, make_survey):
    tile = make_tile(3)

    class Even(SmoothMask):
        def candidates(self, scene):
            even = np.broadcast_to(
                scene.totals.repeat(scene.side, -1).repeat(scene.side, -2) / scene.side**2,
                scene.totals.shape[:2] + scene.valid.shape,
            )
            return {"even": even}

    score = candidate_scores(Even(), [tile, tile], (2,))["even"]
    groups = tile.totals.reshape(2, 2, 6, 2, 6, 2).sum((-3, -1), keepdims=True) / 4
    missed = np.abs(tile.totals.reshape(2, 2, 6, 2, 6, 2) - groups).reshape(tile.totals.shape)
    held = tile.totals > 0
    by_sector = [missed[s][held[s]].sum() / tile.totals[s].sum() for s in range(2)]
    assert score == pytest.approx(np.mean(by_sector))


def test_heavy_tiles_are_drawn_more_often_and_light_ones_are_not_forgotten():
    chances = draw_chances(np.array([0.0, 1.0, 3.0]))
    assert chances.sum() == pytest.approx(1.0)
    assert chances[0] == pytest.approx(1 / 6)
    assert chances[2] > chances[1]
