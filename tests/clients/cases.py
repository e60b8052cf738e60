"""Which clients play which story, and what some of them cannot."""

import dataclasses

from asking import Curl
from clients import CLIENTS
from download import ComesBack, Download, Magnet
from intervals import Interval
from private import PrivateDownload, QuietRefusal
from seeding import Starts, Tiers

# What clients do not do, whatever the tracker does.
UNABLE = {
    ("aria2", "udp", "ipv6", "public"): "aria2 1.36 asks UDP trackers over IPv4 only",
    ("aria2", "udp", "ipv6", "private"): "aria2 1.36 asks UDP trackers over IPv4 only",
    ("webtorrent", "udp", "ipv6", "public"): "WebTorrent 3.0 asks UDP trackers over IPv4 only",
    ("webtorrent", "udp", "ipv6", "private"): "WebTorrent 3.0 asks UDP trackers over IPv4 only",
    ("lftp", "udp", "ipv6", "public"): "lftp 4.9 sends UDP trackers over IPv6 something that is no announce (BEP 15)",
    ("lftp", "udp", "ipv6", "private"): "lftp 4.9 sends UDP trackers over IPv6 something that is no announce (BEP 15)",
    ("transmission", "udp", "ipv6", "private"): (
        "Transmission 3.00 asks UDP trackers over IPv6 from global addresses (2000::/3) only"
    ),
}

# What clients of a private tracker do not do.
UNABLE_PRIVATE = {
    ("aria2", "udp"): "aria2 1.36 does not send the path of its announce URL over UDP (BEP 41)",
}

# Who each leecher downloads from: the first that is able to.
SEEDERS = {
    "aria2": ("transmission",),
    "lftp": ("libtorrent",),
    "libtorrent": ("aria2", "transmission", "libtorrent"),
    "transmission": ("libtorrent",),
    "libtorrent-2.1": ("webtorrent", "rqbit"),
    "rtorrent": ("libtorrent-2.1",),
    "rqbit": ("rtorrent",),
    # Not rqbit: WebTorrent begins with an encrypted handshake, which rqbit does not take, and may not try again.
    "webtorrent": ("rtorrent",),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A story with its clients, and how they ask the tracker."""

    story: type
    leecher: str | None
    seeder: str | None
    protocol: str
    family: str = "ipv4"
    scope: str = "public"
    # Whether it is left for the whole form of the run.
    whole: bool = False

    def __str__(self):
        clients = " from ".join(client for client in (self.leecher, self.seeder) if client)
        family = "ipv4 and ipv6" if self.family == "both" else self.family
        return f"{self.story.word}{clients} over {self.protocol}, {family}, {self.scope} addresses"

    @property
    def cannot(self):
        """Why the leecher will not get anywhere, or `None`. That is checked, too."""
        way = (self.leecher, self.protocol, self.family, self.scope)
        private = issubclass(self.story, PrivateDownload)
        return UNABLE.get(way) or (UNABLE_PRIVATE.get(way[:2]) if private else None)

    @property
    def seeder_finds(self):
        """Whether it is the seeder that finds the leecher. Transmission 3.00 and rTorrent 0.9.8 announce to UDP
        trackers over IPv6, but take each peer of 18 bytes in the answer for three of 6."""
        return self.leecher in ("transmission", "rtorrent") and (self.protocol, self.family) == ("udp", "ipv6")

    @property
    def carrier(self):
        """What the protocol is to the tracker's counts: HTTPS is HTTP."""
        return "http" if self.protocol == "https" else self.protocol

    def play(self, number, authority, program, folder):
        """What happens in the case; says how it went."""
        story = self.story(number, self, authority, program, folder)
        try:
            return story.play()
        finally:
            story.clean_up()


def cases():
    """All of them, also those of the whole form."""
    # What takes longest comes first.
    for seeder in ("aria2", "rtorrent", "rqbit"):
        yield Case(Interval, None, seeder, "http", whole=True)
    yield from private_downloads()
    yield from returns()
    yield from seeders()
    yield from magnets()
    yield from over_tls()
    yield from downloads()


def downloads():
    """Each leecher over each protocol and family, on addresses of both kinds. The short form leaves out what the newer
    of these clients do in another way as well."""
    for scope in ("public", "private"):
        for family in ("ipv4", "ipv6"):
            for protocol in ("udp", "http"):
                for leecher, seeders in SEEDERS.items():
                    way = (protocol, family, scope)
                    able = [seeder for seeder in seeders if (seeder, *way) not in UNABLE]
                    in_short = leecher in ("aria2", "libtorrent", "transmission") or (
                        scope == "public" and (family == "ipv4" or protocol == "http")
                    )
                    yield Case(Download, leecher, (able or seeders)[0], *way, whole=not in_short)


def over_tls():
    """Over HTTPS, with those that have libraries of their own for it: OpenSSL, GnuTLS, curl."""
    for family in ("ipv4", "ipv6"):
        yield Case(Download, "libtorrent", "aria2", "https", family)
        yield Case(Download, "aria2", "transmission", "https", family)
        yield Case(Download, "transmission", "libtorrent", "https", family)
        yield Case(Curl, None, None, "https", family)


def magnets():
    """Each client opens a link over each protocol; over IPv6 nothing else happens than over IPv4."""
    for family in ("ipv4", "ipv6"):
        for protocol in ("udp", "http"):
            for leecher in CLIENTS:
                seeder = "libtorrent" if leecher != "libtorrent" else "transmission"
                case = Case(Magnet, leecher, seeder, protocol, family, whole=family == "ipv6")
                # Who does not find the seeder is found by it, but takes nothing before it knows the torrent.
                if not case.cannot and not case.seeder_finds:
                    yield case


def returns():
    """Each client comes back with what it has downloaded; the protocol makes no difference but to rqbit."""
    for leecher in CLIENTS:
        seeder = "libtorrent" if leecher != "libtorrent" else "libtorrent-2.1"
        for protocol in ("udp", "http"):
            yield Case(ComesBack, leecher, seeder, protocol, whole=protocol == "http")


def seeders():
    """Each client as a seeder alone. The short form leaves out what is said in the same way over both protocols."""
    for seeder in CLIENTS:
        yield Case(Tiers, None, seeder, "http and udp", "both")
        yield Case(Starts, None, seeder, "udp")
        yield Case(Starts, None, seeder, "http", whole=seeder not in ("rqbit", "rtorrent", "webtorrent"))


def private_downloads():
    """At a private tracker."""
    for family in ("ipv4", "ipv6"):
        yield Case(PrivateDownload, "libtorrent", "libtorrent", "udp", family)
        yield Case(PrivateDownload, "libtorrent", "aria2", "http", family)
        yield Case(PrivateDownload, "aria2", "libtorrent", "http", family)
    yield Case(PrivateDownload, "aria2", "libtorrent", "udp")
    yield Case(PrivateDownload, "libtorrent-2.1", "libtorrent", "udp")
    yield Case(PrivateDownload, "rtorrent", "libtorrent-2.1", "http")
    yield Case(PrivateDownload, "rqbit", "rtorrent", "http")
    yield Case(PrivateDownload, "webtorrent", "libtorrent", "http")
    for leecher in ("aria2", "lftp", "libtorrent-2.1", "rtorrent", "rqbit"):
        # They are all silent for the same time; the short form has one that prints the reason and one that would ask.
        whole = leecher in ("lftp", "libtorrent-2.1", "rtorrent")
        yield Case(QuietRefusal, leecher, None, "http", whole=whole)
