"""Client set-up: what a mail client asks for when a person types an address, and the DNS records that lead it here.

`settings` says which servers there are; `autoconfig`, `autodiscover` and `profile` write the three documents, `records`
the DNS; `pages` serves them. The documents depend on the domain and on what the client itself has said, never on
whether a mailbox exists.
"""
