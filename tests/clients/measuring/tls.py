"""A certificate authority of our own, and what the first message of a TLS client offers."""

import ssl
import struct
import subprocess

VERSIONS = {0x0301: "1.0", 0x0302: "1.1", 0x0303: "1.2", 0x0304: "1.3"}
_SERVER_NAME, _ALPN, _TICKET, _PSK, _VERSIONS = 0, 16, 35, 41, 43


def make_authority(folder, names, addresses):
    """Writes `ca.pem`, and `tracker.pem` with the certificate and key of a tracker of these names."""
    alternatives = ",".join([f"DNS:{name}" for name in names] + [f"IP:{of}" for of in addresses])
    _openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.pem -subj /CN=measuring "
        "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
    )
    _openssl(
        folder,
        "req -newkey rsa:2048 -nodes -keyout tracker.key -out tracker.csr "
        f"-subj /CN={names[0]} -addext subjectAltName={alternatives}",
    )
    _openssl(
        folder,
        "x509 -req -in tracker.csr -CA ca.pem -CAkey ca.key -days 30 -copy_extensions copyall "
        "-out tracker.crt",
    )
    chain = [(folder / part).read_text() for part in ("tracker.key", "tracker.crt")]
    (folder / "tracker.pem").write_text("".join(chain))
    return folder / "ca.pem"


def server_context(folder):
    """What a tracker with that certificate speaks: TLS 1.2 and 1.3, with tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / "tracker.pem")
    context.set_alpn_protocols(["http/1.1"])
    return context


def read_hello(data):
    """What a ClientHello (RFC 8446, section 4.1.2) offers, or `{}` where the bytes are none."""
    try:
        return _read_hello(data)
    except (IndexError, struct.error):
        return {}


def _read_hello(data):
    if data[0] != 22 or data[5] != 1:
        return {}
    at = 43  # Record and handshake heads, version, random.
    at += 1 + data[at]  # Session id.
    at += 2 + _number(data, at)  # Cipher suites.
    at += 1 + data[at]  # Compression.
    end = at + 2 + _number(data, at)
    at += 2
    offered = {"versions": [VERSIONS.get(_number(data, 9), "?")], "resumes": False}
    while at < end:
        kind, length = struct.unpack_from(">HH", data, at)
        _read_extension(offered, kind, data[at + 4 : at + 4 + length])
        at += 4 + length
    return offered


def _read_extension(offered, kind, content):
    if kind == _SERVER_NAME:
        offered["name"] = content[5:].decode(errors="replace")
    elif kind == _ALPN:
        at, offered["alpn"] = 2, []
        while at < len(content):
            offered["alpn"].append(content[at + 1 : at + 1 + content[at]].decode(errors="replace"))
            at += 1 + content[at]
    elif kind == _VERSIONS:
        numbers = [_number(content, at) for at in range(1, len(content), 2)]
        # GREASE values (RFC 8701) are no versions.
        offered["versions"] = [VERSIONS[of] for of in numbers if of in VERSIONS]
    elif kind == _PSK or (kind == _TICKET and content):
        offered["resumes"] = True


def _number(data, at):
    return struct.unpack_from(">H", data, at)[0]


def _openssl(folder, arguments):
    done = subprocess.run(["openssl", *arguments.split()], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"openssl {arguments}: {done.stderr.strip()}")
