"""One question put to one client: hosts, trackers, the client, and what came."""

import dataclasses
import json
import math
import socket
import struct
import threading
import time
import urllib.parse

import torrent as torrents
from measuring import fake_tracker, lan, tls
from measuring.script import Script
from measuring.subject import AUTHORITY, START_SECONDS, Unable
from measuring.subjects import SUBJECTS

FIRST_PORT = 7001
PEER_PORT = 6881
# For what is still under way when there was enough.
LAST_SECONDS = 2


@dataclasses.dataclass(frozen=True)
class Planned:
    """A tracker of a question."""

    protocol: str = "http"
    script: Script = Script()
    host: str = lan.IPV4
    path: str = "/announce"
    tier: int = 0


@dataclasses.dataclass
class Observed:
    """What came, with times in seconds after the client's start."""

    started: float
    requests: list
    broken: list
    peers: list
    marks: dict
    ended_after: float | None
    waited: float
    log: str
    torrent: object
    handshakes: list

    def announces(self, tracker=None, stopped=False):
        """Announces but `stopped` ones, which come only when asked for."""
        return [
            request
            for request in self.requests
            if request.what == "announce"
            and tracker in (None, request.tracker)
            and (stopped or request.event != "stopped")
        ]

    def after(self, request):
        """When a request came."""
        return request.at - self.started

    def dump(self, path):
        """Writes all of it as lines of JSON."""
        with open(path, "w") as file:
            for request in self.requests:
                line = dataclasses.asdict(request)
                line["at"] = round(self.after(request), 3)
                if request.gave_up:
                    line["gave_up"] = round(request.gave_up - self.started, 3)
                for name in ("options", "connection_id", "transaction"):
                    line[name] = line[name].hex()
                file.write(json.dumps(line) + "\n")
            more = {"marks": self.marks, "peers": self.peers, "broken": self.broken}
            more |= {"ended_after": self.ended_after, "waited": self.waited}
            file.write(json.dumps(more, default=str) + "\n")
            file.write(self.log[-200_000:])


