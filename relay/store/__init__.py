"""Durable index and bodies. `api.py` is the contract; `sqlite/` and later `postgres/` keep it, `memory/` is the model.

The store sees only opaque bytes: whatever names a person or holds content was sealed by the vault before it came here,
and look-ups go by keyed HMAC. It imports neither.
"""
