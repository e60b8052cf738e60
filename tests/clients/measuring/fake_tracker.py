"""A tracker that answers from a script and writes down each request, over HTTP, HTTPS or UDP, on both
families."""

import contextlib
import dataclasses
import socket
import struct
import threading
import time
import urllib.parse

from measuring.script import success
from measuring.tls import read_hello

_MAGIC = 0x417_2710_1980
_EVENTS = {0: "", 1: "completed", 2: "started", 3: "stopped", 4: "paused"}
_HEAD_BYTES_MAX = 64 * 1024
# A client that floods is no longer written down from here on.
_REQUESTS_MAX = 50_000


@dataclasses.dataclass
class Request:
    """One request, as it came."""

    # Seconds of the monotonic clock.
    at: float
    tracker: str
    protocol: str
    # "announce", "scrape", "connect" or "other".
    what: str
    source: tuple
    path: str = ""
    # Names and values in the order and spelling of the wire; over UDP the fields of BEP 15.
    parameters: list = dataclasses.field(default_factory=list)
    headers: list = dataclasses.field(default_factory=list)
    # Which connection of this tracker, and which request on it, both from 0.
    connection: int = 0
    on_connection: int = 0
    tls: dict = dataclasses.field(default_factory=dict)
    # What stood behind the 98 bytes of a UDP announce (BEP 41).
    options: bytes = b""
    connection_id: bytes = b""
    transaction: bytes = b""
    # When the client closed a connection on which it got no answer.
    gave_up: float | None = None

    def get(self, name):
        """The value of a parameter as it stood on the wire, or `None`."""
        return dict(self.parameters).get(name)

    @property
    def event(self):
        """The event of an announce; "" for a regular one."""
        event = self.get("event") or ""
        return "" if event == "empty" else event

    @property
    def info_hash(self):
        """The 20 bytes, or `None`."""
        value = self.get("info_hash")
        return urllib.parse.unquote_to_bytes(value) if value else None

    @property
    def ipv6(self):
        """Whether it came over IPv6."""
        return ":" in self.source[0]

    def header(self, name):
        """A line of the head, or `None`."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class FakeTracker:
    """One tracker at one port of the host `tracker`. `protocol` is http, https or udp."""

    def __init__(self, network, name, protocol, port, script, context=None):
        self.name = name
        self.protocol = protocol
        self.port = port
        # Requests in the order of their arrival. Threads append; a reader copies.
        self.requests = []
        # Errors of TLS, with their time: a client that does not trust the certificate is seen here alone.
        self.broken = []
        # What was offered in handshakes that went well, as the tracker sees it.
        self.handshakes = []
        self._script = script
        self._context = context
        self._announces = 0
        self._connects = 0
        self._connections = 0
        self._lock = threading.Lock()
        self._sockets = []
        if script.listens:
            network.on("tracker", self._open)

    def close(self):
        """Closes the listeners; what is open ends with the process."""
        for listener in self._sockets:
            listener.close()

    def _open(self):
        kind = socket.SOCK_DGRAM if self.protocol == "udp" else socket.SOCK_STREAM
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = socket.socket(family, kind)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address, self.port))
            work = self._serve_udp
            if kind == socket.SOCK_STREAM:
                listener.listen(512)
                work = self._accept
            self._sockets.append(listener)
            threading.Thread(target=work, args=(listener,), daemon=True).start()

    def _note(self, request):
        if len(self.requests) < _REQUESTS_MAX:
            self.requests.append(request)
        return request

    def _answer(self, request):
        """What the script has for an announce."""
        if request.event == "stopped":
            return self._script.stopped
        with self._lock:
            number, self._announces = self._announces, self._announces + 1
        return self._script.at(number)

    # HTTP and HTTPS.

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                accepted, source = listener.accept()
                with self._lock:
                    number, self._connections = self._connections, self._connections + 1
                work = threading.Thread(target=self._serve, args=(accepted, source, number), daemon=True)
                work.start()

    def _serve(self, accepted, source, number):
        tls = {}
        try:
            if self._context:
                accepted, tls = self._shake_hands(accepted)
            self._serve_requests(accepted, source, number, tls)
        except OSError:
            # A client may go at any time.
            pass
        finally:
            accepted.close()

    def _shake_hands(self, accepted):
        """The connection inside of TLS, and what the client offered and got."""
        accepted.settimeout(30)
        hello = read_hello(accepted.recv(16 * 1024, socket.MSG_PEEK))
        try:
            inside = self._context.wrap_socket(accepted, server_side=True)
        except OSError as error:
            why = getattr(error, "reason", None) or str(error)
            self.broken.append((time.monotonic(), why, hello))
            raise ConnectionError(why) from None
        self.handshakes.append(hello)
        hello["used"] = inside.version().removeprefix("TLSv")
        hello["resumed"] = inside.session_reused
        inside.settimeout(None)
        return inside, hello

    def _serve_requests(self, accepted, source, number, tls):
        rest = b""
        for on_connection in range(_REQUESTS_MAX):
            head, rest = _read_head(accepted, rest)
            if head is None:
                return
            request = self._read_http(head, source, tls)
            request.connection, request.on_connection = number, on_connection
            self._note(request)
            keep = _keeps(head, request)
            if not self._answer_http(accepted, request, keep) or not keep:
                return

    def _read_http(self, head, source, tls):
        first, *lines = head.decode("latin-1").split("\r\n")
        target = first.split(" ")[1] if first.count(" ") >= 2 else ""
        path, _, query = target.partition("?")
        pairs = [pair.partition("=") for pair in query.split("&") if pair]
        last = path.rsplit("/", 1)[-1]
        what = next((of for of in ("announce", "scrape") if last.startswith(of)), "other")
        headers = [tuple(line.split(": ", 1)) for line in lines if ": " in line]
        return Request(
            at=time.monotonic(),
            tracker=self.name,
            protocol=self.protocol,
            what=what,
            source=source[:2],
            path=target,
            parameters=[(name, value) for name, _, value in pairs],
            headers=headers,
            tls=tls,
        )

    def _answer_http(self, accepted, request, keep):
        """Answers; says whether the connection may go on."""
        if request.what == "scrape":
            counts = {b"complete": 0, b"incomplete": 1, b"downloaded": 0}
            answer = dataclasses.replace(success(), fields={b"files": {request.info_hash: counts}})
        elif request.what == "announce":
            answer = self._answer(request)
        else:
            answer = dataclasses.replace(success(), status=404, body=b"")
        if answer.silence:
            while accepted.recv(4096):
                pass
            request.gave_up = time.monotonic()
        if answer.silence or answer.close:
            return False
        accepted.sendall(answer.http(keep))
        return True

    # UDP.

    def _serve_udp(self, listener):
        # A socket that is closed ends the wait within a second.
        listener.settimeout(1)
        with contextlib.suppress(OSError):
            while listener.fileno() >= 0:
                try:
                    datagram, source = listener.recvfrom(4096)
                except TimeoutError:
                    continue
                answer = self._answer_udp(datagram, source)
                if answer:
                    listener.sendto(answer, source)

    def _answer_udp(self, datagram, source):
        if len(datagram) < 16:
            return None
        connection_id, action, transaction = datagram[:8], datagram[8:12], datagram[12:16]
        request = Request(time.monotonic(), self.name, "udp", "other", source[:2])
        request.connection_id, request.transaction = connection_id, transaction
        self._note(request)
        if action == b"\0\0\0\0" and connection_id == struct.pack(">Q", _MAGIC):
            return self._answer_connect(request)
        if action == b"\0\0\0\1" and len(datagram) >= 98:
            return self._answer_announce(request, datagram)
        if action == b"\0\0\0\2":
            request.what = "scrape"
            hashes = (len(datagram) - 16) // 20
            request.parameters = [("hashes", str(hashes))]
            return action + transaction + struct.pack(">III", 0, 0, 1) * hashes
        request.parameters = [("action", str(int.from_bytes(action)))]
        return None

    def _answer_connect(self, request):
        request.what = "connect"
        with self._lock:
            number, self._connects = self._connects, self._connects + 1
        answer = self._script.at_connect(number)
        if answer.silence or answer.close:
            return None
        if b"failure reason" in answer.fields:
            return answer.udp(0, request.transaction, False)
        # The id tells when it was given, in seconds: whoever uses it later shows how old it is.
        return struct.pack(">I", 0) + request.transaction + struct.pack(">d", time.monotonic())

    def _answer_announce(self, request, datagram):
        request.what = "announce"
        request.parameters, request.options = _read_announce(datagram), datagram[98:]
        answer = self._answer(request)
        if answer.silence or answer.close:
            return None
        return answer.udp(1, request.transaction, request.ipv6)


def connection_id_age(request):
    """How many seconds before this request its connection id was given."""
    return request.at - struct.unpack(">d", request.connection_id)[0]


def _read_announce(datagram):
    info_hash, peer_id = datagram[16:36], datagram[36:56]
    downloaded, left, uploaded, event, ip, key, numwant, port = struct.unpack_from(">QQQIIIiH", datagram, 56)
    return [
        ("info_hash", urllib.parse.quote_from_bytes(info_hash)),
        ("peer_id", urllib.parse.quote_from_bytes(peer_id)),
        ("downloaded", str(downloaded)),
        ("left", str(left)),
        ("uploaded", str(uploaded)),
        ("event", _EVENTS.get(event, str(event))),
        ("ip", str(ip)),
        ("key", f"{key:08x}"),
        ("numwant", str(numwant)),
        ("port", str(port)),
    ]


def _read_head(accepted, data):
    """The head of the next request and what came behind it, or `None` at the end."""
    while b"\r\n\r\n" not in data:
        more = accepted.recv(8192)
        if not more or len(data) > _HEAD_BYTES_MAX:
            return None, b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _keeps(head, request):
    """Whether the client lets the connection go on."""
    said = (request.header("Connection") or "").lower()
    return said == "keep-alive" or (b"HTTP/1.1" in head.split(b"\r\n")[0] and said != "close")
