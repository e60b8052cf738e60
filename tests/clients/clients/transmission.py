"""Transmission's daemon."""

import json
import pathlib

from clients.client import CONTROL, LISTEN, Client
from waiting import Stopped, until


class Transmission(Client):
    """The torrent is removed before the daemon ends: a daemon that just ends says `stopped` over UDP, but
    not over HTTP (3.00, seen in its system calls).

    With uTP on, 3.00 did not try TCP within a minute where the peer has no uTP, as aria2 has
    none; so the leecher has it off. Peers on loopback it ignores altogether."""

    name = "transmission"
    # Of two at the same host and port it asks the one over UDP.
    tiers = (("udp", "ipv4"),)

    def __init__(self, network, host, source, folder, files):
        super().__init__(network, host, source, folder, files)
        if isinstance(source, str):
            # It watches for files alone.
            until("the daemon to take the link", 20, lambda: self._has_done("--add", source))

    def _command(self, source):
        watched = self._home / "watched"
        settings = {
            "dht-enabled": False,
            "lpd-enabled": False,
            "pex-enabled": False,
            "port-forwarding-enabled": False,
            "utp-enabled": self._host == "seeder",
            "peer-port": LISTEN,
            "download-dir": str(self._files),
            "preallocation": 0,
            "rpc-bind-address": "127.0.0.1",
            "rpc-port": CONTROL,
            "watch-dir-enabled": True,
            "watch-dir": str(watched),
        }
        (self._home / "settings.json").write_text(json.dumps(settings))
        watched.mkdir(exist_ok=True)
        if isinstance(source, pathlib.Path):
            (watched / source.name).write_bytes(source.read_bytes())
        return ["transmission-daemon", "--foreground", "--config-dir", self._home]

    def leave(self):
        if not self._has_done("--torrent", "all", "--remove"):
            raise Stopped("transmission-remote: " + self._remote_log.read_text())

    def end(self):
        super().leave()
        super().end()

    def _has_done(self, *what):
        """Whether the daemon has done it."""
        command = ["transmission-remote", f"127.0.0.1:{CONTROL}", *what]
        return self._network.start(self._host, command, self._remote_log).wait(20) == 0

    @property
    def _remote_log(self):
        return self._home / "remote.log"
