"""aria2, a download manager."""

import http.client
import json
import signal

from clients.client import CONTROL, LISTEN, Client


class Aria2(Client):
    """A download manager. On SIGINT it says `stopped` and ends."""

    name = "aria2"
    prints_warnings = True
    stop_signal = signal.SIGINT

    def _command(self, source):
        return [
            "aria2c",
            "--no-conf",
            f"--dir={self._files}",
            f"--listen-port={LISTEN}",
            # Its UDP tracker client works only while its DHT is on; the DHT is given an entry point
            # at which nobody answers.
            "--enable-dht=true",
            "--dht-entry-point=127.0.0.1:1",
            f"--dht-listen-port={LISTEN}",
            f"--dht-file-path={self._home}/dht.dat",
            "--enable-dht6=false",
            # Its own resolver does not look for IPv6 addresses.
            "--async-dns=false",
            "--enable-peer-exchange=false",
            "--bt-enable-lpd=false",
            "--check-integrity=true",
            "--file-allocation=none",
            "--seed-ratio=0.0",
            "--seed-time=10",
            "--enable-color=false",
            "--summary-interval=0",
            "--console-log-level=info",
            "--enable-rpc=true",
            f"--rpc-listen-port={CONTROL}",
            source,
        ]

    def leave(self):
        self._figures = self._network.on(self._host, self._ask_figures)
        super().leave()

    def figures(self):
        return self._figures

    def _ask_figures(self):
        """It does not say what it has downloaded, but what it has; a seeder has had it before."""
        keys = ["uploadLength", "completedLength"]
        call = {"jsonrpc": "2.0", "id": 1, "method": "aria2.tellActive", "params": [keys]}
        connection = http.client.HTTPConnection("127.0.0.1", CONTROL, timeout=5)
        connection.request("POST", "/jsonrpc", json.dumps(call))
        (download,) = json.loads(connection.getresponse().read())["result"]
        connection.close()
        completed = int(download["completedLength"]) if self._host == "leecher" else 0
        return int(download["uploadLength"]), completed
