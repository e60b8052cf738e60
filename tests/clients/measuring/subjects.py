"""The clients as they are measured: each with its own default settings, but for folders, ports, and ways to
peers beside its tracker, which are off. What a user can do is a method; `Unable` where he cannot."""

import http.client
import json
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse
import uuid

import clients
from clients.client import CONTROL, LISTEN, Client
from clients.prepared import PREPARED

ROOT = pathlib.Path(__file__).resolve().parents[3]
MOVED = 6900
# How long a client may take until it takes orders.
START_SECONDS = 60
# Where `measure` leaves its certificate authority, and a store of certificates with it alone.
AUTHORITY = pathlib.Path("/run/authority")
# What a program is started by, so that it sees other certificates in place of the system's.
_MOUNT = 'mount --bind "$1" /etc/ssl/certs && shift && exec "$@"'


class Unable(Exception):
    """What this client has no way to do."""


class Subject:
    """What is measured: a client of `clients`, and what its user can do. Mixed in before it."""

    # How the client is told of a certificate authority of its user's: "" where there is no way but the system's.
    trusts_by = ""

    def __init__(self, network, host, source, folder, files, trust=""):
        """`source` is the path of a `.torrent`, or a magnet link; `trust` is "", "system" or "own"."""
        self._trust = trust
        super().__init__(network, host, source, folder, files)

    def _command(self, torrent):
        command = [str(part) for part in self._measured_command(torrent)]
        if self._trust == "own":
            command = self._trusting(command)
        if self._trust == "system":
            command = ["sh", "-c", _MOUNT, "sh", str(AUTHORITY / "system"), *command]
        return command

    def _measured_command(self, torrent):
        return super()._command(torrent)

    def _trusting(self, command):
        """The command with which the client trusts our authority."""
        raise Unable("no option for it")

    def announce_now(self):
        """A user's "announce now"."""
        raise Unable("no such command")

    def announce_now_ignoring(self):
        """The same with a flag to pass over `min interval`."""
        raise Unable("no such command")

    def remove(self):
        """A user takes the torrent out; the client goes on."""
        raise Unable("no such command")

    def move_port(self):
        """A user has the client listen at another port."""
        raise Unable("not while it runs")

    def terminate(self):
        """What systemd and Docker send."""
        self._send(signal.SIGTERM)

    def interrupt(self):
        """What Ctrl-C sends."""
        self._send(signal.SIGINT)

    def end_time(self, seconds):
        """Waits until it has ended; whether it did."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def ended(self):
        """Whether its process is gone."""
        return self._process.poll() is not None

    def _send(self, number):
        self._ending = True
        self._process.send_signal(number)

    def _ask(self, method, path, body=None, headers=()):
        """Asks the client over HTTP at its control port; status, head and body of the answer."""

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", CONTROL, timeout=10)
            try:
                connection.request(method, path, body, dict(headers))
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()
            finally:
                connection.close()

        return self._network.on(self._host, ask)

    def _until_taken(self, add):
        """Tries to add the torrent until the client takes it: it may not listen to orders yet."""
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return add()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def _run(self, *command):
        """Runs a program on the client's host, and waits for it."""
        log = self._home / "command.log"
        process = self._network.start(self._host, command, log)
        try:
            done = process.wait(40) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            done = False
        if not done:
            raise OSError(f"{command[0]}: {log.read_text()[-300:]}")


def _environment(command, **variables):
    return ["env", *(f"{name}={value}" for name, value in variables.items()), *command]


def _package(folder):
    """The version of a package of npm."""
    return json.loads((folder / "package.json").read_text())["version"]


def _first(command, pattern):
    """What the pattern finds in what a program says of itself."""
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return re.search(pattern, said.stdout + said.stderr)[1]


class Aria2(Subject, clients.Aria2):
    """Started with DHT that finds nobody, as its UDP trackers want it."""

    trusts_by = "`--ca-certificate`"

    @staticmethod
    def version():
        return "aria2 " + _first(["aria2c", "--version"], r"version (\S+)")

    def _measured_command(self, source):
        # Its own resolver is its default; the tests have it off.
        return [part for part in super()._measured_command(source) if part != "--async-dns=false"]

    def _trusting(self, command):
        return [command[0], f"--ca-certificate={AUTHORITY}/ca.pem", *command[1:]]

    def remove(self):
        _, _, body = self._rpc("aria2.tellActive", [["gid"]])
        for download in json.loads(body)["result"]:
            self._rpc("aria2.remove", [download["gid"]])

    def _rpc(self, method, parameters):
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        return self._ask("POST", "/jsonrpc", json.dumps(call))


