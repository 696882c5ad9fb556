"""The one training loop: phases, epochs, steps and turns; it knows no method from another."""

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from model.ground.errors import ResourceFault, UsageFault
from model.ground.scene import Tile
from model.method import Phase, Turn
from model.training.failures import is_memory, unusable
from model.training.policy import HALVE_AFTER, SKIPS_IN_A_ROW, USUAL, Policy
from model.training.protocol import Keeper, Learner, State, StepNews, Tiles
from model.training.sampler import Draw, Draws
from model.training.state import Kept, Optimisers, Progress, packed, unpacked
from model.training.validation import candidate_scores, evenly

CALIBRATION_TILES = 48
VALIDATION_TILES = 40  # evenly spaced over the split; more cost time and hardly move the score


class Trainer:
    """Trains a method on tiles and leaves it in the state that did best on unseen blocks.

    Args:
      method: prepared and calibrated.
      tiles, validation: of the two splits.
      groups: coarse cells merged along each axis when validation scores are taken; fixed.
      seed: from which all chance follows, together with the step.
      keeper: for resuming.
      every: steps between two saves.
      report: told after each step.
      note: told a fact to act on, once.
      policy: what the loop does around each step.
      start: of another training of the same networks, whose weights and optimisers this one begins with.
    """

    def __init__(
        self,
        method: Learner,
        tiles: Tiles,
        validation: Tiles,
        groups: tuple[int, ...],
        seed: int,
        keeper: Keeper,
        every: int = 50,
        report: Callable[[StepNews], None] = lambda news: None,
        note: Callable[[str], None] = lambda text: None,
        policy: Policy = USUAL,
        start: State | None = None,
    ) -> None:
        self.method, self.tiles, self.seed, self.keeper = method, tiles, seed, keeper
        self.every, self.report, self.note, self.groups = every, report, note, groups
        self.policy, self.start = policy, start
        self.validation = [validation[index] for index in evenly(len(validation), VALIDATION_TILES)]
        self.phases = method.phases()
        self.networks = {turn.name: turn.network for phase in self.phases for turn in phase.turns}
        self.average = {name: value.clone() for name, value in self._weights().items()}
        self.progress = Progress()
        self.draws, self.began = Draws(tiles, seed), perf_counter()

    def run(self) -> Progress | None:
        """Trains to the end, from where an earlier attempt stopped; None if validation can judge nothing."""
        state = self.keeper.load()
        optimisers = self._optimisers(self.phases[state[1]["phase"] if state else 0])
        if state is None:
            self._judge(self.phases[0])
            if not self.progress.kept:
                return None
            if self.start is not None:
                self._begin(self.start, optimisers)
        else:
            self._restore(state, optimisers)
        self.began = perf_counter()
        try:
            self._train_all(optimisers)
        finally:
            self.draws.close()
        self._settle()
        return self.progress

    def _train_all(self, optimisers: Optimisers) -> None:
        progress = self.progress
        while progress.phase < len(self.phases):
            self._train(self.phases[progress.phase], optimisers)
            progress.phase += 1
            progress.step = progress.stale = progress.halvings = 0
            if progress.phase < len(self.phases):
                optimisers = self._optimisers(self.phases[progress.phase])

    def _begin(self, start: State, optimisers: Optimisers) -> None:
        """Takes over what another training had learned; it is judged beside the untrained state.

        Raises: UsageFault (exit 2) when it is of other networks.
        """
        now, average, _ = unpacked(start, {})
        wrong = [
            name
            for name, value in self._weights().items()
            if name not in now or now[name].shape != value.shape
        ]
        if wrong or len(now) != len(self._weights()):
            found = f"a state of other networks: {', '.join(wrong[:3]) or 'it holds more weights'}"
            raise UsageFault("train.start", found, "one of the same method, width and layers", "leave it out")
        unpacked(start, optimisers)
        self._put(now)
        for name, value in self.average.items():
            value.copy_(average[name])
        self._judge(self.phases[0])

    def _train(self, phase: Phase, optimisers: Optimisers) -> None:
        steps, progress = phase.options["steps"], self.progress
        last = phase.epochs * steps
        for _ in range(progress.step, last):
            if progress.stale >= phase.options["patience"]:
                break
            loss, rate = self._step(phase, optimisers, last)
            epoch = progress.step // steps if progress.step % steps == 0 else None
            if epoch is not None:
                self._judge(phase)
            due = epoch is not None or progress.step % self.every == 0
            try:  # before saving: what was told and not saved will be told again, never the other way round
                self.report(self._news(phase, last, loss, rate))
            except BaseException:  # whoever listens may ask to stop here; what is learned must outlive that
                due = True
                raise
            finally:
                if due:
                    best = epoch is not None and progress.stale == 0
                    self.keeper.save(self._state(optimisers), epoch=epoch, best=best)

    def _news(self, phase: Phase, last: int, loss: float, rate: float) -> StepNews:
        terms = {name: value for turn in phase.turns for name, value in turn.terms().items()}
        waiting = self.draws.waited / max(perf_counter() - self.began, 1e-9)
        progress, best = self.progress, self.progress.kept[-1].score
        return StepNews(
            progress.step, last, progress.total, loss, terms, rate, best, progress.skipped, waiting
        )

    def _step(self, phase: Phase, optimisers: Optimisers, last: int) -> tuple[float, float]:
        """Every turn once on as many batches as make a step; chance follows from (seed, step) alone.

        Returns: the last turn's loss, and the learning rate.
        """
        progress, options = self.progress, phase.options
        count = options["batch"] * self.policy.accumulate
        draw = self.draws.at(progress.total, count, progress.step + 1 < last)
        generator = torch.Generator().manual_seed(draw.seed)
        rate = options["learning_rate"] * self.policy.pace(progress.step, last, progress.halvings)
        loss = 0.0
        for turn in phase.turns:
            optimiser = optimisers[turn.name]
            optimiser.param_groups[0]["lr"] = rate
            loss = self._gradient(turn, optimiser, draw.tiles, generator)
            norm = float(nn.utils.clip_grad_norm_(turn.network.parameters(), options["clip"]))
            if isfinite(loss) and isfinite(norm):
                optimiser.step()
                progress.in_a_row = 0
            else:
                self._leave_out(f"the loss is {loss}, its gradient's norm {norm}", draw)
        self._move_average(options["average"])
        progress.step += 1
        progress.total += 1
        return loss, rate

    def _gradient(
        self, turn: Turn, optimiser: torch.optim.Optimizer, batch: Sequence[Tile], generator: torch.Generator
    ) -> float:
        """Leaves the mean gradient of the batch in the weights; where memory ends, in smaller pieces.

        Returns: the loss; not finite as soon as one piece's is not, and the gradient is then of no use.
        """
        start = generator.get_state()
        while True:
            optimiser.zero_grad(set_to_none=True)
            try:
                return self._summed(turn, batch, generator)
            except (RuntimeError, MemoryError) as error:
                if not is_memory(error):
                    raise
                self._halve(batch, error)
            # Why out here: the error no longer holds on to the tensors that filled the memory.
            torch.cuda.empty_cache()
            generator.set_state(start)

    def _summed(self, turn: Turn, batch: Sequence[Tile], generator: torch.Generator) -> float:
        pieces = np.array_split(
            np.arange(len(batch)), min(len(batch), self.policy.accumulate * self.progress.parts)
        )
        device = next(turn.network.parameters()).device.type
        whole = 0.0
        for piece in pieces:
            share = len(piece) / len(batch)
            with torch.autocast(device, torch.bfloat16, enabled=self.policy.halves(device)):
                loss = turn.loss([batch[index] for index in piece], generator)
            whole += share * loss.item()
            if not isfinite(whole):
                break
            (loss * share).backward()
        return whole

    def _halve(self, batch: Sequence[Tile], error: BaseException) -> None:
        """Works on half as many tiles at once from now on.

        Raises: ResourceFault (exit 6) when it is already one at a time.
        """
        progress, where = self.progress, f"train: step {self.progress.total + 1}"
        at_once = -(-len(batch) // (self.policy.accumulate * progress.parts))
        if at_once == 1:
            found = f"memory ran out with a single tile at once: {str(error).splitlines()[0][:160]}"
            raise ResourceFault(
                where,
                found,
                "memory for one tile",
                "lower train.method.width or tile.size, or use a larger machine",
            ) from None
        progress.parts *= 2
        smaller = -(-len(batch) // (self.policy.accumulate * progress.parts))
        self.note(
            f"{where}: memory ran out with {at_once} tiles at once; goes on with {smaller}, adding up gradients, "
            f"so that a step still sees {len(batch)}"
        )

    def _leave_out(self, found: str, draw: Draw) -> None:
        """Counts the step as skipped.

        Raises: NumberFault (exit 7) where the policy is to stop, or too many follow each other.
        """
        progress = self.progress
        fault = unusable(found, progress.total + 1, draw)
        progress.skipped += 1
        progress.in_a_row += 1
        if self.policy.not_finite == "stop" or progress.in_a_row > SKIPS_IN_A_ROW:
            raise fault
        self.note(f"{fault.where}: {fault.found}; step left out, {progress.skipped} so far")

    def _move_average(self, memory: float) -> None:
        with torch.no_grad():
            for name, value in self._weights().items():
                self.average[name].lerp_(value, 1.0 - memory)

    def _judge(self, phase: Phase) -> None:
        """Scores the averaged weights and keeps them if they may be the ones to use."""
        current = {name: value.clone() for name, value in self._weights().items()}
        self._put(self.average)
        scores = candidate_scores(self.method, self.validation, self.groups, self.policy.judge_by)
        self._put(current)
        choice = min(scores, key=lambda name: scores[name])
        progress, score = self.progress, scores[choice]
        line = {"phase": phase.name, "step": progress.total, "scores": scores}
        if progress.skipped:
            line["skipped"] = progress.skipped
        progress.history.append(line)
        better = score < (progress.kept[-1].score if progress.kept else inf)
        progress.stale = 0 if better else progress.stale + 1
        if progress.stale and progress.stale % HALVE_AFTER == 0:
            progress.halvings += 1
        if better:
            weights = {name: value.detach().cpu().clone() for name, value in self.average.items()}
            progress.kept.append(Kept(progress.total, choice, score, weights))
            limit = score * (1.0 + phase.options["tolerance"])
            progress.kept = [kept for kept in progress.kept if kept.score <= limit]

    def _settle(self) -> None:
        """The earliest state within the tolerance of the best one."""
        chosen = self.progress.kept[0]
        self._put(chosen.weights)
        self.method.choose(chosen.choice)

    def _weights(self) -> dict[str, Tensor]:
        return {
            f"{turn}.{name}": value
            for turn, network in self.networks.items()
            for name, value in network.state_dict().items()
        }

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._weights().items():
                value.copy_(weights[name])

    def _optimisers(self, phase: Phase) -> dict[str, torch.optim.Optimizer]:
        decay = phase.options["weight_decay"]
        return {turn.name: _adamw(turn, decay) for turn in phase.turns}

    def _state(self, optimisers: Optimisers) -> State:
        return packed(self._weights(), self.average, optimisers, self.progress, self.seed)

    def _restore(self, state: State, optimisers: Optimisers) -> None:
        now, average, self.progress = unpacked(state, optimisers)
        self._put(now)
        for name, value in self.average.items():
            value.copy_(average[name])


def _adamw(turn: Turn, decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(turn.network.parameters(), weight_decay=decay)
