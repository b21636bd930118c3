# A session that moves to another connection while a request is in flight on the first.

a> connects 10000
a< connected timeout=10000
door> hold
a> create /x mode=ephemeral

# The first connection ends at once, and the second is greeted when the request is done: its client
# must not look for the znode and not find it, and then make it once more.
b> connects 10000 as a
a< connection closed
door> release one
b> ephemerals /
door> release
b< connected timeout=10000
b< 1: [/x] zxid=2
b> get /x
b< 2: null (c2 m2 p2 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=2

# A stranger ends nothing.
c> connects 10000 as b wrong-password
c< session expired
c< connection closed
b> ping
b< -2: ok zxid=2
