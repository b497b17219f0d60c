"""How tests wait for a guest, a daemon or a file: until it is so, however busy the machine is."""

import time

SECONDS = 300


def wait_for(condition, what, seconds=SECONDS):
    """Wait until a condition holds and return what it gives.

    ``what`` names it; a function is asked at the end, so that a log is told as it is then.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what() if callable(what) else what}")
        time.sleep(0.1)
    return found
