"""The questions: what a client is told, for how long it is watched, and what is read off."""

import dataclasses
import functools
import hashlib
import types
import typing

import torrent as torrents
from measuring import lan, reading
from measuring.observing import Planned, peers4, peers6
from measuring.script import (
    CLOSE,
    SILENCE,
    Answer,
    Script,
    always,
    failure,
    redirect,
    status,
    success,
)

# The fake peer and the real seeder.
PEER4, PEER6 = "198.51.100.11", "2001:db8:77::b"
# What is asked without `--long` takes no longer; aria2 comes every 120 s.
SHORT_SECONDS = 130
MINUTE = 60
# Infohashes of a magnet link, to see which bytes a client leaves as they are.
MARKS = {1: b"!\"#$&'()*+,-./:;<=>?", 2: b"@[\\]^_`{|}~abcXYZ019"}


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """One question."""

    name: str
    topic: str
    # What the row of the table says.
    row: str
    trackers: tuple
    read: typing.Callable
    # Seconds after the first announce; with `announces`, it ends when so many have come.
    seconds: float = SHORT_SECONDS
    announces: int = 0
    # "leecher", "seeder" or "magnet".
    role: str = "leecher"
    # (seconds after the first announce, method of the client).
    actions: tuple = ()
    # Whether it is asked of a client that has no such action, too.
    without_actions: bool = False
    # "", "fake" (takes connections) or "real" (a seeder).
    peer: str = ""
    trust: str = ""
    # More addresses: (host, "address/prefix length").
    addresses: tuple = ()
    torrent: typing.Callable = torrents.make

    @property
    def long(self):
        """Whether it is asked with `--long` only."""
        return self.seconds > SHORT_SECONDS


def one(protocol, *answers, host=lan.IPV4, path="/announce", **script):
    """A single tracker."""
    return (Planned(protocol, Script(answers or (success(),), **script), host, path),)


def hybrid(folder, number):
    """A hybrid torrent (BEP 52) of one block, which is its own hash tree."""
    content = bytes([number % 251]) * 16384
    (folder / "content").mkdir()
    (folder / "content/hybrid").write_bytes(content)
    digest = hashlib.sha256(content)
    info = {
        b"file tree": {b"hybrid": {b"": {b"length": len(content), b"pieces root": digest.digest()}}},
        b"length": len(content),
        b"meta version": 2,
        b"name": b"hybrid",
        b"piece length": len(content),
        b"pieces": hashlib.sha1(content).digest(),
    }
    return torrents.Torrent("hybrid", torrents.encode(info), digest.hexdigest())


# Without the flag of private torrents (BEP 27), by which clients may choose among trackers.
public = functools.partial(torrents.make, private=False)

QUIET = success(interval=1800)
TOLD = peers4(PEER4)


def _parameters():
    topic = "What it sends"
    http = one("http", QUIET)
    yield Question("parameters-http", topic, "keys in order, HTTP", http, reading.keys, 3)
    yield Question("start-http", topic, "first announce, HTTP", http, reading.start, 5)
    yield Question("start-udp", topic, "first announce, UDP", one("udp", QUIET), reading.start, 5)
    yield Question("headers", topic, "head of the request", http, reading.headers, 3)
    for part, marks in MARKS.items():
        yield Question(
            f"escaping-{part}", topic, f"left as they are of `{marks.decode()}`", http, reading.unescaped, 10,
            role="magnet", torrent=lambda folder, number, marks=marks: types.SimpleNamespace(info_hash=marks),
        )
    yield Question("hybrid", topic, "announces of a hybrid torrent", http, reading.hashes, 20, torrent=hybrid)
    for protocol in ("http", "udp"):
        name, trackers = protocol.upper(), one(protocol, QUIET)
        yield Question(
            f"magnet-{protocol}", topic, f"first announce of a magnet link, {name}", trackers, reading.start, 15,
            role="magnet",
        )
        yield Question(
            f"seeder-{protocol}", topic, f"start as a seeder, {name}", trackers, reading.events, 15, role="seeder"
        )
        told = one(protocol, success(interval=60, peers=TOLD))
        yield Question(
            f"download-{protocol}", topic, f"a download, {name}", told, reading.events, 75, peer="real"
        )
        for action, word in (("terminate", "SIGTERM"), ("interrupt", "SIGINT"), ("remove", "removal")):
            yield Question(
                f"{action}-{protocol}", topic, f"{word} of a seeder, {name}", trackers, reading.leaving(action), 60,
                role="seeder", actions=((20, action),),
            )
        silent = one(protocol, QUIET, stopped=SILENCE)
        yield Question(
            f"unanswered-{protocol}", topic, f"SIGINT of a seeder, `stopped` is not answered, {name}", silent,
            reading.leaving("interrupt"), 120, role="seeder", actions=((20, "interrupt"),),
        )
    yield Question(
        "keys-udp", topic, "keys over UDP", one("udp", success(interval=5)), reading.udp_keys, 100, announces=6
    )


