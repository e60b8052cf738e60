"""A private tracker: its site in PostgreSQL, and what happens in a case with it."""

import os
import subprocess
import time

from download import Download
from story import COUNT_SECONDS
from waiting import Stopped, until

# The user of each host, by number and passkey.
USERS = {"seeder": (1, "5eed" * 8), "leecher": (2, "1eec" * 8)}
NOBODY = "0bad" * 8
# What is said to who announces with another.
UNKNOWN = "Passkey not found"
# After a failure rqbit and rTorrent ask two times and more in this time.
QUIET_SECONDS = 45


class Site:
    """A schema of its own in the PostgreSQL of MARGAY_TEST_POSTGRES."""

    def __init__(self, number):
        self.url = os.environ["MARGAY_TEST_POSTGRES"]
        self.schema = f"clients_{number}"

    def sql(self, text):
        """The rows of a query, a list of texts each."""
        command = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAt", self.url]
        text = f"SET search_path TO {self.schema}; {text}"
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode != 0:
            raise Stopped(f"psql: {done.stderr.strip()}")
        return [line.split("|") for line in done.stdout.splitlines()]

    def register(self, info_hash):
        """Adds both users and the torrent."""
        for user, passkey in USERS.values():
            self.sql(f"INSERT INTO users (id, passkey) VALUES ({user}, '{passkey}')")
        self.sql(f"INSERT INTO torrents (id, info_hash) VALUES (7, '\\x{info_hash.hex()}')")

    def credits(self):
        """Bytes uploaded and downloaded that each host's user has been credited."""
        rows = self.sql("SELECT uploaded, downloaded FROM users ORDER BY id")
        return {host: tuple(map(int, row)) for host, row in zip(USERS, rows)}

    def drop(self):
        self.sql(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")


class PrivateDownload(Download):
    """Seeder and leecher are of different users, who are credited what their clients say they moved."""

    word = "private: "

    def __init__(self, number, case, authority, program, folder):
        self._site = Site(number)
        self._site.drop()
        super().__init__(number, case, authority, program, folder)
        self._site.register(self._torrent.info_hash)
        until("the tracker to hear of the torrent", 30, self._is_registered)

    def play(self):
        return self._refusal() if self._case.cannot else self._download()

    def _refusal(self):
        """The leecher announces without its passkey, and is told so. Says why."""
        leecher = self._start(self._case.leecher, "leecher")
        until(f"`{UNKNOWN}` in what the client prints", COUNT_SECONDS, lambda: UNKNOWN in leecher.log.read_text())
        until("the refusal to be counted", COUNT_SECONDS, self._has_refused)
        if self._tracker.metric("margay_announces_total") > 0:
            raise Stopped(f"its announce was taken; take out: {self._case.cannot}")
        leecher.kill()
        self._tracker.stop()
        return f"{self._case.cannot}: it is told `{UNKNOWN}`"

    def clean_up(self):
        super().clean_up()
        self._site.drop()

    def _options(self, number):
        return ("--private", "--database", self._site.url, "--database-schema", self._site.schema)

    def _passkey(self, host):
        return USERS[host][1]

    def _scrape(self, torrent):
        return self._tracker.scrape("http", torrent.info_hash, self._passkey("leecher"))

    def _check_books(self, seeder, leecher):
        said = {"seeder": seeder.figures(), "leecher": leecher.figures()}
        if said["leecher"][1] == 0 or said["seeder"][0] == 0:
            raise Stopped(f"the clients say that they moved nothing: {said}")
        credits = None

        def holds():
            nonlocal credits
            credits = self._site.credits()
            return credits == said

        try:
            until("the credit of both users", COUNT_SECONDS, holds)
        except Stopped as late:
            raise Stopped(f"{late}: it is {credits}, the clients say {said}") from None
        snatches = self._site.sql("SELECT user_id, torrent_id FROM snatches")
        if snatches != [["2", "7"]]:
            raise Stopped(f"the snatches are {snatches}")

    def _is_registered(self):
        metric = self._tracker.metric
        return (metric("margay_accounts"), metric("margay_registered_torrents")) == (2, 1)

    def _has_refused(self):
        return self._tracker.metric("margay_refusals_total", reason="passkey") > 0


class QuietRefusal(PrivateDownload):
    """A client without a user, at a tracker that refuses quietly, does not ask again and again; and where it prints
    warnings it prints why."""

    word = "refused quietly: "

    def play(self):
        client = self._start(self._case.leecher, "leecher")
        until("the refusal to be counted", COUNT_SECONDS, self._has_refused)
        if client.prints_warnings:
            until(f"`{UNKNOWN}` in what the client prints", COUNT_SECONDS, lambda: UNKNOWN in client.log.read_text())
        time.sleep(QUIET_SECONDS)
        self._check_running()
        refusals = self._tracker.metric("margay_refusals_total")
        if refusals != 1:
            raise Stopped(f"it has been refused {refusals:.0f} times in {QUIET_SECONDS} s")
        client.kill()
        self._tracker.stop()
        return "it asked once"

    def _options(self, number):
        return (*super()._options(number), "--refusals", "quiet")

    def _passkey(self, host):
        return NOBODY if host == "leecher" else super()._passkey(host)
