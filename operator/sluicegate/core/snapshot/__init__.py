"""A snapshot of one resource.

The modules cover the facts, how they are read from API objects, and what follows from them alone.
"""
