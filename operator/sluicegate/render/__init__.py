"""Manifests from a plan, with one Jinja2 template for each kind of object.

The templates contain no policy and no arithmetic.
"""
