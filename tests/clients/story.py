"""What happens in a case."""

import torrent as torrents
from clients import CLIENTS
from network import Network
from tracker import Swarm, Tracker
from waiting import Stopped, until

# From what a client does to the tracker's count of it.
COUNT_SECONDS = 60


class Story:
    """Three hosts with a tracker and a torrent, and what happens on them."""

    # What the case is called, before its clients.
    word = ""
    # Whether the torrent is a private one.
    private_torrent = True

    def __init__(self, number, case, authority, program, folder):
        self._case = case
        self._folder = folder
        self._network = Network(number, case.family, case.scope)
        self._torrent = torrents.make(folder, number, self.private_torrent)
        self._content = folder / "content"
        self._downloads = folder / "downloads"
        self._tracker = Tracker(self._network, authority, program, folder, self._options(number))
        self._clients = []

    def play(self):
        """What happens; says how it went."""
        raise NotImplementedError

    def clean_up(self):
        for client in self._clients:
            client.kill()

    def _options(self, number):
        """More options of the tracker."""
        return ()

    def _passkey(self, host):
        """What is in a client's announce URL to tell who it is, or `None`."""
        return None

    def _announce_urls(self, host):
        """Where a client announces, one URL a tier."""
        return [self._tracker.announce_url(self._case.protocol, self._passkey(host))]

    def _source(self, host, torrent):
        """What a client opens: the path of a `.torrent`, or a magnet link."""
        path = self._folder / f"{host}.torrent"
        torrent.write(path, *self._announce_urls(host))
        return path

    def _start(self, client, host, torrent=None, files=None):
        """Starts a client, with what the host is to seed or where it is to download to."""
        source = self._source(host, torrent or self._torrent)
        files = files or (self._downloads if host == "leecher" else self._content)
        client = CLIENTS[client](self._network, host, source, self._folder, files)
        self._clients.append(client)
        return client

    def _leave(self, client, before):
        """Makes a client leave a swarm with these counts and end. Says what the counts are then."""
        client.leave()
        gone = self._case.carrier in client.says_stopped
        after = Swarm(before.seeders - gone, before.leechers, before.snatches)
        self._counted(f"the `stopped` of {client.name}" if gone else "the same counts", after)
        client.end()
        self._clients.remove(client)
        return after

    def _scrape(self, torrent):
        return self._tracker.scrape(self._case.protocol, torrent.info_hash)

    def _check_running(self):
        for client in self._clients:
            client.check_running()

    def _counted(self, what, expected, torrent=None):
        """Waits until a scrape says so."""
        found = None

        def holds():
            nonlocal found
            self._check_running()
            found = self._scrape(torrent or self._torrent)
            return found == expected

        try:
            until(what, COUNT_SECONDS, holds)
        except Stopped as late:
            raise Stopped(f"{late}: the scrape says {found}, not {expected}") from None

    def _announced(self, times, **labels):
        """Waits until so many announces have come."""

        def holds():
            self._check_running()
            return self._tracker.metric("margay_announces_total", **labels) >= times

        until(f"{times} announces {' '.join(labels.values())}", COUNT_SECONDS, holds)
