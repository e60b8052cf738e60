"""What happens in a case."""

import time

import torrent as torrents
from clients import CLIENTS
from network import Network
from tracker import Swarm, Tracker
from waiting import Stopped, until

DOWNLOAD_SECONDS = 60
# From what a client does to the tracker's count of it.
COUNT_SECONDS = 30
# aria2 tries every 10 seconds.
SILENCE_SECONDS = 12


class Story:
    """Three hosts, and what happens on them."""

    def __init__(self, number, case, program, folder):
        self._case = case
        self._folder = folder
        self._network = Network(number, case.family, case.scope)
        self._torrent = torrents.make(folder, number)
        self._tracker = Tracker(self._network, program, folder, self._options(number))
        self._downloads = folder / "downloads"
        self._clients = []

    def download(self):
        """The leecher gets the file. Says how long it took."""
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
        self._counted("the leecher's `completed`", Swarm(2, 0, 1))
        for client, left in ((leecher, Swarm(1, 0, 1)), (seeder, Swarm(0, 0, 1))):
            client.leave()
            self._counted(f"the `stopped` of {client.name}", left)
            client.end()
        self._check_metrics()
        self._check_books(seeder, leecher)
        self._tracker.stop()
        return f"the file came in {took:.1f} s"

    def silence(self):
        """The leecher does not announce, as expected. Says why."""
        self._start(self._case.leecher, "leecher")
        time.sleep(SILENCE_SECONDS)
        self._check_running()
        if self._tracker.metric("margay_connects_total") > 0:
            raise Stopped(f"it does come to the tracker; take out: {self._case.cannot}")
        self._tracker.stop()
        return self._case.cannot

    def clean_up(self):
        for client in self._clients:
            client.kill()

    def _options(self, number):
        """More options of the tracker."""
        return []

    def _passkey(self, host):
        """What is in a client's announce URL to tell who it is, or `None`."""
        return None

    def _scrape(self):
        return self._tracker.scrape(self._case.protocol, self._torrent.info_hash)

    def _check_books(self, seeder, leecher):
        """What the tracker has noted of two clients that have ended."""

    def _start(self, client, host):
        files = self._downloads if host == "leecher" else self._folder / "content"
        path = self._folder / f"{host}.torrent"
        url = self._tracker.announce_url(self._case.protocol, self._passkey(host))
        self._torrent.write(path, url)
        client = CLIENTS[client](self._network, host, path, self._folder, files)
        self._clients.append(client)
        return client

    def _check_running(self):
        for client in self._clients:
            client.check_running()

    def _has_arrived(self):
        self._check_running()
        return self._torrent.is_complete_in(self._downloads)

    def _counted(self, what, expected):
        found = None

        def holds():
            nonlocal found
            self._check_running()
            found = self._scrape()
            return found == expected

        try:
            until(what, COUNT_SECONDS, holds)
        except Stopped as late:
            raise Stopped(f"{late}: the scrape says {found}, not {expected}") from None

    def _check_metrics(self):
        """All came the way they should, one snatch was counted, and nothing was refused."""
        time.sleep(1.5)  # Cores report once a second.
        metric = self._tracker.metric
        for protocol in ("udp", "http"):
            for family in ("ipv4", "ipv6"):
                announces = metric("margay_announces_total", protocol=protocol, family=family)
                wanted = (protocol, family) == (self._case.protocol, self._case.family)
                if (announces > 0) != wanted:
                    raise Stopped(f"{announces:.0f} announces over {protocol}, {family}")
        counted = metric("margay_snatches_total"), metric("margay_refusals_total")
        if counted != (1, 0):
            raise Stopped("the metrics count %d snatches and %d refusals" % counted)
