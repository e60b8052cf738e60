"""A client that has the file already, and downloads nothing."""

from clients import CLIENTS
from clients.client import Tells
from story import Story
from tracker import Swarm


class Starts(Story):
    """A seeder comes and goes three times, the second time from another folder, and at last with another torrent of the
    same file. Whatever it says, it has downloaded nothing."""

    word = "comes and goes: "

    def play(self):
        gone = Swarm(0 if self._says_stopped else 1, 0, 0)
        moved = self._folder / "moved"
        other = self._torrent.of_another_site()
        self._come_and_go(self._torrent, self._content, gone)
        self._content.rename(moved)
        for torrent in (self._torrent, self._torrent, other):
            self._come_and_go(torrent, moved, gone)
        for torrent in (self._torrent, other):
            self._counted("no download", gone, torrent)
        self._tracker.stop()
        return "nothing was counted"

    @property
    def _says_stopped(self):
        return self._case.protocol in CLIENTS[self._case.seeder].says_stopped

    def _come_and_go(self, torrent, files, gone):
        announces = self._tracker.metric("margay_announces_total")
        seeder = self._start(self._case.seeder, "seeder", torrent, files)
        self._announced(announces + 1)
        if seeder.tells is Tells.NEXT_TIME:
            # It may say next time what it has not said at first.
            seeder.announce()
            self._announced(announces + 2)
        self._counted("the seeder's announce, and no download", Swarm(1, 0, 0), torrent)
        seeder.leave()
        self._counted("the `stopped`", gone, torrent)
        seeder.end()
        self._clients.remove(seeder)


class Tiers(Story):
    """A seeder whose torrent has the same tracker in two tiers, over HTTP and over UDP, is one seeder."""

    word = "two tiers: "
    # Of a private torrent rqbit asks the first tracker alone.
    private_torrent = False

    def play(self):
        seeder = self._start(self._case.seeder, "seeder")
        for protocol, family in seeder.tiers:
            self._announced(1, protocol=protocol, family=family)
        self._counted("one seeder", Swarm(1, 0, 0))
        self._tracker.stop()
        return "it is one seeder, over " + " and ".join(map(" ".join, seeder.tiers))

    def _announce_urls(self, host):
        return [self._tracker.announce_url(protocol) for protocol in ("http", "udp")]
