# Every field of a Stat, as ZooKeeper 3.9.5 answers (shared facts: its fresh tree, and /a with two
# children). A session takes the first zxid.

alice> connects 10000
alice< connected timeout=10000
alice> get / 
alice< 1: "" (c0 m0 p0 ctime=0 mtime=0 version=0 cversion=-1 aversion=0 ephemeral=false length=0 children=1) zxid=1
alice> get ''
alice< 2: "" (c0 m0 p0 ctime=0 mtime=0 version=0 cversion=-1 aversion=0 ephemeral=false length=0 children=1) zxid=1
alice> children2 /zookeeper
alice< 3: [config quota] (c0 m0 p0 ctime=0 mtime=0 version=0 cversion=-2 aversion=0 ephemeral=false length=0 children=2) zxid=1
alice> get /zookeeper/config
alice< 4: "" (c0 m0 p0 ctime=0 mtime=0 version=0 cversion=0 aversion=-1 ephemeral=false length=0 children=0) zxid=1
door> wait 5
alice> create2 /a data=xyz
alice< 5: /a (c2 m2 p2 ctime=5 mtime=5 version=0 cversion=0 aversion=0 ephemeral=false length=3 children=0) zxid=2
alice> create /a/b
alice< 6: /a/b zxid=3
alice> create /a/e mode=ephemeral data=
alice< 7: /a/e zxid=4
alice> children2 /a
alice< 8: [b e] (c2 m2 p4 ctime=5 mtime=5 version=0 cversion=2 aversion=0 ephemeral=false length=3 children=2) zxid=4
alice> children2 /
alice< 9: [a zookeeper] (c0 m0 p2 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=2) zxid=4
alice> get /a/e
alice< 10: "" (c4 m4 p4 ctime=5 mtime=5 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=4

# Setting a child's data leaves the parent alone; a null is kept apart from empty.
door> wait 7
alice> set /a/b data=1234
alice< 11:  (c3 m5 p3 ctime=5 mtime=12 version=1 cversion=0 aversion=0 ephemeral=false length=4 children=0) zxid=5
alice> get /a/b
alice< 12: "1234" (c3 m5 p3 ctime=5 mtime=12 version=1 cversion=0 aversion=0 ephemeral=false length=4 children=0) zxid=5
alice> set /a/b version=1
alice< 13:  (c3 m6 p3 ctime=5 mtime=12 version=2 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=6
alice> get /a/b
alice< 14: null (c3 m6 p3 ctime=5 mtime=12 version=2 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=6
alice> exists /a
alice< 15:  (c2 m2 p4 ctime=5 mtime=5 version=0 cversion=2 aversion=0 ephemeral=false length=3 children=2) zxid=6

# A deletion counts in cversion, and moves pzxid.
alice> delete /a/b
alice< 16: ok zxid=7
alice> exists /a
alice< 17:  (c2 m2 p7 ctime=5 mtime=5 version=0 cversion=3 aversion=0 ephemeral=false length=3 children=1) zxid=7
alice> exists /a/b
alice< 18: error -101 zxid=7
