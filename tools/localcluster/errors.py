"""The exception of this package."""


class ClusterError(Exception):
    """A problem that the user has to know or solve, described in a full sentence."""
