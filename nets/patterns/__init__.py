"""Runtime architecture patterns: builders of net fragments that say what they guarantee.

A pattern is a frozen record whose ``expand(net)`` adds its fragment to a net and returns a handle: the places
where other parts go on, and ``guarantees``, the requirements that the net now has to prove. What a model
proposes, what reaches the outside and what a person decides is never a pattern's own: it comes as a contract,
a task or a scope of the user's, in a slot (``slot``). So the patterns know nets and nothing above them.

The patterns are those of Srinivasan's methodology for production LLM agents (arXiv 2605.20173, 2026); each
file names the older idea that it stands on.
"""