def _failures():
    topic = "After a failure (seconds to the next announces)"
    refusals = {
        "failure": ("`failure reason` alone", failure()),
        "failure-interval-45": ("and `interval` 45, `min interval` 45", failure(interval=45, min_interval=45)),
        "failure-retry-never": ("and `retry in` never", failure(retry_in="never")),
        "status-503": ("HTTP 503", status(503, "Retry-After: 20")),
        "status-429": ("HTTP 429", status(429, "Retry-After: 20")),
        "status-404": ("HTTP 404 with a bencoded failure", dataclasses.replace(failure(), status=404)),
        "empty": ("200 with an empty body", Answer(body=b"")),
        "closed": ("connection closed", CLOSE),
        "silence-http": ("silence", SILENCE),
    }
    for name, (row, answer) in refusals.items():
        yield Question(name, topic, row, one("http", answer), reading.gaps)
        yield Question(f"{name}-long", topic, f"{row}, 40 min", one("http", answer), reading.gaps, 40 * MINUTE)
    udp = {
        "udp-error": ("UDP error to announces", {"answers": (failure(),)}),
        "udp-silence": ("UDP announces without an answer", {"answers": (SILENCE,)}),
        "udp-connect-silence": ("UDP connects without an answer", {"connects": (SILENCE,)}),
        "udp-connect-error": ("UDP error to connects", {"connects": (failure(),)}),
    }
    for name, (row, script) in udp.items():
        trackers = (Planned("udp", Script(**script)),)
        yield Question(name, topic, row, trackers, reading.datagrams)
        yield Question(f"{name}-long", topic, f"{row}, 15 min", trackers, reading.datagrams, 15 * MINUTE)


def _intervals():
    topic = "Intervals (seconds to the next announces)"
    cases = {
        "interval-45": ("`interval` 45", success(45)),
        "interval-45-min-90": ("`interval` 45, `min interval` 90", success(45, min_interval=90)),
        "interval-90-min-45": ("`interval` 90, `min interval` 45", success(90, min_interval=45)),
        "interval-missing": ("`interval` missing", success(None)),
    }
    for name, (row, answer) in cases.items():
        trackers = one("http", answer)
        yield Question(name, topic, f"{row}, seeder", trackers, reading.gaps, announces=4, role="seeder")
        for role in ("seeder", "leecher"):
            yield Question(
                f"{name}-long-{role}", topic, f"{row}, {role}, 21 min", trackers, reading.gaps, 21 * MINUTE,
                announces=3, role=role,
            )
    for role in ("seeder", "leecher"):
        yield Question(
            f"interval-700-min-400-{role}", topic, f"`interval` 700, `min interval` 400, {role}",
            one("http", success(700, min_interval=400)), reading.gaps, 15 * MINUTE, announces=3, role=role,
        )


