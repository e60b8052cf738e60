"""librqbit, the library of rqbit."""

import signal

from clients.client import LISTEN, Tells
from clients.prepared import PREPARED, Program
from waiting import until


class Rqbit(Program):
    """Made with librqbit. It never says `stopped`; nor, over HTTP, `completed`, which over UDP it says in every
    announce of a seeder (9.1.0, seen on the wire)."""

    name = "rqbit"
    says_stopped = ()
    tells = Tells.NEXT_TIME
    tiers = (("http", "ipv6"), ("udp", "ipv4"), ("udp", "ipv6"))

    def announce(self):
        """Has it announce now, as it does when its user pauses and resumes."""
        until("rqbit to be ready", 30, lambda: self._times_ready() > self._before)
        self._process.send_signal(signal.SIGUSR1)

    def _times_ready(self):
        return self.log.read_text().count("ready\n") if self.log.exists() else 0

    def _command(self, source):
        # One that was there before has written into the same log.
        self._before = self._times_ready()
        return [PREPARED / "rqbit/debug/rqbit-client", f"[::]:{LISTEN}", source, self._files]
