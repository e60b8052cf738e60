"""librqbit, the library of rqbit."""

from clients.client import LISTEN
from clients.prepared import PREPARED, Program


class Rqbit(Program):
    """Made with librqbit. It never says `stopped` (9.1.0, seen on the wire)."""

    name = "rqbit"
    says_stopped = ()

    def _command(self, source):
        return [PREPARED / "rqbit/debug/rqbit-client", f"[::]:{LISTEN}", source, self._files]