def _now():
    topic = "A user's \"announce now\""
    for interval, least in ((400, 400), (400, 60)):
        for protocol in ("http", "udp"):
            for action, word in (("announce_now", ""), ("announce_now_ignoring", ", flag to ignore `min interval`")):
                if protocol == "udp" and (least == 60 or "ignoring" in action):
                    continue
                yield Question(
                    f"now-{interval}-{least}-{protocol}{'-ignoring' if 'ignoring' in action else ''}", topic,
                    f"{protocol.upper()}, `interval` {interval}, `min interval` {least}{word}",
                    one(protocol, success(interval, min_interval=least)), reading.now, 430, role="seeder",
                    actions=((10, action), (70, action)),
                )
    for least in (60, 400):
        yield Question(
            f"now-late-{least}", topic, f"HTTP, `interval` 400, `min interval` {least}, asked at 130 and 260",
            one("http", success(400, min_interval=least)), reading.now, 300, role="seeder",
            actions=((130, "announce_now"), (260, "announce_now")),
        )
    yield Question(
        "now-without", topic, "HTTP, `interval` 400 alone, asked at 10, 70, 130 and 260",
        one("http", success(400)), reading.now, 300, role="seeder",
        actions=((10, "announce_now"), (70, "announce_now"), (130, "announce_now"), (260, "announce_now")),
    )
    yield Question(
        "now-refused", topic, "after a failure, asked at 10 and 40 s", one("http", failure()), reading.now, 90,
        actions=((10, "announce_now"), (40, "announce_now")),
    )


def _answers():
    topic = "What it makes of an answer"
    entry = {b"ip": PEER4.encode(), b"port": 6881}
    plain = torrents.encode({b"interval": 1800, b"peers": TOLD})
    unsorted = b"d5:peers" + torrents.encode(TOLD) + b"8:intervali1800ee"
    cases = {
        "peers": ("`peers`, compact", success(peers=TOLD)),
        "peers-list": ("`peers`, a list without peer ids", success(peers=[entry])),
        "peers-7-bytes": ("`peers` of 7 bytes", success(peers=TOLD + b"x")),
        "peers-missing": ("`peers` and `peers6` missing", success(peers=None)),
        "peers6-alone": ("`peers6` alone", success(peers=None, peers6=peers6(PEER6))),
        "peers6-beside": ("`peers6` beside an empty `peers`", success(peers6=peers6(PEER6))),
        "chunked": ("chunked", dataclasses.replace(success(peers=TOLD), packing="chunked")),
        "gzip": ("gzip, not asked for", dataclasses.replace(success(peers=TOLD), packing="gzip")),
        "unsorted": ("keys out of order", Answer(body=unsorted)),
        "trailing": ("bytes behind the end", Answer(body=plain + b"xx")),
        "external-ip": ("`external ip` of another address", success(peers=TOLD, external_ip=b"\xcb\x00\x71\x05")),
    }
    for name, (row, answer) in cases.items():
        read = reading.external if name == "external-ip" else reading.used
        yield Question(name, topic, row, one("http", answer), read, 60, peer="fake")
    yield Question(
        "warning", topic, "`warning message`", one("http", success(45, warning_message="scripted warning")),
        reading.shown("scripted warning"), 60,
    )
    yield Question(
        "failure-shown", topic, "`failure reason`", one("http", failure("scripted reason")),
        reading.shown("scripted reason"), 30,
    )
    yield Question(
        "tracker-id", topic, "`tracker id` abc", one("http", success(45, tracker_id="abc")),
        reading.parameter("trackerid"), 60, announces=2, actions=((20, "announce_now"),),
        # Most come by themselves in time.
        without_actions=True,
    )
    for code in (301, 302):
        script = (redirect(code, "/moved/announce"), success(45), redirect(code, "/moved/announce"), success(45))
        yield Question(
            f"redirect-{code}", topic, f"{code}: paths asked", one("http", *script), reading.paths, 120, announces=4
        )
    yield Question(
        "kept", topic, "connections", one("http", success(10)), reading.connections, 100, announces=4
    )


