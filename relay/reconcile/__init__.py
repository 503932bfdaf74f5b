"""The way back: mirror, identity, merge, plan, failback, report.

Empty in this version. What it will read is already written: every change that a user makes on the standby is journalled
in the commit that makes it (`store.api.MailboxStore`).
"""
