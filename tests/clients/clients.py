"""The clients: how each is started with one torrent and no way to peers but its tracker.

DHT, local peer discovery, peer exchange and port mapping are off everywhere, and the torrent is
private on top. Each client has its first and only announce to find peers: the tracker's interval is
the default of half an hour.
"""

import http.client
import json
import pathlib
import re
import signal
import sys

from waiting import Stopped

LISTEN = 6881
# Where the daemon of Transmission takes orders, and aria2 answers questions, on loopback.
CONTROL = 9091


class Client:
    """A running client with one torrent."""

    name = ""
    # What asks it to end.
    stop_signal = signal.SIGTERM

    def __init__(self, network, host, torrent, folder, files):
        """Downloads into the folder `files`, or seeds what is there; `torrent` is a path."""
        self._network = network
        self._host = host
        self._home = folder / host
        self._home.mkdir()
        self._files = files
        self._files.mkdir(exist_ok=True)
        self._ending = False
        self.log = folder / f"{host}-{self.name}.log"
        self._process = network.start(host, self._command(torrent), self.log)

    def _command(self, torrent):
        raise NotImplementedError

    def check_running(self):
        """Raises when the client has ended without being asked to."""
        status = self._process.poll()
        if status is not None and not self._ending:
            raise Stopped(f"{self.name} ended with status {status}")

    def leave(self):
        """Makes it leave the swarm: it tells its tracker, and may end."""
        self._ending = True
        self._process.send_signal(self.stop_signal)

    def end(self):
        """Makes it end after it has left, and waits until it has."""
        self._process.wait(30)

    def figures(self):
        """Bytes uploaded and downloaded, as the client itself says; after it has ended."""
        raise NotImplementedError

    def kill(self):
        """Ends it at once, without a word to the tracker."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Aria2(Client):
    """A download manager. On SIGINT it says `stopped` and ends."""

    name = "aria2"
    stop_signal = signal.SIGINT

    def _command(self, torrent):
        return [
            "aria2c",
            "--no-conf",
            f"--dir={self._files}",
            f"--listen-port={LISTEN}",
            # Its UDP tracker client works only while its DHT is on; the DHT is given an entry point
            # at which nobody answers.
            "--enable-dht=true",
            "--dht-entry-point=127.0.0.1:1",
            f"--dht-listen-port={LISTEN}",
            f"--dht-file-path={self._home}/dht.dat",
            "--enable-dht6=false",
            # Its own resolver does not look for IPv6 addresses.
            "--async-dns=false",
            "--enable-peer-exchange=false",
            "--bt-enable-lpd=false",
            "--check-integrity=true",
            "--file-allocation=none",
            "--seed-ratio=0.0",
            "--seed-time=10",
            "--enable-color=false",
            "--summary-interval=0",
            "--console-log-level=info",
            "--enable-rpc=true",
            f"--rpc-listen-port={CONTROL}",
            torrent,
        ]

    def leave(self):
        self._figures = self._network.on(self._host, self._ask_figures)
        super().leave()

    def figures(self):
        return self._figures

    def _ask_figures(self):
        """It does not say what it has downloaded, but what it has; a seeder has had it before."""
        keys = ["uploadLength", "completedLength"]
        call = {"jsonrpc": "2.0", "id": 1, "method": "aria2.tellActive", "params": [keys]}
        connection = http.client.HTTPConnection("127.0.0.1", CONTROL, timeout=5)
        connection.request("POST", "/jsonrpc", json.dumps(call))
        (download,) = json.loads(connection.getresponse().read())["result"]
        connection.close()
        completed = int(download["completedLength"]) if self._host == "leecher" else 0
        return int(download["uploadLength"]), completed


class Libtorrent(Client):
    """The library under qBittorrent and Deluge. The torrent is removed before its session ends: a
    session that just ends says `stopped` over HTTP, but not over UDP (2.0.8, seen on the wire)."""

    name = "libtorrent"

    def _command(self, torrent):
        script = pathlib.Path(__file__).with_name("libtorrent_client.py")
        address = self._network.at(self._host, LISTEN)
        return [sys.executable, script, address, torrent, self._files]

    def figures(self):
        said = re.search(r"^figures (\d+) (\d+)$", self.log.read_text(), re.MULTILINE)
        return int(said[1]), int(said[2])


class Transmission(Client):
    """Its daemon. The torrent is stopped before the daemon ends: a daemon that just ends says
    `stopped` over UDP, but not over HTTP (3.00, seen in its system calls).

    With uTP on, 3.00 did not try TCP within a minute where the peer has no uTP, as aria2 has
    none; so the leecher has it off. Peers on loopback it ignores altogether."""

    name = "transmission"

    def _command(self, torrent):
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
        watched.mkdir()
        (watched / torrent.name).write_bytes(torrent.read_bytes())
        return ["transmission-daemon", "--foreground", "--config-dir", self._home]

    def leave(self):
        stop = ["transmission-remote", f"127.0.0.1:{CONTROL}", "--torrent", "all", "--stop"]
        asked = self._network.start(self._host, stop, self._home / "remote.log")
        if asked.wait(20) != 0:
            raise Stopped("transmission-remote: " + (self._home / "remote.log").read_text())

    def end(self):
        super().leave()
        super().end()


CLIENTS = {client.name: client for client in (Aria2, Libtorrent, Transmission)}
