"""The one exception of this package."""


class ClusterError(Exception):
    """Something a person has to know or do; its text is a whole sentence that says what."""
