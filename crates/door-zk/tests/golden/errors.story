# Which check comes first, and that a failed write takes a zxid while a failed read does not.

alice> connects 10000
alice< connected timeout=10000
alice> create a
alice< 1: error -8 zxid=2
alice> create /a/
alice< 2: error -101 zxid=3
alice> create /x/
alice< 3: error -101 zxid=4
alice> create /x/y
alice< 4: error -101 zxid=5
alice> create /x/y acl=none
alice< 5: error -114 zxid=6
alice> create /
alice< 6: error -110 zxid=7
alice> create /a data=1
alice< 7: /a zxid=8
alice> create /a data=2
alice< 8: error -110 zxid=9
alice> create /a/../b
alice< 9: error -101 zxid=10
alice> create /a/b mode=7
alice< 10: error -8 zxid=11
alice> create /a/b mode=5
alice< 11: error -8 zxid=12
alice> create /a/b acl=31/sasl/x
alice< 12: error -114 zxid=13
alice> create /e mode=ephemeral
alice< 13: /e zxid=14
alice> create /e/child
alice< 14: error -108 zxid=15
alice> get /none
alice< 15: error -101 zxid=15
alice> exists /none
alice< 16: error -101 zxid=15
alice> get nonsense
alice< 17: error -101 zxid=15
alice> children /none
alice< 18: error -101 zxid=15
alice> set /none data=1
alice< 19: error -101 zxid=16
alice> set /a data=1 version=3
alice< 20: error -103 zxid=17
alice> set a data=1
alice< 21: error -8 zxid=18
alice> delete /none
alice< 22: error -101 zxid=19
alice> delete /a version=3
alice< 23: error -103 zxid=20
alice> delete /
alice< 24: error -8 zxid=21
alice> delete /zookeeper
alice< 25: error -8 zxid=22
alice> delete /zookeeper/config
alice< 26: error -8 zxid=23
alice> delete nonsense
alice< 27: error -8 zxid=24
alice> create /a/b
alice< 28: /a/b zxid=25
alice> delete /a
alice< 29: error -111 zxid=26
alice> create /zookeeper/quota/a
alice< 30: /zookeeper/quota/a zxid=27
alice> set /zookeeper/config data=1
alice< 31: error -102 zxid=28

# Permissions of world:anyone are kept.
alice> create /read acl=1
alice< 32: /read zxid=29
alice> set /read data=1
alice< 33: error -102 zxid=30
alice> create /read/child
alice< 34: error -102 zxid=31
alice> get /read
alice< 35: null (c29 m29 p29 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=31
alice> create /hidden acl=4
alice< 36: /hidden zxid=32
alice> get /hidden
alice< 37: error -102 zxid=32
alice> exists /hidden
alice< 38: error -102 zxid=32
alice> children /hidden
alice< 39: error -102 zxid=32
alice> create /hidden/child
alice< 40: /hidden/child zxid=33
alice> delete /hidden/child
alice< 41: error -102 zxid=34
alice> multi check /hidden
alice< 42: [error -102] zxid=35

# A record that cannot be read is a marshalling error; only a multi takes a zxid for it.
alice> garbled 1
alice< 43: error -5 zxid=35
alice> garbled 4
alice< 44: error -5 zxid=35
alice> garbled 14
alice< 45: error -5 zxid=36
alice> reconfig
alice< 46: error -123 zxid=37
alice> ping
alice< -2: ok zxid=37
