"""Commands on all keys through a cluster client: every key comes once, not once per master."""

import json
import sys

import redis

KEYS = 500

host, port = sys.argv[1].rsplit(":", 1)
cluster = redis.RedisCluster(host=host, port=int(port), decode_responses=True)
want = {f"{{{number}}}:key" for number in range(KEYS)}
for key in want:
    assert cluster.set(key, "value")

scanned = list(cluster.scan_iter(count=50))
assert len(scanned) == KEYS, f"SCAN: {len(scanned)} keys of {KEYS}"
assert set(scanned) == want
matched = list(cluster.scan_iter(match="{1*", count=50))
assert sorted(matched) == sorted(key for key in want if key.startswith("{1")), len(matched)
listed = cluster.keys("*", target_nodes=redis.RedisCluster.PRIMARIES)
assert len(listed) == KEYS and set(listed) == want, f"KEYS: {len(listed)}"
assert cluster.dbsize(target_nodes=redis.RedisCluster.PRIMARIES) == KEYS

for key in sorted(want)[:50]:
    used = cluster.memory_usage(key)
    assert used == len(key) + len("value") + 64, f"MEMORY USAGE {key}: {used}"
assert cluster.memory_usage("no such key") is None

# A plain client at the client port of any node sees all keys.
plain = redis.Redis(host=host, port=int(port), decode_responses=True)
assert len(list(plain.scan_iter(count=100))) == KEYS
assert plain.dbsize() == KEYS

cluster.flushall(target_nodes=redis.RedisCluster.PRIMARIES)
assert plain.dbsize() == 0
print(json.dumps({"done": True}))
