"""What a scripted tracker answers: one [`Answer`] for each announce, over HTTP and UDP alike."""

import dataclasses
import gzip
import struct

import torrent as torrents


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer. What UDP has no place for is left out there."""

    # The bencoded dictionary; over UDP its interval, peers and failure reason.
    fields: dict = dataclasses.field(default_factory=dict)
    status: int = 200
    # More lines of the head of an HTTP answer.
    headers: tuple = ()
    # Bytes in place of the dictionary.
    body: bytes | None = None
    # "", "chunked" or "gzip".
    packing: str = ""
    # No answer, and the connection stays open.
    silence: bool = False
    # No answer, and the connection is closed.
    close: bool = False

    def http(self, keep):
        """Head and body of an HTTP answer."""
        body = torrents.encode(self.fields) if self.body is None else self.body
        head = [f"HTTP/1.1 {self.status} Scripted", "Content-Type: text/plain", *self.headers]
        head.append("Connection: " + ("keep-alive" if keep else "close"))
        if self.packing == "gzip":
            body = gzip.compress(body)
            head.append("Content-Encoding: gzip")
        if self.packing == "chunked":
            head.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            head.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*head, "", ""]).encode() + body

    def udp(self, action, transaction, ipv6):
        """The datagram of BEP 15 that says the same."""
        reason = self.fields.get(b"failure reason")
        if reason is not None:
            return struct.pack(">I", 3) + transaction + reason
        peers = self.fields.get(b"peers6" if ipv6 else b"peers", b"")
        interval = self.fields.get(b"interval", 1800) & 0xFFFF_FFFF
        return struct.pack(">I", action) + transaction + struct.pack(">III", interval, 0, 1) + peers


def _named(fields):
    """Field names as on the wire: bytes, with spaces."""
    wire = {}
    for name, value in fields.items():
        if value is not None:
            value = value.encode() if isinstance(value, str) else value
            wire[name.replace("_", " ").encode()] = value
    return wire


def success(interval=1800, **fields):
    """A success. `min_interval=…` is the field `min interval`; `peers=None` leaves the field out."""
    given = {"interval": interval, "peers": b"", **fields}
    return Answer(_named(given))


def failure(reason="scripted failure", **fields):
    """A failure in a 200, with more fields beside the reason."""
    return Answer(_named({"failure_reason": reason, **fields}))


def status(code, *headers, body=b""):
    """An HTTP status that is no 200."""
    return Answer(status=code, headers=headers, body=body)


def redirect(code, location):
    """A redirect to another path."""
    return status(code, f"Location: {location}")


SILENCE = Answer(silence=True)
CLOSE = Answer(close=True)


@dataclasses.dataclass(frozen=True)
class Script:
    """The n-th announce gets the n-th answer, and all further ones the last. `stopped` does not count
    and is answered with success, unless `stopped` says otherwise. `connects` is the same for UDP's
    connects; an answer with a failure reason is an error, any other success lets the client in."""

    answers: tuple = (success(),)
    connects: tuple = (success(),)
    stopped: Answer = success()
    # Whether anything listens at all.
    listens: bool = True

    def at(self, number):
        """The answer to an announce; the first has number 0."""
        return self.answers[min(number, len(self.answers) - 1)]

    def at_connect(self, number):
        """The answer to a connect; the first has number 0."""
        return self.connects[min(number, len(self.connects) - 1)]


def always(*answers, **more):
    """A script of these answers."""
    return Script(answers, **more)
