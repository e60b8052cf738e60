"""margay on the host `tracker`, and what it says about a swarm when other hosts ask."""

import dataclasses
import functools
import http.client
import os
import re
import socket
import struct
import urllib.parse

import torrent as torrents
from waiting import Stopped, until

PORT = 6969
HTTPS_PORT = 6943
CONTROL = ("127.0.0.1", 6980)
# An answer takes milliseconds; but the machine may be busy with something else.
ANSWER_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Swarm:
    """The counts of a scrape."""

    seeders: int
    leechers: int
    snatches: int


class Tracker:
    """A running margay with two cores, on each address of its host, over UDP, HTTP and HTTPS."""

    def __init__(self, network, authority, program, folder, options=()):
        self._network = network
        self.log = folder / "margay.log"
        control = "%s:%d" % CONTROL
        command = [program, "--cores", 2, "--control", control, "--data", folder / "margay-data", *options]
        for address in network.at("tracker", PORT):
            command += ["--udp", address, "--http", address]
        for address in network.at("tracker", HTTPS_PORT):
            command += ["--https", address]
        command += ["--tls-certificate", authority.certificate, "--tls-key", authority.key]
        self._process = network.start("tracker", command, self.log)
        until("margay to be ready", 30, self._is_ready)

    def announce_url(self, protocol, passkey=None, by_address=False):
        """Where clients announce."""
        path = f"{passkey}/announce" if passkey else "announce"
        port = HTTPS_PORT if protocol == "https" else PORT
        at = self._network.at("tracker", port)[0] if by_address else f"{self._network.name('tracker')}:{port}"
        return f"{protocol}://{at}/{path}"

    def scrape(self, protocol, info_hash, passkey=None):
        """The counts of a swarm as the host `leecher` gets them. A passkey can be said over HTTP only."""
        if passkey:
            ask = functools.partial(scrape_http, passkey=passkey)
        else:
            ask = scrape_udp if protocol == "udp" else scrape_http
        address = self._network.addresses["tracker"][0]
        return self._network.on("leecher", lambda: ask(address, info_hash))

    def metric(self, name, **labels):
        """A metric, added up over the series that have these labels; as of a second ago."""
        page = self._network.on("tracker", lambda: get(*CONTROL, "/metrics").decode())
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        series = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", page, re.MULTILINE)
        return sum(
            float(value) for labels, value in series if set(wanted) <= set(labels.split(","))
        )

    def stop(self):
        """Ends it as an operator does; it has to end well."""
        self._process.terminate()
        status = self._process.wait(30)
        if status != 0:
            raise Stopped(f"margay ended with status {status}")

    def _is_ready(self):
        if self._process.poll() is not None:
            raise Stopped(f"margay ended with status {self._process.returncode}")
        try:
            return self._network.on("tracker", lambda: get(*CONTROL, "/health/ready")) is not None
        except OSError:
            return False


def get(host, port, path):
    """The body of an answer with status 200, or `None`."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else None
    finally:
        connection.close()


def scrape_http(address, info_hash, passkey=None):
    """Asks over HTTP (BEP 48)."""
    path = f"/{passkey}/scrape" if passkey else "/scrape"
    body = get(address, PORT, f"{path}?info_hash=" + urllib.parse.quote_from_bytes(info_hash))
    files = torrents.decode(body)[b"files"]
    counts = files.get(info_hash, {b"complete": 0, b"incomplete": 0, b"downloaded": 0})
    return Swarm(counts[b"complete"], counts[b"incomplete"], counts[b"downloaded"])


def scrape_udp(address, info_hash):
    """Asks over UDP (BEP 15)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as tracker:
        tracker.settimeout(ANSWER_SECONDS)
        tracker.connect((address, PORT))
        transaction = os.urandom(4)
        tracker.send(struct.pack(">QI4s", 0x417_2710_1980, 0, transaction))
        connection = _answer(tracker, 0, transaction)
        tracker.send(connection + struct.pack(">I4s20s", 2, transaction, info_hash))
        seeders, snatches, leechers = struct.unpack(">III", _answer(tracker, 2, transaction))
        return Swarm(seeders, leechers, snatches)


def _answer(tracker, action, transaction):
    reply = tracker.recv(2048)
    if reply[:8] != struct.pack(">I4s", action, transaction):
        raise OSError(f"an answer that does not fit: {reply!r}")
    return reply[8:]
