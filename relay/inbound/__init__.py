"""MX and submission listeners on aiosmtpd: a sender's octets enter, replies and spool items leave.

`front` is what a listener (`relay.listen`) speaks; `connection` is the life of one connection; `verbs` are its
commands; `body` streams DATA and BDAT into the spool; `mailing` is one mail transaction, which asks the primary through
`cutthrough` while that is up and answers by itself while it is not; `policy` says who may send to whom.

1. No 250 after a message before `Draft.commit` has returned; what goes wrong before that is 4xx.
2. Memory per connection is bounded (`inlet`), and over all connections as well (`budget`).
3. No octet that came before TLS is used inside it; no credentials are taken outside it.
4. Nothing that a peer sent is written to a log.
"""
