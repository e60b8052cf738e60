"""The clients as they are measured: each with its own default settings, but for folders, ports, and ways to
peers beside its tracker, which are off."""

import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.parse
import uuid

import clients
from clients.client import CONTROL, LISTEN, Client
from clients.prepared import PREPARED
from measuring.subject import AUTHORITY, START_SECONDS, Subject, Unable, environment, npm_version, said_by
from waiting import until

ROOT = pathlib.Path(__file__).resolve().parents[3]
# The port that a user moves a client to.
MOVED = 6900


class Aria2(Subject, clients.Aria2):
    """Started with DHT that finds nobody, as its UDP trackers want it."""

    trusts_by = "`--ca-certificate`"

    @staticmethod
    def version():
        return "aria2 " + said_by(["aria2c", "--version"], r"version (\S+)")

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
        return self._ask_http("POST", "/jsonrpc", json.dumps(call))


class Libtorrent(Subject, Client):
    """A plain session of the Debian package."""

    name = "libtorrent"
    python = "/usr/bin/python3"
    trusts_by = "`SSL_CERT_FILE`"

    @classmethod
    def version(cls):
        code = "import libtorrent; print('libtorrent', libtorrent.version)"
        return "libtorrent " + said_by([cls.python, "-c", code], r"libtorrent (\S+)")

    def _measured_command(self, source):
        script = pathlib.Path(__file__).with_name("libtorrent_measured.py")
        self._orders = self._home / "orders"
        addresses = f"0.0.0.0:{LISTEN},[::]:{LISTEN}"
        return [self.python, script, addresses, source, self._files, self._orders]

    def _trusting(self, command):
        return environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

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
        return "Transmission " + said_by(["transmission-daemon", "--version"], r"daemon (\S+)")

    def after_start(self):
        """Adds a magnet link; the watched folder takes files only."""
        if isinstance(self._source, str):
            self._until_taken(lambda: self._remote("--add", self._source))

    def _measured_command(self, source):
        self._source = source
        return super()._measured_command(source)

    def _trusting(self, command):
        return environment(command, CURL_CA_BUNDLE=AUTHORITY / "ca.pem")

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
        return "rTorrent " + said_by(["rtorrent", "-h"], r"version (\S+?)\.?\s")

    trusts_by = "`network.http.cacert.set`"

    def _trusting(self, command):
        option = f"network.http.cacert.set={AUTHORITY}/ca.pem"
        return [*command[:-1], "-o", option, command[-1]]

    def announce_now(self):
        self._call("d.tracker_announce")

    def remove(self):
        self._call("d.erase")

    def move_port(self):
        self._ask("network.port_range.set", "", f"{MOVED}-{MOVED}")

    def _call(self, method):
        for of in self._ask("download_list"):
            self._ask(method, of)


class WebTorrent(Subject, clients.WebTorrent):
    """WebTorrent on Node. Its program removes the torrent on SIGTERM, as there is no other user."""

    trusts_by = "`NODE_EXTRA_CA_CERTS`"

    @staticmethod
    def version():
        return "WebTorrent " + npm_version(PREPARED / "webtorrent/node_modules/webtorrent")

    def _trusting(self, command):
        return environment(command, NODE_EXTRA_CA_CERTS=AUTHORITY / "ca.pem")

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
        return environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

    def remove(self):
        self.terminate()


class QBittorrent(Subject, Client):
    """qBittorrent without a window, steered over its Web API."""

    name = "qbittorrent"
    trusts_by = "`SSL_CERT_FILE`"

    @staticmethod
    def version():
        return "qBittorrent " + said_by(["qbittorrent-nox", "--version"], r"v(\S+)")

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
        return environment(["qbittorrent-nox", f"--profile={profile}"], HOME=self._home)

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
        status, _, _ = self._ask_http("POST", "/api/v2/torrents/add", body, {"Content-Type": kind}.items())
        if status != 200:
            raise OSError(f"qBittorrent took no torrent: {status}")

    def _trusting(self, command):
        return environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

    def announce_now(self):
        self._post("torrents/reannounce", hashes="all")

    def remove(self):
        self._post("torrents/delete", hashes="all", deleteFiles="false")

    def move_port(self):
        self._post("app/setPreferences", json=json.dumps({"listen_port": MOVED}))

    def _post(self, path, **fields):
        form = {"Content-Type": "application/x-www-form-urlencoded"}.items()
        status, _, body = self._ask_http("POST", f"/api/v2/{path}", urllib.parse.urlencode(fields), form)
        if status != 200:
            raise OSError(f"{path}: {status} {body[:200]}")


