"""What is read off an observation: each function returns the cell of a table."""

import hashlib
import re

from measuring.fake_tracker import connection_id_age

# Times of one moment: a client that asks two families or protocols at once.
TOGETHER_SECONDS = 1.0


def gaps(observed, tracker=None):
    """Seconds from each announce to the next, and how long it was quiet after the last."""
    times = [observed.after(request) for request in observed.announces(tracker)]
    if not times:
        return "no announce"
    between = [after - before for before, after in zip(times, times[1:])]
    if len(between) > 30:
        span = times[-1] - times[0]
        return f"{len(times)} announces in {span:.0f} s"
    quiet = observed.waited - times[-1]
    shown = [f"{gap:.0f}" if gap >= 10 else f"{gap:.1f}" for gap in between]
    if quiet >= 10:
        shown.append(f"quiet {quiet:.0f}")
    return ", ".join(shown)


def first(observed):
    """The first announce, or `None`."""
    return next(iter(observed.announces(stopped=True)), None)


def keys(observed):
    """The keys of the first announce in their order."""
    request = first(observed)
    return " ".join(name for name, _ in request.parameters) if request else "no announce"


def parameter(name):
    """Reads one parameter of all announces: each value once, in order."""

    def read(observed):
        values = [request.get(name) for request in observed.announces(stopped=True)]
        seen = list(dict.fromkeys("none" if value is None else value for value in values))
        return ", ".join(seen[:4]) + (f" … ({len(seen)} values)" if len(seen) > 4 else "") or "no announce"

    return read


def start(observed):
    """What the first announce says of the client's state."""
    request = first(observed)
    if not request:
        return "no announce"
    names = ("event", "left", "downloaded", "numwant", "key")
    said = {name: request.get(name) for name in names}
    return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


def events(observed):
    """Each announce with its time, event and counters."""
    lines = []
    for request in observed.announces(stopped=True):
        counters = f"left {request.get('left')}, down {request.get('downloaded')}"
        lines.append(f"{observed.after(request):.1f} {request.event or '–'} ({counters})")
    return "; ".join(lines[:12]) or "no announce"


def leaving(action):
    """Whether `stopped` came after an action, with what, and when the client had ended."""

    def read(observed):
        if action not in observed.marks:
            return f"ended by itself after {observed.ended_after or observed.waited:.0f} s, before that"
        acted = observed.marks[action][0]
        said = [
            f"stopped after {observed.after(request) - acted:.1f} s (numwant {request.get('numwant')},"
            f" left {request.get('left')}, down {request.get('downloaded')})"
            for request in observed.announces(stopped=True)
            if request.event == "stopped" and observed.after(request) >= acted - 0.1
        ]
        end = "runs on"
        if observed.ended_after:
            end = f"ended after {observed.ended_after - acted:.1f} s"
        return "; ".join([*(said or ["no `stopped`"]), end])

    return read


def now(observed):
    """When announces came after the first one, beside the times at which a user asked for them."""
    request = first(observed)
    if not request:
        return "no announce"
    base = observed.after(request)
    asked = [f"{at - base:.0f}" for marks in observed.marks.values() for at in marks]
    came = [f"{observed.after(of) - base:.1f}" for of in observed.announces()]
    return f"asked at {', '.join(asked)}; announces at {', '.join(came)} (watched {observed.waited - base:.0f} s)"


def used(observed):
    """Whether the peer of the answer was connected to, and the announces."""
    if observed.peers:
        return f"connects ({observed.peers[0][0]:.0f} s, {observed.peers[0][1]}); {gaps(observed)}"
    return f"peer not used; {gaps(observed)}"


def shown(text):
    """Whether a text is in what the client prints, and the announces."""

    def read(observed):
        lines = [line.strip() for line in observed.log.splitlines() if text in line]
        said = f"says: {lines[0][-110:]}" if lines else "not shown"
        return f"{said}; {gaps(observed)}"

    return read


def families(observed):
    """Over which family each announce came, and what came that is none."""
    came = [
        f"{observed.after(of):.1f} {'IPv6' if of.ipv6 else 'IPv4'}{said_else(of)}"
        for of in observed.requests
        if (of.what == "announce" and of.event != "stopped") or is_unknown(of)
    ]
    return ", ".join(came[:8]) or "no announce"


def is_unknown(request):
    """Whether it is a datagram that is none of BEP 15's requests."""
    return request.protocol == "udp" and request.what == "other"


def said_else(request):
    """What stands beside such a datagram."""
    return f" (no announce: action {request.get('action')})" if is_unknown(request) else ""


def sources(observed):
    """From which addresses announces and connects came."""
    count = {}
    for request in observed.announces(stopped=True):
        count[request.source[0]] = count.get(request.source[0], 0) + 1
    ports = {request.get("port") for request in observed.announces()}
    keys_ = {request.get("key") for request in observed.announces()}
    ids = {request.get("peer_id") for request in observed.announces()}
    found = ", ".join(f"{address} {times} times" for address, times in count.items())
    return f"{found or 'no announce'} (ports {len(ports)}, keys {len(keys_)}, peer ids {len(ids)})"


def paths(observed):
    """The path of each announce."""
    came = [of.path.split("?")[0] for of in observed.requests if of.protocol != "udp"]
    return ", ".join(came[:8]) or "no request"


def connections(observed):
    """Which connection each request came over, and what was said of keeping it."""
    came = [
        f"{observed.after(of):.0f}s {of.what} #{of.connection}.{of.on_connection}"
        for of in observed.requests
        if of.protocol != "udp"
    ]
    request = first(observed)
    said = (request.header("Connection") or "nothing") if request else "-"
    return f"says {said}: {', '.join(came[:8])}"


