"""WebTorrent on Node: without WebRTC, as its trackers are not margay, and without uTP."""

from clients.client import LISTEN
from clients.prepared import PREPARED, Program


class WebTorrent(Program):
    """Made with WebTorrent."""

    name = "webtorrent"

    def _command(self, source):
        return ["node", PREPARED / "webtorrent/client.mjs", LISTEN, source, self._files]
