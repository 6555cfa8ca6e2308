"""The method: a described workload, predicates that read it, the decision record, a net to start from."""
