"""A stand-in for the API: its own parser, its own validation, its own state.

It shares no code with the client, so that a mistake made in one is seen by the other. Nothing is
imported here: ``worker.sandbox.command`` has the command, ``worker.sandbox.app`` the application.
"""
