"""WebTorrent on Node: without WebRTC, as its trackers are not margay, and without uTP."""

from clients.client import LISTEN
from clients.prepared import PREPARED, Program


class WebTorrent(Program):
    """It says `completed` at each start as a seeder, beside `started` (3.0.21, seen on the wire)."""

    name = "webtorrent"
    tiers = (("http", "ipv6"), ("udp", "ipv4"))

    def _command(self, source):
        return ["node", PREPARED / "webtorrent/client.mjs", LISTEN, source, self._files]
