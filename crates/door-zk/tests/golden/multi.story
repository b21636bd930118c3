# All or nothing. Results before the one that failed are 0, those after it -2.

alice> connects 10000
alice< connected timeout=10000
alice> multi
alice< 1:  zxid=2
alice> multi create /m data=1; create2 /m/c; set /m data=22; check /m version=1; delete /m/c
alice< 2: [/m][/m/c (c3 m3 p3 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0)][ (c3 m3 p3 ctime=0 mtime=0 version=1 cversion=1 aversion=0 ephemeral=false length=2 children=1)][ok][ok] zxid=3
alice> get /m
alice< 3: "22" (c3 m3 p3 ctime=0 mtime=0 version=1 cversion=2 aversion=0 ephemeral=false length=2 children=0) zxid=3
alice> exists /m watch
alice< 4:  (c3 m3 p3 ctime=0 mtime=0 version=1 cversion=2 aversion=0 ephemeral=false length=2 children=0) zxid=3
alice> children / watch
alice< 5: [m zookeeper] zxid=3
alice> multi create /n; set /m data=333; delete /none; create /o
alice< 6: [error 0][error 0][error -101][error -2] zxid=4
alice> get /m
alice< 7: "22" (c3 m3 p3 ctime=0 mtime=0 version=1 cversion=2 aversion=0 ephemeral=false length=2 children=0) zxid=4
alice> exists /n
alice< 8: error -101 zxid=4
alice> multi set /m data=4; delete /m; create /m mode=ephemeral; check /m version=5; create /p
alice< 9: [error 0][error 0][error 0][error -103][error -2] zxid=5
alice> get /m
alice< 10: "22" (c3 m3 p3 ctime=0 mtime=0 version=1 cversion=2 aversion=0 ephemeral=false length=2 children=0) zxid=5
alice> multi check /m version=1; check /m version=7
alice< 11: [error 0][error -103] zxid=6
alice> multi create /m; create /p
alice< 12: [error -110][error -2] zxid=7
alice> multi 19
alice< 13: error -5 zxid=8
alice> multi create /x mode=5
alice< 14: error -5 zxid=9

# Each operation sees those before it; watches fire only now, in order, under one zxid.
alice> multi set /m data=5; create /k; create /k/l; delete /k/l; delete /k; delete /m version=2
alice< event changed /m zxid=10
alice< event children / zxid=10
alice< 15: [ (c3 m10 p3 ctime=0 mtime=0 version=2 cversion=2 aversion=0 ephemeral=false length=1 children=0)][/k][/k/l][ok][ok][ok] zxid=10
alice> children2 /
alice< 16: [zookeeper] (c0 m0 p10 ctime=0 mtime=0 version=0 cversion=3 aversion=0 ephemeral=false length=0 children=1) zxid=10
