"""lftp, a program for FTP and HTTP that has a BitTorrent client as one of its commands."""

import os

from clients.client import LISTEN, Client


class Lftp(Client):
    """It runs at a terminal: with nobody to read orders from it goes to the background once it seeds, as another
    process. It says `stopped` when the torrent is removed, over HTTP alone (4.9.2, seen on the wire)."""

    name = "lftp"
    says_stopped = ("http",)
    # Over UDP it tries IPv6 first, where it does not announce, and goes on with IPv4 a minute later.
    tiers = (("http", "ipv6"),)

    def _command(self, source):
        self._terminal, inside = os.openpty()
        self._ends = (self._terminal, inside)
        # `setsid` makes it a terminal that Ctrl-C can be pressed at.
        at_terminal = ["sh", "-c", 'exec setsid --ctty "$@" <>"$0"', os.ttyname(inside)]
        return ["env", f"HOME={self._home}", "TERM=dumb", *at_terminal, "lftp", "-e", self._orders(source)]

    def _orders(self, source):
        """Its peer exchange cannot be switched off."""
        orders = [
            # What it says of its trackers; its status line needs a terminal to be shown at.
            "debug 4",
            "set torrent:use-dht no",
            f"set torrent:port-range {LISTEN}-{LISTEN}",
            f'torrent -O "{self._files}" "{source}"',
        ]
        return "; ".join(orders)

    def leave(self):
        """Removes the torrent. That is an order of a seeder; while it downloads it reads none."""
        self._ending = True
        self._type("kill all")

    def end(self):
        self._type("exit")
        super().end()

    def kill(self):
        super().kill()
        for end in self._ends:
            os.close(end)
        self._ends = ()

    def _type(self, line):
        os.write(self._terminal, line.encode() + b"\n")
