"""Members' opinions → what a classifier answers, in a TensorFlow graph: `Fusion`, `Rules` and the ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.heads.calibration import ACCEPT, BEST, PERSON, SEPARATOR, SUGGEST, Rules
from headstart.heads.fusion import LOWEST, Fusion
from headstart.runtime import tensorflow


def fused(fusion: Fusion, opinions: Sequence[Any], there: Sequence[Any], has: Mapping[str, Any]) -> Any:
    """`Fusion.log_probabilities` of tensors: float32 ``(n, K)``.

    Args:
        fusion: of M members.
        opinions: of each member, ``(n, K)``.
        there: of each member, whether it could read something, ``(n,)`` bool.
        has: modality → whether the listing has it, ``(n,)`` bool.
    """
    tf = tensorflow()
    share = tf.zeros((len(fusion.members) + 1, tf.size(there[0])))
    read = frozenset[str]().union(*fusion.members)
    for pattern, weights in fusion.weights.items():
        exactly = tf.reduce_all([has[kind] == (kind in pattern) for kind in read], axis=0)
        share = tf.where(exactly[None], tf.constant(weights[:, None], tf.float32), share)
    members = share[:-1] * tf.cast(tf.stack(there), tf.float32)
    prior = tf.where(tf.reduce_any(members > 0, axis=0), share[-1], 1)
    total = prior[:, None] * tf.constant(fusion.prior, tf.float32)
    for weight, opinion in zip(tf.unstack(members, len(opinions)), opinions, strict=True):
        heard = tf.where(weight[:, None] > 0, opinion, 0)
        total += weight[:, None] * tf.clip_by_value(heard, LOWEST, 0)
    return tf.nn.log_softmax(total)


def answers(probabilities: Any, names: Sequence[str], rules: Rules | None, has: Mapping[str, Any]) -> dict[str, Any]:
    """What is answered of n listings, as `headstart predict` writes it.

    Args:
        probabilities: of each category, ``(n, K)``.
        names: of the K categories.
        rules: what decides; None where nobody knows how often the classifier errs.
        has: modality → whether the listing has it, ``(n,)`` bool.

    Returns:
        ``category``, ``probability``, ``top`` and ``top_probability`` ``(n, BEST)`` or as many as there are
        categories, ``decision``, ``suggested``, ``candidates`` and ``read``.
    """
    tf = tensorflow()
    ranked, order = tf.math.top_k(probabilities, len(names))
    best = tf.gather(tf.constant(list(names)), order)
    some = tf.reduce_any(tf.stack([*has.values()]), axis=0)
    decision, suggested = tf.fill(tf.shape(some), PERSON), tf.fill(tf.shape(some), "")
    candidates = tf.fill(tf.shape(some), -1)
    if rules is not None:
        thresholds = tf.constant(rules.conformal.thresholds, tf.float64)
        sets = tf.cast(ranked, tf.float64) >= tf.gather(thresholds, order)
        first = tf.one_hot(0, len(names), on_value=True, off_value=False)
        sets |= first & tf.reduce_any(sets, axis=1, keepdims=True)
        candidates = tf.reduce_sum(tf.cast(sets, tf.int32), axis=1)
        decision = tf.where((candidates >= 1) & (candidates <= rules.largest), SUGGEST, PERSON)
        if rules.accept_from is not None:
            decision = tf.where(ranked[:, 0] >= rules.accept_from, ACCEPT, decision)
        decision = tf.where(some, decision, PERSON)
        joined = tf.strings.reduce_join(tf.ragged.boolean_mask(best, sets), axis=1, separator=SEPARATOR)
        suggested = tf.where(decision == SUGGEST, joined, "")
    read = tf.fill(tf.shape(some), "")
    for kind in sorted(has, reverse=True):
        joint = tf.where(read == "", "", "+")
        read += tf.where(has[kind], joint + kind, "")
    return {
        "category": best[:, 0],
        "probability": ranked[:, 0],
        "top": best[:, :BEST],
        "top_probability": ranked[:, :BEST],
        "decision": decision,
        "suggested": suggested,
        "candidates": candidates,
        "read": tf.where(some, read, "nothing"),
    }