def _families():
    topic = "Addresses"
    for protocol in ("http", "udp"):
        name = protocol.upper()
        yield Question(
            f"families-{protocol}", topic, f"A and AAAA, {name}", one(protocol, host=lan.BOTH), reading.families, 40
        )
        yield Question(
            f"lost6-{protocol}", topic, f"the AAAA leads nowhere, {name}", one(protocol, host=lan.LOST6),
            reading.families, 100,
        )
        for family, host, more in (
            ("4", lan.IPV4, "198.51.100.112/24"), ("6", lan.IPV6, "2001:db8:77::c2/64")
        ):
            yield Question(
                f"two-addresses-{family}-{protocol}", topic, f"two IPv{family} addresses, {name}",
                one(protocol, success(45), host=host), reading.sources, 60, addresses=(("leecher", more),),
            )
        yield Question(
            f"port-{protocol}", topic, f"listen port changed, {name}", one(protocol), reading.ports, 60,
            actions=((10, "move_port"),),
        )


def _trackers():
    topic = "Several trackers (seconds at which each was asked)"
    good = Script((success(60),))
    cases = {
        "first-refuses": ("first tier takes no connections", Script(listens=False)),
        "first-fails": ("first tier answers a failure", always(failure())),
        "first-silent": ("first tier is silent", always(SILENCE)),
        "tiers": ("both tiers good", good),
    }
    ask = functools.partial(Question, topic=topic, torrent=public)
    for name, (row, script) in cases.items():
        two = (Planned("http", script, tier=0), Planned("http", good, tier=1))
        yield ask(name, row=row, trackers=two, read=reading.by_tracker)
        yield ask(
            f"{name}-long", row=f"{row}, 15 min", trackers=two, read=reading.by_tracker, seconds=15 * MINUTE
        )
    two = (Planned("http", good, tier=0), Planned("http", good, tier=1))
    yield Question("tiers-private", topic, "both tiers good, private torrent", two, reading.by_tracker)
    two = (Planned("http", good), Planned("http", good))
    yield ask("one-tier", row="two in one tier", trackers=two, read=reading.by_tracker)
    for protocol in ("http", "udp"):
        quiet = Script((QUIET,))
        tiers = tuple(Planned(protocol, quiet, tier=at) for at in range(50))
        flat = tuple(Planned(protocol, quiet) for _ in range(50))
        silent = tuple(Planned(protocol, always(SILENCE, connects=(SILENCE,)), tier=at) for at in range(50))
        name = protocol.upper()
        ask_many = functools.partial(ask, read=reading.many_trackers)
        yield ask_many(f"fifty-tiers-{protocol}", row=f"50 tiers, all good, {name}", trackers=tiers)
        yield ask_many(f"fifty-flat-{protocol}", row=f"50 in one tier, {name}", trackers=flat)
        yield ask(
            f"fifty-silent-{protocol}", row=f"50 tiers, all silent, {name}", trackers=silent,
            read=reading.many_silent,
        )


def _https():
    topic = "HTTPS"
    for trust, row in (("", "a certificate of an unknown CA"), ("system", "its CA in the system's store"),
                       ("own", "its CA told to the client alone")):
        yield Question(
            f"https-{trust or 'unknown'}", topic, row, one("https", success(45)), reading.security, 60, announces=2,
            trust=trust,
        )
    yield Question(
        "https-kept", topic, "connections and resumption at short intervals", one("https", success(10)),
        reading.security, 100, announces=3, trust="system",
    )
    yield Question(
        "https-long", topic, "connections and resumption, 11 min", one("https", success(45)), reading.security,
        11 * MINUTE, announces=3, trust="system",
    )


def _udp():
    topic = "UDP"
    yield Question("udp-ids", topic, "age of connection ids", one("udp", success(40)), reading.datagrams)
    yield Question(
        "udp-path", topic, "`/abc/announce?x=1`", one("udp", path="/abc/announce?x=1"), reading.url_data, 10
    )
    long_path = "/" + "a" * 280 + "/end/announce"
    yield Question("udp-long-path", topic, "a path of 294 bytes", one("udp", path=long_path), reading.url_data, 10)


QUESTIONS = {
    question.name: question
    for part in (_parameters, _failures, _intervals, _now, _answers, _families, _trackers, _https, _udp)
    for question in part()
}
