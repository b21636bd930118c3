# Four-letter words, with ZooKeeper's lines and names of fields.

a> connects 10000
a< connected timeout=10000
b> connects 20000
b< connected timeout=20000
a> create /e mode=ephemeral data=xyz
a< 1: /e zxid=3
a> create /f mode=ephemeral
a< 2: /f zxid=4
b> get /e watch
b< 1: "xyz" (c3 m3 p3 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=true length=3 children=0) zxid=4
b> children / watch
b< 2: [e f zookeeper] zxid=4
a> exists /g watch
a< 3: error -101 zxid=4
b> addwatch /f mode=recursive
b< 3: code 0 zxid=4
c> connects 10000
c< connected timeout=10000
c> auth world anyone
c< -4: error -115 zxid=0
c< connection closed
door> wait 1500
s> types stat
s< "Zookeeper version: 3.9.5-holdfast-0.0.1, built on an unknown day\nClients:\n /127.0.0.1:1[1](queued=0,recved=4,sent=4)\n /127.0.0.1:1[1](queued=0,recved=4,sent=4)\n /127.0.0.1:1[1](queued=0,recved=2,sent=2)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n\nLatency min/avg/max: 0/0.0/0\nReceived: 10\nSent: 10\nConnections: 4\nOutstanding: 0\nZxid: 0x5\nMode: standalone\nNode count: 7\n"
s< connection closed
s> types cons
s< " /127.0.0.1:1[1](queued=0,recved=4,sent=4,sid=0x18bcfe568000000,lop=EXIS,est=1700000000000,to=10000,lcxid=0x3,lzxid=0x4,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n /127.0.0.1:1[1](queued=0,recved=4,sent=4,sid=0x18bcfe568000001,lop=ADDW,est=1700000000000,to=20000,lcxid=0x3,lzxid=0x4,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n /127.0.0.1:1[1](queued=0,recved=2,sent=2,sid=0x18bcfe568000002,lop=SESS,est=1700000000000,to=10000,lcxid=0x0,lzxid=0x5,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n\n"
s< connection closed
s> types mntr
s< "zk_version\t3.9.5-holdfast-0.0.1, built on an unknown day\nzk_server_state\tstandalone\nzk_avg_latency\t0.0\nzk_ephemerals_count\t2\nzk_num_alive_connections\t5\nzk_outstanding_requests\t0\nzk_znode_count\t7\nzk_global_sessions\t3\nzk_local_sessions\t0\nzk_packets_sent\t10\nzk_packets_received\t10\nzk_watch_count\t4\nzk_auth_failed_count\t1\nzk_min_latency\t0\nzk_max_latency\t0\nzk_approximate_data_size\t51\nzk_uptime\t1500\nzk_open_file_descriptor_count\tN\nzk_max_file_descriptor_count\tN\n"
s< connection closed
s> types conf
s< "tickTime=2000\nmaxClientCnxns=0\nminSessionTimeout=4000\nmaxSessionTimeout=40000\nserverId=0\n"
s< connection closed
s> types dump
s< "SessionTracker dump:\nSession Sets (2)/(3):\n2 expire at Tue Nov 14 22:13:30 UTC 2023:\n\t0x18bcfe568000000\n\t0x18bcfe568000002\n1 expire at Tue Nov 14 22:13:40 UTC 2023:\n\t0x18bcfe568000001\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x18bcfe568000000:\n\t/e\n\t/f\nConnections dump:\nConnections Sets (3)/(5):\n2 expire at Tue Nov 14 22:13:30 UTC 2023:\n\tip: /127.0.0.1:1 sessionId: 0x18bcfe568000000\n\tip: /127.0.0.1:1 sessionId: 0x18bcfe568000002\n2 expire at Tue Nov 14 22:13:32 UTC 2023:\n\tip: /127.0.0.1:1 sessionId: 0x0\n\tip: /127.0.0.1:1 sessionId: 0x0\n1 expire at Tue Nov 14 22:13:40 UTC 2023:\n\tip: /127.0.0.1:1 sessionId: 0x18bcfe568000001\n"
s< connection closed
s> types dirs
s< "datadir_size: 0\nlogdir_size: 0\n"
s< connection closed
s> types gtmk
s< "306"
s< connection closed
s> types hash
s< connection closed
s> types wchs
s< "2 connections watching 3 paths\nTotal watches:3\n"
s< connection closed
s> types wchc
s< "0x18bcfe568000000\n\t/g\n0x18bcfe568000001\n\t/e\n\t/f\n\n"
s< connection closed
s> types wchp
s< "/e\n\t0x18bcfe568000001\n/f\n\t0x18bcfe568000001\n/g\n\t0x18bcfe568000000\n\n"
s< connection closed
s> types srst
s< "Server stats reset.\n"
s< connection closed
s> types crst
s< "Connection stats reset.\n"
s< connection closed
s> types stat
s< "Zookeeper version: 3.9.5-holdfast-0.0.1, built on an unknown day\nClients:\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n /127.0.0.1:1[1](queued=0,recved=0,sent=0)\n\nLatency min/avg/max: 0/0.0/0\nReceived: 0\nSent: 0\nConnections: 5\nOutstanding: 0\nZxid: 0x5\nMode: standalone\nNode count: 7\n"
s< connection closed
