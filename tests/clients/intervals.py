"""When a client comes again."""

import time

from story import COUNT_SECONDS, Story
from waiting import Stopped, until

# No client here takes a shorter one as it is.
INTERVAL_SECONDS = 600


class Interval(Story):
    """A seeder comes again when the interval that it was answered is over, not at the half of it that is the least that
    the tracker answers anybody."""

    word = "interval: "

    def play(self):
        self._start(self._case.seeder, "seeder")
        until("the first announce", COUNT_SECONDS, lambda: self._announces() == 1)
        start = time.monotonic()
        until("the second announce", INTERVAL_SECONDS + COUNT_SECONDS, lambda: self._announces() == 2)
        waited = time.monotonic() - start
        if waited < 0.9 * INTERVAL_SECONDS:
            raise Stopped(f"it came after {waited:.0f} s, and was told to come after {INTERVAL_SECONDS} s")
        self._tracker.stop()
        return f"it came after {waited:.0f} s"

    def _options(self, number):
        return ("--interval", INTERVAL_SECONDS, "--interval-min", INTERVAL_SECONDS // 2, "--interval-jitter", "0")

    def _announces(self):
        self._check_running()
        return self._tracker.metric("margay_announces_total")
