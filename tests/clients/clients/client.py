"""What all clients have in common: a process on a host, with one torrent."""

import enum
import signal

from waiting import Stopped

LISTEN = 6881
# Where a client takes orders or answers questions, on loopback.
CONTROL = 9091


class Tells(enum.Enum):
    """When a client tells its tracker that it has all of the file."""

    AT_ONCE = enum.auto()
    # With its next regular announce; `announce` makes that come at once.
    NEXT_TIME = enum.auto()
    # So long after that no test waits for it, but when it leaves.
    ON_LEAVING = enum.auto()


class Client:
    """A running client with one torrent.

    It is started again, after it has ended, by making another one with the same host and folders: what it keeps for
    itself is kept in its home.
    """

    name = ""
    # What asks it to end.
    stop_signal = signal.SIGTERM
    # Protocols over which it says `stopped` when it leaves. Elsewhere it stays counted until the peer time-out.
    says_stopped = ("udp", "http")
    tells = Tells.AT_ONCE
    # Whether the `warning message` of an answer is in its log.
    prints_warnings = False
    # Over what it announces to a tracker of both families that its torrent has in two tiers, first over HTTP, then over
    # UDP.
    tiers = (("http", "ipv6"),)

    def __init__(self, network, host, source, folder, files):
        """Downloads into the folder `files`, or seeds what is there; `source` is the path of a `.torrent`, or a
        magnet link."""
        self._network = network
        self._host = host
        self._home = folder / f"{host}-{self.name}"
        self._home.mkdir(exist_ok=True)
        self._files = files
        self._files.mkdir(parents=True, exist_ok=True)
        self._ending = False
        self.log = folder / f"{host}-{self.name}.log"
        self._process = network.start(host, self._command(source), self.log)

    def _command(self, source):
        raise NotImplementedError

    def check_running(self):
        """Raises when the client has ended without being asked to."""
        status = self._process.poll()
        if status is not None and not self._ending:
            raise Stopped(f"{self.name} ended with status {status}")

    def settle(self):
        """Waits until it has done with a file that has arrived."""

    def leave(self):
        """Makes it leave the swarm: it tells its tracker, and may end."""
        self._ending = True
        self._process.send_signal(self.stop_signal)

    def end(self):
        """Makes it end after it has left, and waits until it has."""
        self._process.wait(30)

    def figures(self):
        """Bytes uploaded and downloaded, as the client itself says; after it has ended."""
        raise NotImplementedError

    def kill(self):
        """Ends it at once, without a word to the tracker."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
