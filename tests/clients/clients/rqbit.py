"""librqbit, the library of rqbit."""

import signal

from clients.client import LISTEN, Tells
from clients.prepared import PREPARED, Program


class Rqbit(Program):
    """Made with librqbit. It never says `stopped`; nor, over HTTP, `completed`, which over UDP it says in every
    announce of a seeder (9.1.0, seen on the wire)."""

    name = "rqbit"
    says_stopped = ()
    tells = Tells.NEXT_TIME
    tiers = (("http", "ipv6"), ("udp", "ipv4"), ("udp", "ipv6"))

    def announce(self):
        """Has it announce now, as it does when its user pauses and resumes."""
        self._process.send_signal(signal.SIGUSR1)

    def _command(self, source):
        return [PREPARED / "rqbit/debug/rqbit-client", f"[::]:{LISTEN}", source, self._files]
