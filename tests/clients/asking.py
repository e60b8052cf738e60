"""curl as a client: what any other program that speaks HTTPS sees of a tracker."""

import urllib.parse

import torrent as torrents
from story import Story
from waiting import Stopped


class Curl(Story):
    """curl announces over HTTPS, in both versions of TLS, by name and by address, and twice over one connection."""

    word = "curl: "

    def play(self):
        self._torrent.write(self._folder / "a.torrent", *self._announce_urls("leecher"))
        query = "info_hash=%s&peer_id=-XX0001-abcdefghijkl&port=7001&left=0" % urllib.parse.quote_from_bytes(
            self._torrent.info_hash
        )
        by_name = self._tracker.announce_url("https")
        by_address = self._tracker.announce_url("https", by_address=True)
        for version in ("1.2", "1.3"):
            for url in (by_name, by_address):
                answer = self._curl(f"--tlsv{version}", "--tls-max", version, f"{url}?{query}")
                if torrents.decode(answer)[b"complete"] != 1:
                    raise Stopped(f"{url} over TLS {version} is answered {answer!r}")
        self._curl("--write-out", "", f"{by_name}?{query}", f"{by_name}?{query}")
        self._announced(6, protocol="http", family=self._case.family)
        full = self._tracker.metric("margay_tls_handshakes_total", kind="full")
        if full != 5:
            raise Stopped(f"{full:.0f} whole handshakes for six requests over five connections")
        self._tracker.stop()
        return "six announces over five connections"

    def _curl(self, *arguments):
        answer = self._folder / "answer"
        answer.unlink(missing_ok=True)
        command = ["curl", "--silent", "--show-error", "--fail", "--globoff", *arguments]
        process = self._network.start("leecher", command, answer)
        if process.wait(30) != 0:
            raise Stopped(f"curl ended with status {process.returncode}: {answer.read_bytes()!r}")
        return answer.read_bytes()
