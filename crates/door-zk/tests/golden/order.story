# Answers come in the order of the requests, whatever completes first; a connection takes no more
# than its bound (four here) and goes on when there is room.

alice> connects 10000
alice< connected timeout=10000
bob> connects 10000
bob< connected timeout=10000
door> hold
alice> create /a
alice> get /a
alice> create /b
alice> children /
alice> delete /a
alice> exists /a
alice> ping
bob> create /c
bob> exists /b
door> release one
alice< 1: /a zxid=3
alice< 2: null (c3 m3 p3 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=3
door> release one
alice< 3: /b zxid=4
alice< 4: [a b zookeeper] zxid=4
door> release one
bob< 1: /c zxid=5
bob< 2:  (c4 m4 p4 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=5
door> release
alice< 5: ok zxid=6
alice< 6: error -101 zxid=6
alice< -2: ok zxid=6

# Nothing is taken from a client whose session is not open yet.
door> hold
carol> connects 10000
carol> create /d
door> release
carol< connected timeout=10000
carol< 1: /d zxid=8
