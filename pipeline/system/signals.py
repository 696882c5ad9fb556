"""Turns Ctrl-C and SIGTERM into a clean stop at the next finished step; a second one ends at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

GRACE_SECONDS = 10.0  # a batch system kills 30 s after SIGTERM


class Stopped(BaseException):
    """Somebody asked the run to stop; what is finished is kept. Not an Exception, so no stage swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class Stopper:
    """Remembers the request until a stage has finished its step.

    Why not at once: after a step the partial folder holds all that was computed. A stage that finishes no
    step within the grace is stopped wherever it is; the partial folder stays usable either way.
    """

    def __init__(self) -> None:
        self.requested: int | None = None

    def at_step(self) -> None:
        """Called when a step is finished; raises Stopped in the main thread when that was asked for."""
        if self.requested is not None and threading.current_thread() is threading.main_thread():
            raise Stopped(self.requested)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            os._exit(128 + number)  # nothing published is ever half done, so there is nothing to clean
        self.requested = number
        os.write(2, b"stopping after this step; once more stops at once\n")
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    def _end_grace(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            raise Stopped(self.requested)

    @contextlib.contextmanager
    def armed(self) -> Iterator["Stopper"]:
        """Handles the signals inside; puts the former handlers back."""
        handlers = {signal.SIGINT: self._ask, signal.SIGTERM: self._ask, signal.SIGALRM: self._end_grace}
        former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield self
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in former.items():
                signal.signal(number, handler)
