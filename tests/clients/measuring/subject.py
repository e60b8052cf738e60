"""What every client that is measured has in common: how it is started, and what its user can do."""

import http.client
import json
import pathlib
import re
import signal
import subprocess
import time

from clients.client import CONTROL

# How long a client may take until it takes orders, and an order until it is done.
START_SECONDS = 60
# Where `measure` leaves its certificate authority, and a store of certificates with it alone.
AUTHORITY = pathlib.Path("/run/authority")
# What a program is started by, so that it sees other certificates in place of the system's.
_MOUNT = 'mount --bind "$1" /etc/ssl/certs && shift && exec "$@"'


class Unable(Exception):
    """What this client has no way to do."""


class Subject:
    """What is measured: a client of `clients`, and what its user can do. Mixed in before it."""

    # How the client is told of a certificate authority of its user's: "" where there is no way but the system's.
    trusts_by = ""

    def __init__(self, network, host, source, folder, files, trust=""):
        """`source` is the path of a `.torrent`, or a magnet link; `trust` is "", "system" or "own"."""
        self._trust = trust
        super().__init__(network, host, source, folder, files)

    def _command(self, torrent):
        command = [str(part) for part in self._measured_command(torrent)]
        if self._trust == "own":
            command = self._trusting(command)
        if self._trust == "system":
            command = ["sh", "-c", _MOUNT, "sh", str(AUTHORITY / "system"), *command]
        return command

    def _measured_command(self, torrent):
        return super()._command(torrent)

    def _trusting(self, command):
        """The command with which the client trusts our authority."""
        raise Unable("no option for it")

    def after_start(self):
        """For a client that is given its torrent when it runs already."""

    def announce_now(self):
        """A user's "announce now"."""
        raise Unable("no such command")

    def announce_now_ignoring(self):
        """The same with a flag to pass over `min interval`."""
        raise Unable("no such command")

    def remove(self):
        """A user takes the torrent out; the client goes on."""
        raise Unable("no such command")

    def move_port(self):
        """A user has the client listen at another port."""
        raise Unable("not while it runs")

    def terminate(self):
        """What systemd and Docker send."""
        self._send(signal.SIGTERM)

    def interrupt(self):
        """What Ctrl-C sends."""
        self._send(signal.SIGINT)

    @property
    def ended(self):
        """Whether its process is gone."""
        return self._process.poll() is not None

    def _send(self, number):
        self._ending = True
        self._process.send_signal(number)

    def _ask_http(self, method, path, body=None, headers=()):
        """Asks the client over HTTP at its control port; status, head and body of the answer."""

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", CONTROL, timeout=10)
            try:
                connection.request(method, path, body, dict(headers))
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            finally:
                connection.close()

        return self._network.on(self._host, ask)

    def _until_taken(self, add):
        """Tries to add the torrent until the client takes it: it may not listen to orders yet."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return add()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _run(self, *command):
        """Runs a program on the client's host, and waits for it."""
        log = self._home / "command.log"
        process = self._network.start(self._host, command, log)
        try:
            done = process.wait(START_SECONDS) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            done = False
        if not done:
            raise OSError(f"{command[0]}: {log.read_text()[-300:]}")


def environment(command, **variables):
    """A command with variables of its environment."""
    return ["env", *(f"{name}={value}" for name, value in variables.items()), *command]


def npm_version(folder):
    """The version of a package of npm."""
    return json.loads((folder / "package.json").read_text())["version"]


def said_by(command, pattern):
    """What the pattern finds in what a program says of itself."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return re.search(pattern, said.stdout + said.stderr)[1]
