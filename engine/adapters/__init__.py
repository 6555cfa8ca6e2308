"""Many machines: who wakes cases that any of several processes may move.

The store decides everything. An adapter (``provenet.engine.adapters.protocol``) only sees to it that somebody
looks at a case again: at least once, perhaps twice, perhaps in another order. Three of them: the engine's own
loop (``embedded``), Temporal (``temporal``) and DBOS on PostgreSQL (``dbos``).
"""
