"""Waiting with a bound."""

import time


class Stopped(Exception):
    """Something ended, or did not happen in time; the text is for the reader of the test."""


def until(what, seconds, holds):
    """Asks `holds()` until it is true; how long that took. `what` completes "waited for …"."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            raise Stopped(f"waited {seconds} s for {what}")
        time.sleep(0.2)
    return time.monotonic() - start
