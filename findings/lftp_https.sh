#!/usr/bin/env bash
# lftp 4.9.2 (Debian 4.9.2-2+b1): a tracker whose certificate it does not trust gets the announce all the same.
#
# Expected: the certificate is checked before anything is sent, and the request is not sent where it is not trusted.
# Seen: the client says that the certificate is not trusted, and does not read the answer; but now and then the request
# has been sent by then, passkey, infohash and all. Whoever is on the way and has any certificate reads it. It takes up
# to forty starts of the client here, as it is a matter of which of its tasks comes first.
set -euo pipefail

version=4.9.2-2+b1
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download --quiet --quiet "lftp=$version" 2>/dev/null ||
    { echo "cannot be run here: lftp $version is not to be had"; exit 2; }
dpkg-deb --extract lftp_*.deb root
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 2>/dev/null
cat >tracker.py <<'PYTHON'
import hashlib, os, socket, ssl, subprocess, sys

content = b"x" * 16384
info = b"d6:lengthi16384e4:name1:f12:piece lengthi16384e6:pieces20:" + hashlib.sha1(content).digest() + b"e"
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("certificate.pem", "key.pem")
tracker = socket.create_server(("127.0.0.1", 0))
tracker.settimeout(30)
url = b"https://127.0.0.1:%d/passkey/announce" % tracker.getsockname()[1]
with open("f.torrent", "wb") as file:
    file.write(b"d8:announce%d:%s4:info%se" % (len(url), url, info))


def start(number):
    """What one client has sent, and what it has said."""
    home = os.path.join(os.getcwd(), f"home{number}")
    os.mkdir(home)
    request = b""
    with open("log", "wb") as log:
        client = subprocess.Popen(
            [sys.argv[1], "-c", f"debug 4; set torrent:use-dht no; torrent -O {home} f.torrent"],
            env={**os.environ, "HOME": home}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        connection, _ = tracker.accept()
        connection.settimeout(30)
        with context.wrap_socket(connection, server_side=True) as inside:
            request = inside.recv(4096)
            # Until it ends the connection, so that it has said why.
            while inside.recv(4096):
                pass
    except OSError:
        pass
    finally:
        client.kill()
        client.wait()
    with open("log") as log:
        return request, "certificate is NOT trusted" in log.read()


for number in range(40):
    request, distrusts = start(number)
    if request:
        break
print(f"start {number + 1}", file=sys.stderr)
print("it says that the certificate is not trusted:", distrusts)
print("it has sent:", request.split(b"?")[0].decode() or "nothing")
PYTHON
seen=$(python3 tracker.py root/usr/bin/lftp)
echo "$seen"
[ "$seen" = "it says that the certificate is not trusted: True
it has sent: GET /passkey/announce" ] ||
    { echo "this has changed: it did not trust the certificate, and had sent the request"; exit 1; }