class RqbitWithTls(Rqbit):
    """The same with TLS, which the program of the tests is built without."""

    name = "rqbit-tls"

    def _measured_command(self, source):
        _, *arguments = super()._measured_command(source)
        return [PREPARED / "rqbit-tls/debug/rqbit-client", *arguments]


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
        return environment(command, HOME=self._home)

    def after_start(self):
        """Adds the torrent, as soon as the daemon answers."""
        self._until_taken(lambda: self._console(f"add -p {self._files} {self._source}"))

    def _trusting(self, command):
        return environment(command, SSL_CERT_FILE=AUTHORITY / "ca.pem")

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
        self._run(*environment([*map(str, console), target], HOME=self._home))


class Browser(Subject, Client):
    """WebTorrent on a page in Chromium."""

    name = "webtorrent-browser"

    @staticmethod
    def version():
        library = npm_version(PREPARED / "webtorrent-browser/node_modules/webtorrent")
        return f"WebTorrent {library} in Chromium " + said_by(["chromium", "--version"], r"Chromium (\S+)")

    def _measured_command(self, source):
        return environment(["node", PREPARED / "webtorrent-browser/browser.mjs", source], HOME=self._home)


class Ctorrent(Subject, Client):
    """ctorrent: IPv4, HTTP and one torrent."""

    name = "ctorrent"

    @staticmethod
    def version():
        return "ctorrent " + said_by(["ctorrent", "-h"], r"(dnh\S+)")

    def _measured_command(self, torrent):
        if isinstance(torrent, str):
            raise Unable("no magnet links")
        # It saves under the torrent's name in the folder where it is.
        command = ["ctorrent", "-p", LISTEN, "-e", "100000", torrent]
        return ["env", "-C", self._files, *command]


class Lftp(Subject, clients.Lftp):
    """lftp at a terminal."""

    trusts_by = "`ssl:ca-file`"

    @staticmethod
    def version():
        return "lftp " + said_by(["lftp", "--version"], r"Version (\S+)")

    def _trusting(self, command):
        *program, orders = command
        return [*program, f"set ssl:ca-file {AUTHORITY}/ca.pem; {orders}"]

    def remove(self):
        self._type("kill all")


class LftpInBackground(Lftp):
    """lftp when its user has left the terminal: it goes on as another process, and says what it does in a file."""

    name = "lftp-background"
    # The process that goes on, until it has ended.
    _background = None

    def _orders(self, source):
        return super()._orders(source) + " &\nexit"

    def after_start(self):
        """Waits for the process that goes on."""

        def moved():
            return re.search(r"^\[(\d+)\] Moving to background", self.log.read_text(), re.MULTILINE)

        until("lftp to be in the background", START_SECONDS, moved)
        self._background = int(moved()[1])

    def remove(self):
        raise Unable("not while it is in the background")

    @property
    def ended(self):
        # It is a child of the first process of its namespaces, which `measure` is.
        if self._background and os.waitpid(self._background, os.WNOHANG)[0]:
            self._background = None
        return self._background is None

    def kill(self):
        super().kill()
        if not self.ended:
            os.kill(self._background, signal.SIGKILL)
            os.waitpid(self._background, 0)
            self._background = None

    def _send(self, number):
        os.kill(self._background, number)


class TorrentStream(Subject, Client):
    """A program around torrent-stream. It destroys its engine on SIGTERM, as there is no other user."""

    name = "torrent-stream"
    trusts_by = "`NODE_EXTRA_CA_CERTS`"
    _folder = PREPARED / "torrent-stream"

    @classmethod
    def version(cls):
        names = ("torrent-stream", "bittorrent-tracker")
        return " with ".join(f"{name} {npm_version(cls._folder / 'node_modules' / name)}" for name in names)

    def _measured_command(self, source):
        return ["node", self._folder / "torrent_stream.cjs", LISTEN, source, self._files]

    def _trusting(self, command):
        return environment(command, NODE_EXTRA_CA_CERTS=AUTHORITY / "ca.pem")

    def remove(self):
        self.terminate()


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
        RqbitWithTls,
        Deluge,
        Ctorrent,
        Lftp,
        LftpInBackground,
        TorrentStream,
        Browser,
    )
}
