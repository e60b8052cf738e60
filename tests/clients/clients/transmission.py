"""Transmission's daemon."""

import json

from clients.client import CONTROL, LISTEN, Client
from waiting import Stopped


class Transmission(Client):
    """The torrent is removed before the daemon ends: a daemon that just ends says `stopped` over UDP, but
    not over HTTP (3.00, seen in its system calls).

    With uTP on, 3.00 did not try TCP within a minute where the peer has no uTP, as aria2 has
    none; so the leecher has it off. Peers on loopback it ignores altogether."""

    name = "transmission"

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
        if isinstance(source, str):
            (watched / "link.magnet").write_text(source)
        else:
            (watched / source.name).write_bytes(source.read_bytes())
        return ["transmission-daemon", "--foreground", "--config-dir", self._home]

    def leave(self):
        self._ask("--remove")

    def check_again(self):
        """Has it look at what is on the disk."""
        self._ask("--verify")

    def end(self):
        super().leave()
        super().end()

    def _ask(self, what):
        command = ["transmission-remote", f"127.0.0.1:{CONTROL}", "--torrent", "all", what]
        log = self._home / "remote.log"
        if self._network.start(self._host, command, log).wait(20) != 0:
            raise Stopped("transmission-remote: " + log.read_text())
