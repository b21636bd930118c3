# Sequential names come from the parent's stored counter, which counts creations of any kind and
# never goes back.

alice> connects 10000
alice< connected timeout=10000
alice> create /q
alice< 1: /q zxid=2
alice> create /q/n- mode=sequential
alice< 2: /q/n-0000000000 zxid=3
alice> create /q/n- mode=sequential
alice< 3: /q/n-0000000001 zxid=4
alice> delete /q/n-0000000001
alice< 4: ok zxid=5
alice> create /q/other
alice< 5: /q/other zxid=6
alice> create2 /q/n- mode=ephemeral-sequential
alice< 6: /q/n-0000000003 (c7 m7 p7 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=true length=0 children=0) zxid=7
alice> create /q/ mode=sequential
alice< 7: /q/0000000004 zxid=8
alice> create / mode=sequential
alice< 8: /0000000001 zxid=9
alice> children2 /q
alice< 9: [0000000004 n-0000000000 n-0000000003 other] (c2 m2 p8 ctime=0 mtime=0 version=0 cversion=6 aversion=0 ephemeral=false length=0 children=4) zxid=9

# A failed multi gives its number back.
alice> multi create /q/m- mode=sequential; delete /none
alice< 10: [error 0][error -101] zxid=10
alice> multi create /q/m- mode=sequential; create /q/m- mode=sequential
alice< 11: [/q/m-0000000005][/q/m-0000000006] zxid=11
