"""IMAP as pure values: octets in, events and typed commands out, and back (RFC 3501, RFC 9051).

```
server   receiver  octets -> Frame and literal events   grammar  Frame -> commands.*
         responses, codes, structure, encode  values -> octets
client   client    octets -> Data, Status, literal events  client_data  Data -> typed values
both     limits, tokens, args, sequence, flags, names, dates, fetch, search
view     seqview   one client's message numbers, and the saved result of SEARCH
answers  listing (LIST, LSUB)   search (SEARCH)   sortable -> sorting (SORT), threads (THREAD)   preview
offers   capabilities   what is understood, what is shown, and to whom
```
"""
