"""Mail that users send to the world: where it goes (smarthost or MX), how the way is secured, how it is signed.

A queued item of the route WORLD enters, the reply of the server that is responsible leaves; the queue runner decides
what follows from it.
"""
