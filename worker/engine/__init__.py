"""The queue engine: a dramatiq broker on Redis whose every state change is one Lua script.

It knows dramatiq and Redis, and nothing of the API that the jobs call.
"""
