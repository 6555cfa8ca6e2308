"""The twelve signatures: how each failure of a pattern shows, what is behind it, and from when on it is one.

The failures are those that Srinivasan's methodology lists (arXiv 2605.20173, 2026); the tests and the
thresholds are ours. Where chance could make the same picture, the threshold is an exact test at ``ALPHA``,
divided by the number of parts that are tested: so what runs well raises no alarm, however much there is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from provenet.engine.diagnosis.finding import DetectorId, Signature

ALPHA: Final = 0.001
"""How likely a false alarm of one detector is at most, over all that it looks at."""

BEYOND: Final = 0.25
"""P1a: how far past its declared weight a child's result must have pulled the merged one, as a share of the
way from the declared mean to that result, by the median."""

ODD_VOTES: Final = 0.05
"""P1a: the share of votes that may go against the declared weights without being dominance."""

ROUNDS: Final = 2
"""P1b: rounds of retries, each with retries of its own, on one failure."""

OUTGROWN: Final = 2
"""P2a: how many times as long as its action a compensation may take."""

LEAST: Final = timedelta(seconds=1)
"""P2a: an action counts as at least this long; below, both are noise."""

TRANSIENT: Final = 1 / 3
"""P4a: how often a failure that passes by itself strikes a restart at most."""

SLOW: Final = timedelta(milliseconds=100)
"""P4b: the longest that a deterministic verdict may take."""

SELDOM: Final = 0.01
"""P4b, P5a: the share that may be over the limit: what is tested is the 99th percentile."""

CONFLICTS: Final = 3
"""P5a: how often one piece of work may lose its compare-and-swap."""

MISSED: Final = 0.25
"""P6a: the share of deadlines that reviewers who keep up may miss."""

GRACE: Final = timedelta(seconds=1)
"""P6b: how long a pull of the switch may take to reach a case."""

SIGNATURES: Final[dict[DetectorId, Signature]] = {
    s.id: s
    for s in (
        Signature(
            "P1a",
            "one child's results carry more than their declared weight",
            "a model merges the results, and no rule holds it to the weights",
            "merge by an expression over the results: by priority, or by weights",
            "what several contracts gave, and what the contract proposed that was given all of it; declared "
            "weights, equal ones where there are none",
            f"numbers: past the declared mean towards one child more often than a fair coin allows, and by "
            f"{BEYOND:.0%} of the way or more; votes: against the declared majority in more than "
            f"{ODD_VOTES:.0%}, ties for one child more often than a fair coin allows (exact binomial tests)",
        ),
        Signature(
            "P1b",
            "retries multiply on one failure",
            "the child asks again by itself, and its parent asks the child again",
            "one budget of retries, at the parent: attempts=1 in the child",
            "which token led to which: rounds of one contract that follow from its own failure, no person in "
            "between",
            f"{ROUNDS} rounds or more, each with retries of its own; none is by chance",
        ),
        Signature(
            "P2a",
            "compensations outgrow their actions",
            "the action is too coarse: undoing it is a task of its own",
            "split the action into steps that are undone one by one, or reserve first and confirm later",
            "when an effect's token arrived and when its receipt came, of each commit and of what undid it",
            f"longer than {OUTGROWN} times the action (counted as {LEAST.total_seconds():.0f} s at least) "
            "more often than a fair coin allows (exact binomial test)",
        ),
        Signature(
            "P2b",
            "what was written stays, is undone twice, or is undone out of order",
            "a compensation is missing, repeats, or is not bound to the order of the commits",
            "compensate in a saga scope: idempotent, in reverse order, begun by a deterministic trigger, and "
            "handed to a person where it fails",
            "commits and compensations of a scope that aborts, and which token led to which",
            "one is enough: none is by chance",
        ),
        Signature(
            "P3a",
            "the same input leads to other answers on another model or prompt",
            "the log is handed to the model again, as if its answers were part of the input",
            "keep the answers in the log and replay those, or make a row the truth (state machine)",
            "what proposers were given, what they answered, and the model and prompt that the log names",
            "answers differ between versions more often than within one (Fisher's exact test); where nothing "
            "was asked twice of one version, nothing can be said",
        ),
        Signature(
            "P3b",
            "an older event is taken after a newer one",
            "no watermark: whatever arrives is taken in the order of arrival",
            "refuse what is older than the watermark, or take it as another event, and keep it on record",
            "the own times of the events that a case took, and what the net declares of their lateness",
            "one is enough, where the net declares no lateness for the event and taking it changes anything",
        ),
        Signature(
            "P4a",
            "a child dies of the same failure after every restart",
            "the failure does not pass, and nothing counts the restarts",
            "a limit of restarts with growing pauses, then a person",
            "runs of one contract that follow from its own failure, and what each of them failed with",
            f"so many times in a row that chance explains none in the whole log, if a failure that passes "
            f"strikes {TRANSIENT:.0%} of the restarts",
        ),
        Signature(
            "P4b",
            "verdicts take long",
            "the gate asks a model, or another service",
            "decide by a policy over what is in the token; ask before the proposal, not in the gate",
            "the time between a verdict and the entry before it",
            f"longer than {SLOW.total_seconds() * 1000:.0f} ms in more than {SELDOM:.0%} of the verdicts of "
            "a contract (exact binomial test)",
        ),
        Signature(
            "P5a",
            "work loses its compare-and-swap again and again",
            "one row holds concerns that change independently of each other",
            "split the state machine: a row for each concern",
            "answers that came back to a row that had moved meanwhile, for each piece of work",
            f"more than {CONFLICTS} times in more than {SELDOM:.0%} of the pieces (exact binomial test)",
        ),
        Signature(
            "P5b",
            "a timer moves what a person has moved since it was set",
            "the timer does not know for which version of the row it was set",
            "carry the version in the timer's token, and do nothing where the row has another by then",
            "timers that fire, when their token was put, and who moved the row that they take in between",
            "one is enough: none is by chance",
        ),
        Signature(
            "P6a",
            "approvals fall to their time-out",
            "too few reviewers for what they are asked",
            "more reviewers, another role that takes over, fewer questions: a tighter policy before",
            "tasks that people decided, and tasks whose deadline passed",
            f"deadlines missed in more than {MISSED:.0%} of a task's decisions (exact binomial test)",
        ),
        Signature(
            "P6b",
            "work is committed after the kill switch was pulled",
            "the switch is looked at when work begins, and not again",
            "check it where each effect begins: a kill transition of the scope, which cancels ordinary work",
            "pulls of the switch, and commits that began after one and are no compensations",
            f"one is enough; {GRACE.total_seconds():.0f} s is granted to a switch for more than one case",
        ),
    )
}
"""All signatures, by id."""


def significant(chance: float, tests: int) -> bool:
    """Whether something is too unlikely to be chance, where it was looked for in so many places."""
    return chance * max(tests, 1) < ALPHA
