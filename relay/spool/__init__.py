"""The one write path and its promises: accept, read, queue, pressure, and what users see of the spool.

Content enters as plain bytes and leaves as plain bytes; in between everything is sealed by the vault and handed to the
store as opaque rows. Nothing above this room touches a key, nothing below it knows an address.
"""