class Observation:
    """Puts a question to a client."""

    def __init__(self, number, subject, question, folder, seconds):
        self._question = question
        self._folder = folder
        self._seconds = min(question.seconds, seconds)
        self._network = lan.Lan(number)
        for host, address in question.addresses:
            self._network.add_address(host, address)
        self._started = time.monotonic()
        self._peers = []
        self._marks = {}
        self._trackers = [self._open(at, planned) for at, planned in enumerate(question.trackers)]
        self._others = []
        self._torrent = question.torrent(folder, number)
        self._subject = subject
        self._client = None

    def run(self):
        """What came until there was enough, or the time was over."""
        if self._question.peer == "fake":
            self._network.on("seeder", self._listen_as_peer)
        if self._question.peer == "real":
            self._seed()
        host = "seeder" if self._question.role == "seeder" else "leecher"
        source = self._write(host)
        files = self._folder / ("content" if host == "seeder" else "downloads")
        self._started = time.monotonic()
        self._client = self._subject(
            self._network, host, source, self._folder, files, trust=self._question.trust
        )
        self._client.after_start()
        ended_after = self._watch()
        waited = time.monotonic() - self._started
        self.clean_up()
        return self._observed(ended_after, waited)

    def clean_up(self):
        """Ends what runs."""
        for client in (self._client, *self._others):
            if client:
                client.kill()
        for tracker in self._trackers:
            tracker.close()

    def _open(self, at, planned):
        context = tls.server_context(AUTHORITY) if planned.protocol == "https" else None
        return fake_tracker.FakeTracker(
            self._network, str(at + 1), planned.protocol, FIRST_PORT + at, planned.script, context
        )

    def _write(self, host):
        """The file or the magnet link that the client is given."""
        urls = [
            (planned.tier, f"{planned.protocol}://{planned.host}:{FIRST_PORT + at}{planned.path}")
            for at, planned in enumerate(self._question.trackers)
        ]
        if self._question.role == "magnet":
            return magnet(self._torrent.info_hash, [url for _, url in urls])
        path = self._folder / f"{host}.torrent"
        tiers = {}
        for tier, url in urls:
            tiers.setdefault(tier, []).append(url.encode())
        write_torrent(path, self._torrent, list(tiers.values()))
        return path

    def _watch(self):
        """Does what is planned at its times, until the end; when the client ended."""
        first = self._wait_for_first()
        actions = sorted(self._question.actions)
        enough = self._question.announces or math.inf
        while time.monotonic() < first + self._seconds:
            if actions and time.monotonic() >= first + actions[0][0]:
                self._do(actions.pop(0)[1])
            if self._client.ended:
                ended_after = time.monotonic() - self._started
                time.sleep(LAST_SECONDS)
                return ended_after
            if len(self._announces()) >= enough:
                time.sleep(LAST_SECONDS)
                return None
            time.sleep(0.1)
        return None

    def _wait_for_first(self):
        """When the first announce came; now, if there is none in time."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and not self._client.ended:
            announces = self._announces()
            if announces:
                return announces[0].at
            time.sleep(0.05)
        return time.monotonic()

    def _do(self, action):
        self._marks.setdefault(action, []).append(time.monotonic() - self._started)
        try:
            getattr(self._client, action)()
        except Unable:
            if not self._question.without_actions:
                raise

    def _announces(self):
        return [of for tracker in self._trackers for of in list(tracker.requests) if of.what == "announce"]

    def _observed(self, ended_after, waited):
        requests = [of for tracker in self._trackers for of in list(tracker.requests)]
        broken = [
            (tracker.name, round(at - self._started, 1), reason, offered)
            for tracker in self._trackers
            for at, reason, offered in tracker.broken
        ]
        return Observed(
            started=self._started,
            requests=sorted(requests, key=lambda request: request.at),
            broken=broken,
            peers=list(self._peers),
            marks=self._marks,
            ended_after=ended_after,
            waited=waited,
            log=self._client.log.read_text(errors="replace") if self._client else "",
            torrent=self._torrent,
            handshakes=[of for tracker in self._trackers for of in tracker.handshakes],
        )

    def _listen_as_peer(self):
        """A peer that takes connections, and says nothing."""
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, PEER_PORT))
            listener.listen(64)
            threading.Thread(target=self._take_peers, args=(listener,), daemon=True).start()

    def _take_peers(self, listener):
        open_ones = []
        while len(open_ones) < 200:
            accepted, source = listener.accept()
            open_ones.append(accepted)
            self._peers.append((round(time.monotonic() - self._started, 1), source[0]))

    def _seed(self):
        """A seeder that has the file and no tracker, for clients that are told of it."""
        path = self._folder / "untracked.torrent"
        write_torrent(path, self._torrent, [])
        folder = self._folder / "seed"
        folder.mkdir()
        (folder / "content").symlink_to(self._folder / "content")
        seeder = SUBJECTS["libtorrent"](self._network, "seeder", path, folder, self._folder / "content")
        self._others.append(seeder)


def peers4(*hosts):
    """Entries of `peers` (BEP 23) for hosts of the network."""
    return b"".join(socket.inet_aton(of) + struct.pack(">H", PEER_PORT) for of in hosts)


def peers6(*hosts):
    """Entries of `peers6` (BEP 7)."""
    return b"".join(socket.inet_pton(socket.AF_INET6, of) + struct.pack(">H", PEER_PORT) for of in hosts)


def magnet(info_hash, urls):
    """A magnet link (BEP 9) with any number of trackers."""
    trackers = "".join("&tr=" + urllib.parse.quote(url, safe="") for url in urls)
    return f"magnet:?xt=urn:btih:{info_hash.hex()}&dn=measured{trackers}"


def write_torrent(path, torrent, tiers):
    """A `.torrent` with these tiers of announce URLs (BEP 12)."""
    content = b"d"
    if tiers:
        content += b"8:announce" + torrents.encode(tiers[0][0])
    if sum(map(len, tiers)) > 1:
        content += b"13:announce-list" + torrents.encode(tiers)
    path.write_bytes(content + b"4:info" + torrent.info + b"e")
