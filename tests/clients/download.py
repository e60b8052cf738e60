"""A client downloads a file from another one, with a torrent file or a magnet link."""

import time

from clients import CLIENTS
from clients.client import Tells
from story import Story
from tracker import Swarm
from waiting import Stopped, until

DOWNLOAD_SECONDS = 120
# aria2 tries every 10 seconds.
SILENCE_SECONDS = 12


class Download(Story):
    """The leecher has one announce to find the seeder, and what it got is one download."""

    def play(self):
        return self._silence() if self._case.cannot else self._download()

    def _download(self):
        case = self._case
        if case.seeder_finds:
            leecher = self._start(case.leecher, "leecher")
            self._counted("the leecher's announce", Swarm(0, 1, 0))
            seeder = self._start(case.seeder, "seeder")
        else:
            seeder = self._start(case.seeder, "seeder")
            self._counted("the seeder's announce", Swarm(1, 0, 0))
            leecher = self._start(case.leecher, "leecher")
        took = until("the file to arrive", DOWNLOAD_SECONDS, self._has_arrived)
        both = self._completed(leecher)
        self._leave(seeder, self._leave(leecher, both))
        self._check_metrics(both.snatches)
        self._check_books(seeder, leecher)
        self._tracker.stop()
        return f"the file came in {took:.1f} s"

    def _silence(self):
        """The leecher does not announce, as expected. Says why."""
        self._start(self._case.leecher, "leecher")
        time.sleep(SILENCE_SECONDS)
        self._check_running()
        if self._tracker.metric("margay_announces_total") > 0:
            raise Stopped(f"it does announce; take out: {self._case.cannot}")
        self._tracker.stop()
        return self._case.cannot

    def _has_arrived(self):
        self._check_running()
        return self._torrent.is_complete_in(self._downloads)

    def _completed(self, leecher, downloads=1):
        """Waits until the tracker knows that the leecher has the file, and has counted so many downloads. Says what the
        counts are, or will be when the leecher has said it."""
        both = Swarm(2, 0, downloads)
        leecher.settle()
        if leecher.tells is Tells.NEXT_TIME:
            leecher.announce()
        if leecher.tells is not Tells.ON_LEAVING:
            self._counted("the leecher's download", both)
        return both

    def _check_metrics(self, snatches):
        """All came the way they should, so many snatches were counted, and nothing was refused."""
        time.sleep(1.5)  # Cores report once a second.
        metric = self._tracker.metric
        for protocol in ("udp", "http"):
            for family in ("ipv4", "ipv6"):
                announces = metric("margay_announces_total", protocol=protocol, family=family)
                wanted = (protocol, family) == (self._case.carrier, self._case.family)
                if (announces > 0) != wanted:
                    raise Stopped(f"{announces:.0f} announces over {protocol}, {family}")
        if (metric("margay_tls_handshakes_total") > 0) != (self._case.protocol == "https"):
            raise Stopped("TLS was spoken, or not, and should not have been")
        counted = metric("margay_snatches_total"), metric("margay_refusals_total")
        if counted != (snatches, 0):
            raise Stopped("the metrics count %d snatches and %d refusals" % counted)

    def _check_books(self, seeder, leecher):
        """What the tracker has noted of two clients that have ended."""


class Magnet(Download):
    """The leecher has a magnet link: it has to find the seeder before it knows how much is left, and many say then
    that nothing is."""

    word = "magnet: "
    private_torrent = False

    def _source(self, host, torrent):
        if host == "leecher":
            return torrent.magnet(*self._announce_urls(host))
        return super()._source(host, torrent)


class ComesBack(Download):
    """The leecher comes back as a seeder, with the file in another folder: that is no download. Then it comes back without
    a part of the file, and downloads that: to a tracker that knows no users this is a leecher which completes."""

    word = "comes back: "

    def _download(self):
        case = self._case
        seeder = self._start(case.seeder, "seeder")
        self._counted("the seeder's announce", Swarm(1, 0, 0))
        self._come(1)
        moved = self._downloads.rename(self._folder / "moved")
        self._downloads = moved
        self._come(1)
        self._torrent.damage(moved)
        self._come(2)
        there = 1 if case.carrier in CLIENTS[case.leecher].says_stopped else 2
        self._leave(seeder, Swarm(there, 0, 2))
        self._check_metrics(2)
        self._tracker.stop()
        return "two downloads were counted"

    def _come(self, downloads):
        """The leecher comes with what is there, gets what is missing, and goes. So many downloads are counted then."""
        leecher = self._start(self._case.leecher, "leecher")
        until("the file to be there", DOWNLOAD_SECONDS, self._has_arrived)
        self._leave(leecher, self._completed(leecher, downloads))
