"""rTorrent, with the library of the same author, which is another libtorrent."""

import socket
import xmlrpc.client

from clients.client import LISTEN, Client, Tells
from waiting import until


class RTorrent(Client):
    """`completed` waits for its next regular announce, which is not made before 300 s. The torrent is stopped before it
    is removed: over UDP a removed one says nothing (0.9.8, seen on the wire)."""

    name = "rtorrent"
    tells = Tells.ON_LEAVING
    tiers = (("http", "ipv6"), ("udp", "ipv6"))

    def __init__(self, network, host, source, folder, files):
        super().__init__(network, host, source, folder, files)
        until("rtorrent to take orders", 30, self._takes_orders)

    def _command(self, source):
        settings = {
            "system.daemon.set": "true",
            "session.path.set": self._home,
            "directory.default.set": self._files,
            "network.scgi.open_local": self._rpc,
            "network.port_range.set": f"{LISTEN}-{LISTEN}",
            "network.port_random.set": "no",
            "dht.mode.set": "disable",
            "protocol.pex.set": "no",
            "trackers.use_udp.set": "yes",
            "log.open_file": f"log, {self.log}",
        }
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        lines += [f"log.add_output = {kind}, log\n" for kind in ("info", "torrent_info", "tracker_debug")]
        file = self._home / "rtorrent.rc"
        file.write_text("".join(lines))
        return ["rtorrent", "-n", "-o", f"import={file}", source]

    def settle(self):
        """It checks what it has downloaded as a whole; what is stopped meanwhile tells nobody."""
        (self._hash,) = self._ask("download_list")
        until("rtorrent to have checked the file", 30, self._has_checked)

    def leave(self):
        self.settle()
        self._figures = self._ask("d.up.total", self._hash), self._ask("d.down.total", self._hash)
        self._ask("d.stop", self._hash)

    def end(self):
        self._ask("d.erase", self._hash)
        super().leave()
        super().end()

    def figures(self):
        return self._figures

    def _takes_orders(self):
        self.check_running()
        try:
            # It loads what it was given before it answers.
            return self._ask("download_list") != []
        except OSError:
            return False

    def _has_checked(self):
        state = [self._ask(f"d.{what}", self._hash) for what in ("hashing", "complete", "is_active")]
        return state == [0, 1, 1]

    @property
    def _rpc(self):
        return self._home / "rpc"

    def _ask(self, method, *arguments):
        """XML-RPC over SCGI: a netstring of headers, then the call; the answer has headers as HTTP has."""
        body = xmlrpc.client.dumps(arguments, method).encode()
        headers = b"CONTENT_LENGTH\0%d\0SCGI\0001\0" % len(body)
        with socket.socket(socket.AF_UNIX) as rpc:
            rpc.settimeout(10)
            rpc.connect(str(self._rpc))
            rpc.sendall(b"%d:%s,%s" % (len(headers), headers, body))
            answer = b"".join(iter(lambda: rpc.recv(65536), b""))
        (result,), _ = xmlrpc.client.loads(answer.partition(b"\r\n\r\n")[2])
        return result
