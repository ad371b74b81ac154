"""What the tests of several areas share: servers, processes, a chaos proxy, the invariants.

Tests get most of these through the fixtures of `tests/conftest.py`.
"""
