"""What a running Largesse says about itself: logs that carry nothing private.

`events` and `redact` need nothing but the standard library; `logs` needs the extra `worker`.
"""
