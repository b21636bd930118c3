# Quotas where the door is not as ZooKeeper: no multi gets through a hard limit, and what cannot be
# read as numbers is counted anew. ZooKeeper judges each operation of a multi by what was there
# before all of them, and stops at such numbers, or at limits of the root.

door> enforces quotas
op> connects 10000
op< connected timeout=10000
op> create /app data=1
op< 1: /app zxid=2
op> create /zookeeper/quota/app
op< 2: /zookeeper/quota/app zxid=3
op> create /zookeeper/quota/app/zookeeper_limits data=countHardLimit=3
op< 3: /zookeeper/quota/app/zookeeper_limits zxid=4
op> create /zookeeper/quota/app/zookeeper_stats
op< 4: /zookeeper/quota/app/zookeeper_stats zxid=5

# The third does not fit.
op> multi create /app/1; create /app/2; create /app/3
op< 5: [error 0][error 0][error -125] zxid=6
op> get /zookeeper/quota/app/zookeeper_stats
op< 6: "count=1,bytes=1" (c5 m5 p5 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=15 children=0) zxid=6
op> multi create /app/1; create /app/2
op< 7: [/app/1][/app/2] zxid=7
# At the limit, room may be made first.
op> multi delete /app/2; create /app/3
op< 8: [ok][/app/3] zxid=8
op> multi create /app/2; delete /app/3
op< 9: [error -125][error -2] zxid=9
op> get /zookeeper/quota/app/zookeeper_stats
op< 10: "count=3,bytes=1" (c5 m5 p5 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=15 children=0) zxid=9

# What is no number is counted anew by the next change.
op> set /zookeeper/quota/app/zookeeper_stats data=what?
op< 11:  (c5 m10 p5 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=5 children=0) zxid=10
op> delete /app/3
op< 12: ok zxid=11
op> get /zookeeper/quota/app/zookeeper_stats
op< 13: "count=2,bytes=1" (c5 m10 p5 ctime=0 mtime=0 version=1 cversion=0 aversion=0 ephemeral=false length=15 children=0) zxid=11
op> set /zookeeper/quota/app/zookeeper_stats data=count
op< 14:  (c5 m12 p5 ctime=0 mtime=0 version=2 cversion=0 aversion=0 ephemeral=false length=5 children=0) zxid=12
op> create /app/4 data=4444
op< 15: /app/4 zxid=13
op> get /zookeeper/quota/app/zookeeper_stats
op< 16: "count=3,bytes=5" (c5 m12 p5 ctime=0 mtime=0 version=2 cversion=0 aversion=0 ephemeral=false length=15 children=0) zxid=13

# The root has no quota, whatever stands there; nor has what only begins like the znode of quotas.
op> create /zookeeper/quota/zookeeper_limits data=countHardLimit=0
op< 17: /zookeeper/quota/zookeeper_limits zxid=14
op> create /zookeeper/quota/zookeeper_stats
op< 18: /zookeeper/quota/zookeeper_stats zxid=15
op> get /zookeeper/quota/zookeeper_stats
op< 19: null (c15 m15 p15 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=false length=0 children=0) zxid=15
op> create /zookeeper/quotas
op< 20: /zookeeper/quotas zxid=16
op> create /zookeeper/quotas/zookeeper_limits data=countHardLimit=0
op< 21: /zookeeper/quotas/zookeeper_limits zxid=17
op> delete /zookeeper/quotas/zookeeper_limits
op< 22: ok zxid=18
op> create /free
op< 23: /free zxid=19

# A restart keeps them.
door> restart
op> connects 10000
op< connected timeout=10000
op> get /zookeeper/quota/app/zookeeper_stats
op< 1: "count=3,bytes=5" (c5 m12 p5 ctime=0 mtime=0 version=2 cversion=0 aversion=0 ephemeral=false length=15 children=0) zxid=20
op> create /app/5
op< 2: error -125 zxid=21
op> delete /app/4
op< 3: ok zxid=22
op> create /app/5
op< 4: /app/5 zxid=23
op> get /zookeeper/quota/app/zookeeper_stats
op< 5: "count=3,bytes=1" (c5 m12 p5 ctime=0 mtime=0 version=2 cversion=0 aversion=0 ephemeral=false length=15 children=0) zxid=23

# Operators are told.
monitor> types mntr
monitor< "zk_version\t3.9.5-holdfast-0.0.1, built on an unknown day\nzk_server_state\tstandalone\nzk_avg_latency\t0.0\nzk_ephemerals_count\t0\nzk_num_alive_connections\t2\nzk_outstanding_requests\t0\nzk_znode_count\t15\nzk_global_sessions\t2\nzk_local_sessions\t0\nzk_packets_sent\t6\nzk_packets_received\t6\nzk_watch_count\t0\nzk_auth_failed_count\t0\nzk_min_latency\t0\nzk_max_latency\t0\nzk_approximate_data_size\t288\nzk_uptime\t0\nzk_open_file_descriptor_count\tN\nzk_max_file_descriptor_count\tN\nzk_app_quota_count_limit_per_namespace\t3\nzk_app_quota_bytes_limit_per_namespace\t-1\nzk_app_quota_count_usage_per_namespace\t3\nzk_app_quota_bytes_usage_per_namespace\t1\nzk_app_quota_exceeded_error_per_namespace\t1\n"
monitor< connection closed