class Libtorrent(Subject, Client):
    """A plain session of the Debian package."""

    name = "libtorrent"
    python = "/usr/bin/python3"
    trusts_by = "`SSL_CERT_FILE`"

    @classmethod
    def version(cls):
        code = "import libtorrent; print('libtorrent', libtorrent.version)"
        return "libtorrent " + _first([cls.python, "-c", code], r"libtorrent (\S+)")

    def _measured_command(self, source):
        script = pathlib.Path(__file__).with_name("libtorrent_measured.py")
        self._orders = self._home / "orders"
        addresses = f"0.0.0.0:{LISTEN},[::]:{LISTEN}"
        return [self.python, script, addresses, source, self._files, self._orders]

    def _trusting(self, command):
        return _environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

    def announce_now(self):
        self._order("reannounce")

    def announce_now_ignoring(self):
        self._order("reannounce-ignoring")

    def remove(self):
        self._order("remove")

    def move_port(self):
        self._order(f"port {MOVED}")

    def _order(self, line):
        with open(self._orders, "a") as orders:
            orders.write(line + "\n")


def _wheel(number):
    """A plain session of a wheel from PyPI."""

    class Wheel(Libtorrent):
        name = f"libtorrent-{number}"
        python = PREPARED / f"libtorrent-{number}/bin/python"

    return Wheel


class Transmission(Subject, clients.Transmission):
    """Its daemon."""

    trusts_by = "`CURL_CA_BUNDLE`"

    @staticmethod
    def version():
        return "Transmission " + _first(["transmission-daemon", "--version"], r"daemon (\S+)")

    def after_start(self):
        """Adds a magnet link; the watched folder takes files only."""
        if isinstance(self._source, str):
            self._until_taken(lambda: self._remote("--add", self._source))

    def _measured_command(self, source):
        self._source = source
        return super()._measured_command(source)

    def _trusting(self, command):
        return _environment(command, CURL_CA_BUNDLE=AUTHORITY / "ca.pem")

    def announce_now(self):
        self._remote("--torrent", "all", "--reannounce")

    def remove(self):
        self._remote("--torrent", "all", "--remove")

    def move_port(self):
        self._remote("--port", str(MOVED))

    def _remote(self, *arguments):
        self._run("transmission-remote", f"127.0.0.1:{CONTROL}", *arguments)


class RTorrent(Subject, clients.RTorrent):
    """rTorrent as a daemon."""

    @staticmethod
    def version():
        return "rTorrent " + _first(["rtorrent", "-h"], r"version (\S+?)\.?\s")

    trusts_by = "`network.http.cacert.set`"

    def _trusting(self, command):
        option = f"network.http.cacert.set={AUTHORITY}/ca.pem"
        return [*command[:-1], "-o", option, command[-1]]

    def announce_now(self):
        self._call("d.tracker_announce")

    def remove(self):
        self._call("d.erase")

    def move_port(self):
        self._rpc_ask("network.port_range.set", "", f"{MOVED}-{MOVED}")

    # `Subject` asks over HTTP, rTorrent is asked over its socket.
    def _rpc_ask(self, method, *arguments):
        return clients.RTorrent._ask(self, method, *arguments)

    def _call(self, method):
        for of in self._rpc_ask("download_list"):
            self._rpc_ask(method, of)


class WebTorrent(Subject, clients.WebTorrent):
    """WebTorrent on Node. Its program removes the torrent on SIGTERM, as there is no other user."""

    trusts_by = "`NODE_EXTRA_CA_CERTS`"

    @staticmethod
    def version():
        return "WebTorrent " + _package(PREPARED / "webtorrent/node_modules/webtorrent")

    def _trusting(self, command):
        return _environment(command, NODE_EXTRA_CA_CERTS=AUTHORITY / "ca.pem")

    def remove(self):
        self.terminate()


class Rqbit(Subject, clients.Rqbit):
    """A program around librqbit. It removes the torrent on SIGTERM, as there is no other user."""

    trusts_by = "`SSL_CERT_FILE`"

    @staticmethod
    def version():
        lock = (ROOT / "tests/clients/rqbit/Cargo.lock").read_text()
        return "librqbit " + re.search(r'name = "librqbit"\nversion = "(.*?)"', lock)[1]

    def _trusting(self, command):
        return _environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

    def remove(self):
        self.terminate()


