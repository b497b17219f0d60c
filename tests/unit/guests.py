"""A running guest as a plan asks it, with the answers that a test wants."""


class Guest:
    """What a guest and its host answer, and what libvirt has refused."""

    def __init__(self, *, balloon=True, lacking=(), refusals=()):
        self._balloon, self._lacking, self._refusals = balloon, lacking, refusals

    def balloon(self):
        return self._balloon

    def lacks(self, key):
        return "no controller" if key in self._lacking else None

    def paused(self):
        return None

    def refused(self, mark):
        return "refused" if any(each in mark for each in self._refusals) else None
