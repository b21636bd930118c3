# Sessions: timeouts, coming back, moving, expiring; ephemerals go with them under one zxid.

alice> connects 1
alice< connected timeout=4000
bob> connects 100000
bob< connected timeout=40000
bob> ping
bob< -2: ok zxid=2
alice> create /e1 mode=ephemeral
alice< 1: /e1 zxid=3
alice> create /e2 mode=ephemeral
alice< 2: /e2 zxid=4
bob> exists /e1 watch
bob< 2:  (c3 m3 p3 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=4
bob> children / watch
bob< 3: [e1 e2 zookeeper] zxid=4
alice> get /e1
alice< 3: null (c3 m3 p3 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=4
door> wait 3999
door> wait 1
alice< connection closed
bob< event deleted /e1 zxid=5
bob< event children / zxid=5
bob> children /
bob< 4: [zookeeper] zxid=5
bob> create /more
bob< 5: /more zxid=6

# A dead connection's session lives until its timeout, and its owner may come back, on a new
# connection that ends the old one.
alice> connects 4000
alice< connected timeout=4000
alice> create /e3 mode=ephemeral
alice< 1: /e3 zxid=8
door> wait 3000
carol> connects 4000 as alice
alice< connection closed
carol< connected timeout=4000
door> wait 3000
carol> ping
carol< -2: ok zxid=8
alice> connects 10000 as alice wrong-password
alice< session expired
alice< connection closed
carol> ping
carol< -2: ok zxid=8
dave> connects 10000 as carol from-the-future
dave< connection closed
dave> connects 10000 as carol
carol< connection closed
dave< connected timeout=10000
dave> vanishes
bob> children / watch
bob< 6: [e3 more zookeeper] zxid=8
door> wait 9999
door> wait 1
bob< event children / zxid=9
carol> connects 10000 as carol
carol< session expired
carol< connection closed
bob> children /
bob< 7: [more zookeeper] zxid=9

# Closing: the answer comes, then the connection ends; requests behind it are not looked at.
erin> connects 10000
erin< connected timeout=10000
erin> create /e4 mode=ephemeral
erin< 1: /e4 zxid=11
bob> exists /e4 watch
bob< 8:  (c11 m11 p11 ctime=20000 mtime=20000 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=11
erin> close
bob< event deleted /e4 zxid=12
erin< 2: ok zxid=12
erin< connection closed
erin> ping
bob> ping
bob< -2: ok zxid=12

# What cannot be done now is refused as throttled; what nobody knows closes the connection, and
# its session may come back.
door> refuse busy
bob> create /x
bob< 10: error -127 zxid=12
bob> ping
bob< -2: ok zxid=12
frank> connects 10000
frank< connection closed
door> refuse uncertain
bob> create /x
bob< connection closed
door> refuse nothing
bob> connects 10000 as bob
bob< connected timeout=10000
bob> exists /x
bob< 1: error -101 zxid=12

# A session that cannot be closed now is closed later.
gina> connects 4000
gina< connected timeout=4000
gina> create /g mode=ephemeral
gina< 1: /g zxid=14
gina> vanishes
bob> exists /g watch
bob< 2:  (c14 m14 p14 ctime=20000 mtime=20000 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=14
door> refuse busy
door> wait 4000
door> refuse nothing
door> wait 999
door> wait 1
bob< event deleted /g zxid=15
