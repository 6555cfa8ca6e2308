"""Plain place/transition nets: integers only, for the engines that live on counting.

Read ``net`` (the net), ``logic`` (what is asked of a marking) and ``answer`` (what an engine says) first;
each file of ``engines`` is one technique.
"""
