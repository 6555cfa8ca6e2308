"""The contract-renewal agent: 90 days of a customer's contract, from window to outcome.

The parts that know nothing of Petri nets live here too: the customers it reads (``customers``), the policy
it obeys (``policy_data``), and the outside world that it acts on (``services``, ``client``, ``ledger``).
"""
