"""Who may do what from outside: signed tokens, roles, and the log of what was allowed and refused."""

from provenet.engine.access.policy import Access, Key, Role
from provenet.engine.access.tokens import digest, issue, new_key

__all__ = ["Access", "Key", "Role", "digest", "issue", "new_key"]