class QBittorrent(Subject, Client):
    """qBittorrent without a window, steered over its Web API."""

    name = "qbittorrent"
    trusts_by = "`SSL_CERT_FILE`"

    @staticmethod
    def version():
        return "qBittorrent " + _first(["qbittorrent-nox", "--version"], r"v(\S+)")

    def _measured_command(self, torrent):
        profile = self._home / "profile"
        config = profile / "qBittorrent/config/qBittorrent.conf"
        config.parent.mkdir(parents=True)
        config.write_text(
            "[LegalNotice]\nAccepted=true\n"
            "[BitTorrent]\nSession\\DHTEnabled=false\nSession\\LSDEnabled=false\nSession\\PeXEnabled=false\n"
            f"Session\\Port={LISTEN}\nSession\\DefaultSavePath={self._files}\n"
            "[Network]\nPortForwardingEnabled=false\n"
            f"[Preferences]\nWebUI\\LocalHostAuth=false\nWebUI\\Port={CONTROL}\nWebUI\\Address=127.0.0.1\n"
        )
        self._source = torrent
        return _environment(["qbittorrent-nox", f"--profile={profile}"], HOME=self._home)

    def after_start(self):
        """Adds the torrent, as soon as the API answers."""
        bound = uuid.uuid4().hex
        if isinstance(self._source, str):
            name, content, more = "urls", self._source.encode(), ""
        else:
            name, content = "torrents", self._source.read_bytes()
            more = '; filename="t.torrent"'
        body = f'--{bound}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        body += content + f"\r\n--{bound}--\r\n".encode()
        kind = f"multipart/form-data; boundary={bound}"
        self._until_taken(lambda: self._add(body, kind))

    def _add(self, body, kind):
        status, _, _ = self._ask("POST", "/api/v2/torrents/add", body, {"Content-Type": kind}.items())
        if status != 200:
            raise OSError(f"qBittorrent took no torrent: {status}")

    def _trusting(self, command):
        return _environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

    def announce_now(self):
        self._post("torrents/reannounce", hashes="all")

    def remove(self):
        self._post("torrents/delete", hashes="all", deleteFiles="false")

    def move_port(self):
        self._post("app/setPreferences", json=json.dumps({"listen_port": MOVED}))

    def _post(self, path, **fields):
        form = {"Content-Type": "application/x-www-form-urlencoded"}.items()
        status, _, body = self._ask("POST", f"/api/v2/{path}", urllib.parse.urlencode(fields), form)
        if status != 200:
            raise OSError(f"{path}: {status} {body[:200]}")


class Deluge(Subject, Client):
    """Deluge's daemon, on the newer libtorrent, steered by its console."""

    name = "deluge"
    trusts_by = "`SSL_CERT_FILE`"
    _bin = PREPARED / "deluge-2.2.0/bin"

    @classmethod
    def version(cls):
        said = subprocess.run([cls._bin / "deluged", "--version"], capture_output=True, text=True).stdout
        return "Deluge {} on libtorrent {}".format(*re.findall(r"(?:deluged|libtorrent:) (\S+)", said))

    def _measured_command(self, source):
        self._source = source
        config = self._home / "config"
        config.mkdir()
        settings = {
            "dht": False,
            "lsd": False,
            "upnp": False,
            "natpmp": False,
            "utpex": False,
            "random_port": False,
            "listen_ports": [LISTEN, LISTEN],
            "download_location": str(self._files),
            "daemon_port": CONTROL,
        }
        (config / "core.conf").write_text('{"file": 1, "format": 1}' + json.dumps(settings))
        command = [self._bin / "deluged", "--do-not-daemonize", "--config", config, "--loglevel", "info"]
        return _environment(command, HOME=self._home)

    def after_start(self):
        """Adds the torrent, as soon as the daemon answers."""
        self._until_taken(lambda: self._console(f"add -p {self._files} {self._source}"))

    def _trusting(self, command):
        return _environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

    def announce_now(self):
        self._console("reannounce *")

    def remove(self):
        self._console("rm --confirm *")

    def move_port(self):
        self._console(f"config --set listen_ports ({MOVED},{MOVED})")

    def _console(self, order):
        config = self._home / "config"
        if not (config / "auth").exists():
            raise OSError("not there yet")
        console = [self._bin / "deluge-console", "--config", config]
        target = f"connect 127.0.0.1:{CONTROL}; {order}"
        self._run(*_environment([*map(str, console), target], HOME=self._home))


class Browser(Subject, Client):
    """WebTorrent on a page in Chromium."""

    name = "webtorrent-browser"

    @staticmethod
    def version():
        library = _package(PREPARED / "webtorrent-browser/node_modules/webtorrent")
        return f"WebTorrent {library} in Chromium " + _first(["chromium", "--version"], r"Chromium (\S+)")

    def _measured_command(self, source):
        return _environment(["node", PREPARED / "webtorrent-browser/browser.mjs", source], HOME=self._home)


class Ctorrent(Subject, Client):
    """ctorrent: IPv4, HTTP and one torrent."""

    name = "ctorrent"

    @staticmethod
    def version():
        return "ctorrent " + _first(["ctorrent", "-h"], r"(dnh\S+)")

    def _measured_command(self, torrent):
        if isinstance(torrent, str):
            raise Unable("no magnet links")
        # It saves under the torrent's name in the folder where it is.
        command = ["ctorrent", "-p", LISTEN, "-e", "100000", torrent]
        return ["env", "-C", self._files, *command]


class Aria2SystemResolver(Aria2):
    """aria2 with the system's resolver, as the tests have it."""

    name = "aria2-system-resolver"

    def _measured_command(self, source):
        return [*super()._measured_command(source), "--async-dns=false"]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Aria2,
        Aria2SystemResolver,
        Libtorrent,
        _wheel("2.1.1"),
        _wheel("2.0.11"),
        QBittorrent,
        Transmission,
        RTorrent,
        WebTorrent,
        Rqbit,
        Deluge,
        Ctorrent,
        Browser,
    )
}
