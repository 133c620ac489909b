"""Which brokers a tenant may use: shuffle shards, as far apart as mathematics allows. Pure.

`fresh.assign` places tenants on brokers that nobody uses yet; `occupancy.Occupancy` knows the shards there are and
places one more, and `changes` answers a broker that leaves or joins and offers `repack`. `bounds` proves what nobody
can exceed, `measure` and `blast` say what a placement is worth. The rest are constructions:

    fields      finite fields and groups            arrays     one broker a zone: transversal designs, Reed-Solomon
    triples     Steiner triple systems              geometry   lines, planes, circles, Golay code
    orbits      base blocks developed by a group    packings   the best of them for plain subsets
    families    the best of them for a shape of zones and shard
"""
