"""The one training loop: phases, epochs, steps and turns; it knows no method and no kind of data from another."""

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.ground.errors import ResourceError, UsageError
from model.training.failures import is_memory, unusable
from model.training.phase import OptimisationStep, Phase, Standing
from model.training.policy import HALVE_AFTER, SKIPS_IN_A_ROW, USUAL, Policy
from model.training.protocol import Learner, State, StateStore, StepNews, Validation
from model.training.sampler import Dataset, Draw, ReadAhead
from model.training.state import Kept, Optimisers, Progress, packed, unpacked

CALIBRATION_TILES = 48
VALIDATION_TILES = 40  # evenly spaced over the split; more cost time and hardly move the score


Statistics = list[tuple[Tensor, Tensor]]  # a buffer of a network, and what it held


class Trainer:
    """Trains a learner on data and leaves it in the state that its phases keep.

    Args:
      learner: whose phases are gone through; prepared and calibrated.
      data: what steps learn from.
      validation: what the averaged weights are worth.
      store: for resuming.
      every: steps between two saves.
      report: told after each step.
      note: told a fact to act on, once.
      policy: what the loop does around each step.
      start: of another training of the same networks, whose weights and optimisers this one begins with.
    """

    def __init__(
        self,
        learner: Learner,
        data: Dataset,
        validation: Validation,
        store: StateStore,
        every: int = 50,
        report: Callable[[StepNews], None] = lambda news: None,
        note: Callable[[str], None] = lambda text: None,
        policy: Policy = USUAL,
        start: State | None = None,
    ) -> None:
        self.learner, self.data, self.validation, self.store = learner, data, validation, store
        self.every, self.report, self.note = every, report, note
        self.policy, self.start = policy, start
        self.phases = learner.phases()
        self.networks = {turn.name: turn.network for phase in self.phases for turn in phase.turns}
        self.average = {name: value.clone() for name, value in self._weights().items()}
        self.progress, self.is_best = Progress(), False  # is_best: the last validation is its phase's best
        self.reader, self.began = ReadAhead(data), perf_counter()
        self.optimisers = self._made_optimisers()

    def run(self) -> Progress | None:
        """Trains to the end, from where an earlier attempt stopped; None if validation can judge nothing."""
        state = self.store.load()
        if state is None:
            self._judge(self.phases[0])
            if not self.progress.kept:
                return None
            if self.start is not None:
                self._begin(self.start)
        else:
            self._restore(state)
        self.began = perf_counter()
        try:
            self._train_all()
        finally:
            self.close()
        return self.progress

    def close(self) -> None:
        """Reads no more data."""
        self.reader.close()

    def step(self, batch: int | None = None) -> None:
        """One step of the phase under way, of so many items; None: as many as the phase says."""
        self._step(self.phases[self.progress.phase], batch)

    def _train_all(self) -> None:
        progress = self.progress
        while progress.phase < len(self.phases):
            phase = self.phases[progress.phase]
            self._train(phase)
            self._settle(phase)
            progress.phase += 1
            progress.step = progress.stale = progress.halvings = 0
            progress.losses, progress.epoch = {}, {}
            if progress.phase < len(self.phases):
                self.optimisers = self._made_optimisers()

    def _begin(self, start: State) -> None:
        """Takes over what another training had learned; it is judged beside the untrained state.

        Raises: UsageError (exit 2) when it is of other networks.
        """
        now, average, _ = unpacked(start, {})
        ours = self._weights()
        wrong = [name for name, value in ours.items() if name not in now or now[name].shape != value.shape]
        if wrong or len(now) != len(ours):
            found = f"a state of other networks: {', '.join(wrong[:3]) or 'it holds more weights'}"
            raise UsageError("train.start", found, "one of the same method, width and layers", "leave it out")
        unpacked(start, self.optimisers)
        self._put(now)
        for name, value in self.average.items():
            value.copy_(average[name])
        self._judge(self.phases[0])

    def _train(self, phase: Phase) -> None:
        """Steps until its epochs are over or a rule stops it."""
        progress = self.progress
        while not self._is_stopped(phase) and progress.step < phase.length:
            loss, rate, terms = self._step(phase)
            epoch = progress.step // phase.steps if progress.step % phase.steps == 0 else None
            if epoch is not None:
                progress.epoch, progress.losses = progress.losses, {}
                self._judge(phase)
            due = epoch is not None or progress.step % self.every == 0
            try:  # before saving: what was told and not saved will be told again, never the other way round
                self.report(self._news(loss, rate, terms))
            except BaseException:  # whoever listens may ask to stop here; what is learned must outlive that
                due = True
                raise
            finally:
                if due:
                    self.store.save(self._state(), epoch=epoch, best=epoch is not None and self.is_best)

    def _is_stopped(self, phase: Phase) -> bool:
        progress = self.progress
        standing = Standing(progress.total, progress.stale, progress.epoch)
        for rule in phase.stop:
            if (said := rule.met(standing)) is not None:
                progress.notes += [said] if said else []
                return True
        return False

    def _news(self, loss: float, rate: float, terms: Mapping[str, float]) -> StepNews:
        progress = self.progress
        waiting = self.reader.waited / max(perf_counter() - self.began, 1e-9)
        return StepNews(
            done=progress.total,
            total=sum(phase.length for phase in self.phases),
            loss=loss,
            terms=terms,
            rate=rate,
            best=progress.kept[-1].score,
            skipped=progress.skipped,
            waiting=waiting,
        )

    def _step(self, phase: Phase, batch: int | None = None) -> tuple[float, float, dict[str, float]]:
        """Every turn once on as many batches as make a step; chance follows from the data's seed and the step.

        Returns: the last turn's loss, the learning rate, and what the losses were made of.
        """
        progress, optim = self.progress, phase.optim
        count = (batch or phase.batch) * self.policy.accumulate
        draw = self.reader.at(progress.total, count, progress.step + 1 < phase.length)
        generator = torch.Generator().manual_seed(draw.seed)
        rate = optim.learning_rate * optim.schedule.pace(progress.step, phase.length, progress.halvings)
        for network in self.networks.values():
            network.train()
        loss, terms = 0.0, dict[str, float]()
        for turn in phase.turns:
            loss = self._turn(turn, phase, draw, generator, rate)
            terms |= {turn.name: loss} if len(phase.turns) > 1 else {}
            terms |= turn.terms()
            self._count_losses({turn.name: loss, **turn.terms()}, phase.steps)
        self._move_average(optim.ema_decay)
        progress.step += 1
        progress.total += 1
        return loss, rate, terms

    def _turn(
        self, turn: OptimisationStep, phase: Phase, draw: Draw, generator: torch.Generator, rate: float
    ) -> float:
        """Moves one network; returns its loss."""
        optimiser = self.optimisers[turn.name]
        for group in optimiser.param_groups:
            group["lr"] = rate
        statistics = self._statistics()
        loss = self._gradient(turn, optimiser, draw.items, generator, statistics)
        norm = float(nn.utils.clip_grad_norm_(turn.network.parameters(), phase.optim.max_grad_norm))
        if isfinite(loss) and isfinite(norm):
            optimiser.step()
            self.progress.in_a_row = 0
        else:
            _restore(statistics)
            self._leave_out(f"the loss is {loss}, its gradient's norm {norm}", draw)
        return loss

    def _statistics(self) -> Statistics:
        """Buffers of every network, such as running means of batches, each with its values of now."""
        found: Statistics = []
        for network in self.networks.values():
            for buffer in network.buffers():
                found.append((buffer, buffer.detach().clone()))
        return found

    def _count_losses(self, losses: Mapping[str, float], steps: int) -> None:
        """Adds to the means of the epoch under way."""
        for name, value in losses.items():
            self.progress.losses[name] = self.progress.losses.get(name, 0.0) + value / steps

    def _gradient(
        self,
        turn: OptimisationStep,
        optimiser: torch.optim.Optimizer,
        batch: Sequence[Any],
        generator: torch.Generator,
        statistics: Statistics,
    ) -> float:
        """Leaves the mean gradient of the batch in the weights; where memory ends, in smaller pieces.

        Args: statistics: as before the batch: a piece that is taken again must not count twice.
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
            _restore(statistics)

    def _summed(self, turn: OptimisationStep, batch: Sequence[Any], generator: torch.Generator) -> float:
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

    def _halve(self, batch: Sequence[Any], error: BaseException) -> None:
        """Works on half as many items at once from now on.

        Raises: ResourceError (exit 6) when it is already one at a time.
        """
        progress, where = self.progress, f"train: step {self.progress.total + 1}"
        at_once = -(-len(batch) // (self.policy.accumulate * progress.parts))
        if at_once == 1:
            found = f"memory ran out with a single item at once: {str(error).splitlines()[0][:160]}"
            raise ResourceError(
                where,
                found,
                "memory for one item",
                "lower train.method.width or tile.size, or use a larger machine",
            ) from None
        progress.parts *= 2
        smaller = -(-len(batch) // (self.policy.accumulate * progress.parts))
        self.note(
            f"{where}: memory ran out with {at_once} items at once; goes on with {smaller}, adding up gradients, "
            f"so that a step still sees {len(batch)}"
        )

    def _leave_out(self, found: str, draw: Draw) -> None:
        """Counts the step as skipped.

        Raises: NumberError (exit 7) where the policy is to stop, or too many follow each other.
        """
        progress = self.progress
        fault = unusable(found, progress.total + 1, draw, self.data.explain(draw))
        progress.skipped += 1
        progress.in_a_row += 1
        if self.policy.not_finite == "stop" or progress.in_a_row > SKIPS_IN_A_ROW:
            raise fault
        self.note(f"{fault.where}: {fault.found}; step left out, {progress.skipped} so far")

    def _move_average(self, memory: float) -> None:
        with torch.no_grad():
            for name, value in self._weights().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1.0 - memory)
                else:
                    self.average[name].copy_(value)

    def _judge(self, phase: Phase) -> None:
        """Scores the averaged weights and keeps them if they may be the ones to use."""
        current = {name: value.clone() for name, value in self._weights().items()}
        self._put(self.average)
        scores = dict(self.validation())
        self._put(current)
        choice = min(scores, key=lambda name: scores[name])
        progress, score = self.progress, scores[choice]
        line: dict[str, Any] = {"phase": phase.name, "step": progress.total, "scores": scores}
        line |= {"losses": progress.epoch} if progress.epoch else {}
        line |= {"skipped": progress.skipped} if progress.skipped else {}
        earlier = [min(told["scores"].values()) for told in progress.history if told["phase"] == phase.name]
        progress.history.append(line)
        better = score < (progress.kept[-1].score if progress.kept else inf)
        self.is_best = better and score < min(earlier, default=inf)
        progress.stale = 0 if better else progress.stale + 1
        if progress.stale and progress.stale % HALVE_AFTER == 0:
            progress.halvings += 1
        if better and (phase.keep.best or not progress.kept):
            progress.kept.append(self._averaged(choice, score))
            limit = score * (1.0 + phase.keep.tolerance)
            progress.kept = [kept for kept in progress.kept if kept.score <= limit]

    def _averaged(self, choice: str, score: float) -> Kept:
        weights = {name: value.detach().cpu().clone() for name, value in self.average.items()}
        return Kept(self.progress.total, choice, score, weights)

    def _settle(self, phase: Phase) -> None:
        """Leaves the phase in the state that it keeps, from which the next one goes on."""
        progress = self.progress
        if not phase.keep.best:
            scores = progress.history[-1]["scores"]
            choice = min(scores, key=lambda name: scores[name])
            progress.kept = [self._averaged(choice, scores[choice])]
        chosen = progress.kept[0]
        self._put(chosen.weights)
        for name, value in self.average.items():
            value.copy_(chosen.weights[name])
        self.learner.choose(chosen.choice)

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

    def _made_optimisers(self) -> Optimisers:
        phase = self.phases[self.progress.phase]
        return {turn.name: _adamw(turn, phase.optim.weight_decay) for turn in phase.turns}

    def _state(self) -> State:
        return packed(self._weights(), self.average, self.optimisers, self.progress)

    def _restore(self, state: State) -> None:
        self.progress.phase = state[1]["phase"]
        self.optimisers = self._made_optimisers()
        now, average, self.progress = unpacked(state, self.optimisers)
        self._put(now)
        for name, value in self.average.items():
            value.copy_(average[name])


def _adamw(turn: OptimisationStep, decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(turn.network.parameters(), weight_decay=decay)


def _restore(statistics: Statistics) -> None:
    """Gives buffers back what they held: a batch that was left out, or is taken again, leaves no trace."""
    with torch.no_grad():
        for buffer, before in statistics:
            buffer.copy_(before)
