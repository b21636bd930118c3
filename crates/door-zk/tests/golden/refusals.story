# What is not there is refused as ZooKeeper refuses it: the error, and the connection ends. Four
# letters are answered behind a whitelist.

a> connects 10000
a< connected timeout=10000
a> create /before
a< 1: /before zxid=2
a> 13
a< 2: error -6 zxid=-1
a< connection closed
a> get /before
b> connects 10000
b< connected timeout=10000
b> 23
b< 1: error -6 zxid=-1
b< connection closed
c> connects 10000
c< connected timeout=10000
c> 13
c< 1: error -6 zxid=-1
c< connection closed
d> connects 10000
d< connected timeout=10000
d> auth
d< connection closed
e> connects 10000
e< connected timeout=10000
e> sasl
e< 1: null zxid=0
f> types ruok
f< "imok"
f< connection closed
g> types srvr
g< "Zookeeper version: 3.9.5-holdfast-0.0.1, built on an unknown day\nLatency min/avg/max: 0/0.0/0\nReceived: 11\nSent: 10\nConnections: 7\nOutstanding: 0\nZxid: 0x6\nMode: standalone\nNode count: 6\n"
g< connection closed
g> types isro
g< "rw"
g< connection closed
h> types envi
h< "envi is not executed because it is not in the whitelist.\n"
h< connection closed
i> types nope
i< connection closed
j> types GET