def headers(observed):
    """The lines of the head in their order."""
    request = first(observed)
    if not request:
        return "no announce"
    return "; ".join(f"{name}: {value}" for name, value in request.headers)


def security(observed):
    """Whether it announced over TLS, and what the handshakes looked like."""
    parts = []
    for request in observed.announces()[:3]:
        tls = request.tls
        parts.append(
            f"{observed.after(request):.0f}s #{request.connection}.{request.on_connection}"
            f" TLS {tls.get('used')} resumed={tls.get('resumed')}"
        )
    offer = next((of.tls for of in observed.announces()), None)
    if offer is None:
        offer = observed.broken[0][3] if observed.broken else {}
        why = observed.broken[0][2] if observed.broken else "nothing came"
        if observed.handshakes:
            offer, why = observed.handshakes[0], "closed after the handshake"
        return f"no announce: {why} {offer or ''}"
    parts.append(
        f"offers {'/'.join(offer.get('versions', []))}, name {offer.get('name', 'none')},"
        f" ALPN {' '.join(offer.get('alpn', [])) or 'none'}"
    )
    return "; ".join(parts)


def url_data(observed):
    """What stood behind the 98 bytes of a UDP announce."""
    request = first(observed)
    if not request:
        return "no announce"
    options = request.options
    kinds, at = [], 0
    while at < len(options):
        kind = options[at]
        if kind == 2 and at + 1 < len(options):
            length = options[at + 1]
            kinds.append(f"URL data of {length} bytes, ends {options[at + 2 : at + 2 + length][-12:]!r}")
            at += 2 + length
        else:
            kinds.append(f"option {kind}")
            at += 1
    return f"{len(options)} bytes: " + (", ".join(kinds) or "nothing")


def datagrams(observed):
    """Each datagram with its time."""
    came = []
    for request in observed.requests[:16]:
        line = f"{observed.after(request):.0f} {request.what}"
        if request.what == "announce":
            line += f" (id {connection_id_age(request):.0f} s old)"
        came.append(line)
    more = observed.requests[16:]
    if more:
        came.append(f"{len(more)} more until {observed.after(more[-1]):.0f}")
    return ", ".join(came) or "nothing"


def udp_keys(observed):
    """The key of each announce over UDP."""
    values = [request.get("key") for request in observed.announces()]
    return f"{len(set(values))} keys in {len(values)} announces: {', '.join(values[:4])}"


def by_tracker(observed):
    """For each tracker, when it was asked."""
    lines = []
    for name in sorted({of.tracker for of in observed.requests}, key=int):
        times = [f"{observed.after(of):.0f}" for of in observed.announces(name)]
        lines.append(f"tracker {name}: {', '.join(times[:8]) or 'no announce'}")
    return "; ".join(lines) or "nothing"


def many_trackers(observed):
    """Of many trackers: how many were asked, in which order, how many at a time."""
    started = [of for of in observed.announces() if of.event in ("started", "")]
    order = list(dict.fromkeys(int(of.tracker) for of in started))
    if not order:
        return "no announce"
    firsts = {}
    for request in observed.announces():
        firsts.setdefault(request.tracker, observed.after(request))
    times = sorted(firsts.values())
    rising = "in order" if order == sorted(order) else f"order {order[:8]} …"
    within = sum(time - times[0] <= TOGETHER_SECONDS for time in times)
    return f"{len(order)} asked, {rising}, {within} in the first second, the last after {times[-1] - times[0]:.1f} s"


def ports(observed):
    """The port that each announce says, and its event."""
    came = [
        f"{observed.after(of):.0f}s {of.get('port')} {of.event or '–'}"
        for of in observed.announces(stopped=True)
    ]
    moved = [f"{at:.0f}" for at in observed.marks.get("move_port", [])]
    return f"moved at {', '.join(moved) or '-'}; {', '.join(came[:8]) or 'no announce'}"


def unescaped(observed):
    """Which of the bytes of an infohash stand as they are, and the case of the others' digits."""
    request = first(observed)
    if not request:
        return "no announce"
    raw = request.get("info_hash")
    marks = re.sub(r"%..|[A-Za-z0-9]", "", raw)
    case = "upper" if re.search("%.?[A-F]", raw) else "lower"
    return f"`{marks}`, {case} case"


def hashes(observed):
    """Which infohashes were announced of a hybrid torrent, and with which keys."""
    info = observed.torrent.info
    names = {hashlib.sha1(info).digest(): "v1", hashlib.sha256(info).digest()[:20]: "v2"}
    came = [f"{names.get(of.info_hash, 'neither')} (key {of.get('key')})" for of in observed.announces()]
    return ", ".join(came) or "no announce"


def external(observed):
    """What became of an `external ip` of 203.0.113.5."""
    lines = [line.strip() for line in observed.log.splitlines() if "203.0.113.5" in line]
    said = f"says: {lines[0][-110:]}" if lines else "not shown"
    sent = [name for of in observed.announces() for name, value in of.parameters if "203.0.113.5" in value]
    return f"{said}; {used(observed)}{'; sent as ' + sent[0] if sent else ''}"


def many_silent(observed):
    """Of many trackers that do not answer: when each was first tried."""
    firsts = {}
    for request in observed.requests:
        firsts.setdefault(int(request.tracker), observed.after(request))
    if not firsts:
        return "nothing came"
    times = sorted(firsts.values())
    within = sum(time - times[0] <= TOGETHER_SECONDS for time in times)
    return f"{len(times)} tried, {within} in the first second, the last after {times[-1] - times[0]:.1f} s"
