# One-shot watches: an event comes before any answer that shows the change, in zxid order, once.

alice> connects 10000
alice< connected timeout=10000
bob> connects 10000
bob< connected timeout=10000
alice> exists /a watch
alice< 1: error -101 zxid=2
alice> children / watch
alice< 2: [zookeeper] zxid=2
bob> create /a data=1
alice< event created /a zxid=3
alice< event children / zxid=3
bob< 1: /a zxid=3
bob> set /a data=2
bob< 2:  (c3 m4 p3 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=4
alice> get /a watch
alice< 3: "2" (c3 m4 p3 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=4
alice> get /a watch
alice< 4: "2" (c3 m4 p3 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=4
alice> exists /a watch
alice< 5:  (c3 m4 p3 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=4
alice> children /a watch
alice< 6: [] zxid=4
bob> create /a/b
alice< event children /a zxid=5
bob< 3: /a/b zxid=5
bob> set /a data=3
alice< event changed /a zxid=6
bob< 4:  (c3 m6 p5 ctime=0 mtime=0 version=2 cversion=1 aversion=0 ephemeral=false length=1 children=1) zxid=6
bob> set /a data=4
bob< 5:  (c3 m7 p5 ctime=0 mtime=0 version=3 cversion=1 aversion=0 ephemeral=false length=1 children=1) zxid=7
alice> get /a watch
alice< 7: "4" (c3 m7 p5 ctime=0 mtime=0 version=3 cversion=1 aversion=0 ephemeral=false length=1 children=1) zxid=7
alice> children /a watch
alice< 8: [b] zxid=7
bob> delete /a/b
alice< event children /a zxid=8
bob< 6: ok zxid=8
alice> children /a watch
alice< 9: [] zxid=8
bob> delete /a
alice< event deleted /a zxid=9
bob< 7: ok zxid=9

# A failed read sets no watch, except that exists watches for a creation.
alice> get /a watch
alice< 10: error -101 zxid=9
alice> children /a watch
alice< 11: error -101 zxid=9
bob> create /a
bob< 8: /a zxid=10

# One's own change is told before its answer.
alice> get /a watch
alice< 12: null (c10 m10 p10 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=10
alice> set /a data=5
alice< event changed /a zxid=11
alice< 13:  (c10 m11 p10 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=11

# What is answered behind a write waits for it, and then shows it.
alice> get /a watch
alice< 14: "5" (c10 m11 p10 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=11
door> hold
bob> set /a data=6
alice> set /a data=7
alice> get /a
alice> ping
door> release one
alice< event changed /a zxid=12
bob< 9:  (c10 m12 p10 ctime=0 mtime=0 version=2 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=12
door> release
alice< 15:  (c10 m13 p10 ctime=0 mtime=0 version=3 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=13
alice< 16: "7" (c10 m13 p10 ctime=0 mtime=0 version=3 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=13
alice< -2: ok zxid=13

# Watches go with the connection.
alice> get /a watch
alice< 18: "7" (c10 m13 p10 ctime=0 mtime=0 version=3 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=13
alice> vanishes
bob> set /a data=8
bob< 10:  (c10 m14 p10 ctime=0 mtime=0 version=4 cversion=0 aversion=0 ephemeral=false length=1 children=0) zxid=14
