"""The library under qBittorrent and Deluge, in two versions."""

import pathlib
import sys

from clients.client import LISTEN
from clients.prepared import PREPARED, Program


class Libtorrent(Program):
    """What Debian has, 2.0. The torrent is removed before its session ends: a session that just ends says
    `stopped` over HTTP, but not over UDP (2.0.8, seen on the wire)."""

    name = "libtorrent"
    prints_warnings = True
    # One over UDP comes first, wherever it is in the torrent.
    tiers = (("udp", "ipv4"), ("udp", "ipv6"))
    _python = sys.executable

    def _command(self, source):
        script = pathlib.Path(__file__).parent.with_name("libtorrent_client.py")
        addresses = ",".join(self._network.at(self._host, LISTEN))
        return [self._python, script, addresses, source, self._files]


class NewLibtorrent(Libtorrent):
    """What PyPI has, 2.1."""

    name = "libtorrent-2.1"
    _python = PREPARED / "libtorrent-2.1.1/bin/python"
