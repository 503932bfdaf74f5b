"""The drill: real mail at full rate while everything is killed, then the account from the primary's real mailboxes.

`python -m tests.drill` (or `make drill`) runs every scenario and ends with a table; exit code 0 only if not one message
is lost, twice or altered. `tests/drill/test_*.py` run smaller ones with the suite.
"""
