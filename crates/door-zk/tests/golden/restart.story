# A restart finds the same tree, the same counters and the same sessions, each with one full
# timeout to come back.

alice> connects 10000
alice< connected timeout=10000
alice> create /a data=1 acl=15
alice< 1: /a zxid=2
alice> create /a/s- mode=sequential
alice< 2: /a/s-0000000000 zxid=3
alice> create /a/s- mode=ephemeral-sequential
alice< 3: /a/s-0000000001 zxid=4
alice> create /b
alice< 4: /b zxid=5
alice> delete /b
alice< 5: ok zxid=6
alice> multi set /a data=2; create /c
alice< 6: [ (c2 m7 p4 ctime=0 mtime=0 version=1 cversion=2 aversion=0 ephemeral=false length=1 children=2)][/c] zxid=7
bob> connects 10000
bob< connected timeout=10000
bob> close
bob< 1: ok zxid=9
bob< connection closed
door> restart
carol> connects 10000
carol< connected timeout=10000
carol> children2 /a
carol< 1: [s-0000000000 s-0000000001] (c2 m7 p4 ctime=0 mtime=0 version=1 cversion=2 aversion=0 ephemeral=false length=1 children=2) zxid=10
carol> create /a/s- mode=sequential
carol< 2: /a/s-0000000002 zxid=11
carol> get /a
carol< 3: "2" (c2 m7 p11 ctime=0 mtime=0 version=1 cversion=3 aversion=0 ephemeral=false length=1 children=3) zxid=11
carol> children2 /
carol< 4: [a c zookeeper] (c0 m0 p7 ctime=0 mtime=0 version=0 cversion=3 aversion=0 ephemeral=false length=0 children=3) zxid=11
carol> get /a/s-0000000001 watch
carol< 5: null (c4 m4 p4 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=11
door> wait 9999
carol> ping
carol< -2: ok zxid=11
door> wait 1
carol< event deleted /a/s-0000000001 zxid=12
carol> exists /c
carol< 7:  (c7 m7 p7 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=12
