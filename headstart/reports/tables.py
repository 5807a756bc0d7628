"""The numbers of the benchmark report as tables of words, the same for the page, for Markdown and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reports import wording
from headstart.reports.result import Approach, BenchmarkResult, ClassFigures, FineTuning, Interval
from headstart.reports.wording import asked, count, counted, estimate, interval, nats, percent, points, seconds

MOST_CLASSES = 24
"""More categories than this and only those found worst are shown."""
NONE = "–"
"""Where there is nothing to count, a share of it means nothing."""


@dataclass(frozen=True)
class Table:
    """A header and rows of as many cells, ready to print."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def by_accuracy(result: BenchmarkResult) -> list[Approach]:
    """The approaches, most accurate first."""
    return sorted(result.approaches, key=lambda approach: -approach.accuracy.mean)


def leaderboard_table(result: BenchmarkResult) -> Table:
    """The approaches, most accurate first, by their short names: accuracy and its interval, macro-F1, top-3, times."""
    header = ("Approach", "Accuracy", "95 % interval", "Macro-F1", "Top-3", "Encode", "Train", "Predict")
    cells = [
        (
            a.name,
            percent(a.accuracy.mean),
            interval(a.accuracy),
            percent(a.macro_f1.mean),
            percent(a.top3.mean),
            seconds(a.seconds.encode),
            seconds(a.seconds.train),
            seconds(a.seconds.predict),
        )
        for a in by_accuracy(result)
    ]
    return Table(header, tuple(tuple(map(wording.plain, row)) for row in cells))


def accuracy(result: BenchmarkResult) -> Table:
    """Accuracy of each approach, the spread of its folds, and what ignoring near-duplicates would have shown."""
    return Table(
        (
            "Approach",
            "Accuracy",
            "95 % interval",
            "Weakest fold",
            "Strongest fold",
            "Near-duplicates ignored",
            "Changed by",
        ),
        tuple(
            (
                a.title,
                percent(a.accuracy.mean),
                interval(a.accuracy),
                percent(min(a.folds)) if a.folds else "",
                percent(max(a.folds)) if a.folds else "",
                percent(a.ungrouped_accuracy.mean),
                points(a.ungrouped_accuracy.mean - a.accuracy.mean),
            )
            for a in by_accuracy(result)
        ),
    )


def confidence(result: BenchmarkResult) -> Table:
    """What each approach's probabilities are worth, in the order of the leaderboard."""
    return Table(
        (
            "Approach",
            "Accepted",
            "Wrong among them",
            "Right one in the set",
            "Categories in a set",
            "Calibration error",
            "By chance alone",
            "Log-loss",
            "Log-loss, inner folds",
        ),
        tuple(
            (
                a.title,
                percent(a.confidence.accepted.share.mean),
                estimate(a.confidence.accepted.error) if a.confidence.accepted.share.mean > 0 else NONE,
                estimate(a.confidence.sets.coverage),
                f"{a.confidence.sets.size.mean:.2f}",
                estimate(a.confidence.calibration_error),
                percent(a.confidence.chance_error),
                nats(a.confidence.log_loss.mean),
                nats(a.inner_loss),
            )
            for a in by_accuracy(result)
        ),
    )


def reliability(approach: Approach) -> Table:
    """Predictions of about the same confidence, least confident first, and how many of them are right."""
    return Table(
        ("Confidence", "Right", "95 % interval", "Listings"),
        tuple(
            (percent(each.confidence), percent(each.accuracy.mean), interval(each.accuracy), count(each.rows))
            for each in approach.confidence.reliability
        ),
    )


def surest(approach: Approach, error_rate: float) -> Table:
    """Wrong among the surest listings, and among those accepted by a threshold set beforehand."""
    points = [("the surest", each) for each in approach.confidence.surest]
    points.append((f"accepted at {asked(error_rate)}", approach.confidence.accepted))
    return Table(
        ("Which", "Share", "Wrong", "95 % interval"),
        tuple(
            (which, percent(each.share.mean), percent(each.error.mean), interval(each.error))
            for which, each in points
            if each.share.mean > 0
        ),
    )


def decisions(approach: Approach) -> Table:
    """What becomes of the listings: accepted, suggested, or sent to a person."""
    found = approach.confidence
    accepted, suggested = found.accepted.share.mean, found.suggested_share
    sets = f"{found.suggested.size.mean:.1f} categories on average, the right one among them "
    return Table(
        ("What to do", "Listings", "What it is worth"),
        (
            (
                "accept",
                percent(accepted),
                f"{estimate(found.accepted.error)} wrong" if accepted > 0 else "no confidence was high enough",
            ),
            (
                "suggest 1 to 3 categories",
                percent(suggested),
                sets + f"{estimate(found.suggested.coverage)} of the time" if suggested > 0 else NONE,
            ),
            ("send to a person", percent(max(0.0, 1 - accepted - suggested)), NONE),
        ),
    )


def missing(result: BenchmarkResult) -> Table | None:
    """Accuracy of the approaches that read texts and photos when one is taken away, and of each alone.

    None where no approach reads both.
    """
    modality = {encoder.name: encoder.modality for encoder in result.encoders}
    both = [a for a in by_accuracy(result) if len({modality[name] for name in a.encoders}) == 2]
    if not both:
        return None
    alone = [a for a in result.approaches if a.name in ("text", "written", "image")]

    def figures(a: Approach) -> tuple[Interval, ...]:
        return a.accuracy, a.missing.without_image, a.missing.without_text, a.missing.half

    return Table(
        ("Approach", "Complete", "Without photos", "Without texts", "Half and half"),
        tuple((a.title, *map(estimate, figures(a))) for a in both + alone),
    )


def weights(result: BenchmarkResult) -> Table | None:
    """How strongly each fusion listens to its members; None where no approach has several."""
    fused = [a for a in by_accuracy(result) if len(a.weights) > 2]
    names = list(dict.fromkeys(name for a in fused for name in a.weights))
    if not fused:
        return None
    return Table(
        ("Approach", *names),
        tuple((a.title, *(f"{a.weights[name]:.2f}" if name in a.weights else "" for name in names)) for a in fused),
    )


def learning(result: BenchmarkResult) -> Table:
    """Accuracy of each approach that learnt from so many listings of each category, at most, and from all."""
    sizes = sorted({(point.whole, point.listings) for point in result.learning})
    found = {(point.approach, point.whole, point.listings): estimate(point.accuracy) for point in result.learning}
    learnt = {point.approach for point in result.learning}
    return Table(
        ("Approach", *("all listings" if whole else counted(size, "listing", "listings") for whole, size in sizes)),
        tuple(
            (a.title, *(found.get((a.name, *size), "") for size in sizes))
            for a in by_accuracy(result)
            if a.name in learnt
        ),
    )


def doublings(result: BenchmarkResult) -> Table:
    """What the last doubling of the labels brought each approach, in the order of the leaderboard."""
    found = {each.approach: each for each in result.doublings}
    return Table(
        ("Approach", "Learnt from", "Accuracy after half of them", "Gain in points", "p", "All against half"),
        tuple(
            (
                a.title,
                count(one.listings),
                percent(one.half.mean),
                f"{wording.signed(one.comparison.difference.mean)} ({wording.ends(one.comparison.difference)})",
                wording.probability(one.comparison.p_value),
                one.comparison.verdict,
            )
            for a in by_accuracy(result)
            if (one := found.get(a.name))
        ),
    )


def weakest(result: BenchmarkResult, most: int | None = MOST_CLASSES) -> list[ClassFigures]:
    """The categories of which the chosen approach finds fewest, at most so many; all of them for None."""
    return sorted(result.chosen_approach.per_class, key=lambda c: (c.recall.mean, c.label))[:most]


def beside(result: BenchmarkResult) -> tuple[list[Approach], list[dict[str, float]]]:
    """Text alone and image alone, where they are not chosen themselves, and the recall of each category."""
    others = [a for a in result.approaches if a.name in ("text", "image") and a.name != result.chosen]
    return others, [{c.label: c.recall.mean for c in other.per_class} for other in others]


def recall(result: BenchmarkResult, most: int | None = MOST_CLASSES) -> Table:
    """Each category under the chosen approach, hardest first, beside text alone and image alone."""
    others, found = beside(result)
    return Table(
        (
            "Category",
            "Listings",
            "Recall",
            "95 % interval",
            *(f"Recall, {a.name}" for a in others),
            "Precision",
            "F1",
        ),
        tuple(
            (
                c.label,
                count(c.rows),
                percent(c.recall.mean),
                interval(c.recall),
                *(percent(by_label[c.label]) if c.label in by_label else "" for by_label in found),
                percent(c.precision),
                percent(c.f1),
            )
            for c in weakest(result, most)
        ),
    )


def times(result: BenchmarkResult) -> Table:
    """Time to encode, to train and to predict."""
    return Table(
        ("Approach", "Encode", "Train", "Predict"),
        tuple(
            (a.title, *map(seconds, (a.seconds.encode, a.seconds.train, a.seconds.predict)))
            for a in by_accuracy(result)
        ),
    )


def tuning(found: FineTuning) -> Table:
    """Each approach with its encoders frozen and fine-tuned: accuracy, log-loss, what is gained, and for what time."""
    losses = ("Log-loss, frozen", "Log-loss, tuned")
    return Table(
        ("Approach", "Frozen", "Tuned", "Gain in points", "Verdict", *losses, "Times to train"),
        tuple(
            (
                each.title,
                percent(each.frozen.mean),
                percent(each.tuned.mean),
                f"{wording.signed(each.comparison.difference.mean)} ({wording.ends(each.comparison.difference)})",
                each.comparison.verdict,
                nats(each.frozen_loss.mean),
                nats(each.tuned_loss.mean),
                f"{count(each.seconds.train / each.frozen_seconds.train)} ×",
            )
            for each in found.approaches
        ),
    )


def trainings(found: FineTuning) -> Table:
    """What fine-tuning takes, and how it went; a column of what the time ended only where it did."""
    cut = any(each.cut_short for each in found.approaches)
    header = ("Approach", "Train, frozen", "Train, tuned", "Memory", "Changed", "Epochs")
    return Table(
        (*header, "Cut short") if cut else header,
        tuple(
            (
                each.title,
                seconds(each.frozen_seconds.train),
                seconds(each.seconds.train),
                wording.gigabytes(each.memory) if each.memory else "",
                f"{each.tunings - each.unchanged} of {each.tunings}",
                f"{each.epochs:.1f}",
                *([f"{each.cut_short} of {each.tunings}"] if cut else []),
            )
            for each in found.approaches
        ),
    )


def confusion(approach: Approach) -> Table:
    """Listings of each category (row) by the category they were put into (column); empty where none."""
    labels = tuple(c.label for c in approach.per_class)
    rows = zip(labels, approach.matrix(), strict=True)
    return Table(("Category", *labels), tuple((label, *(count(n) if n else "" for n in row)) for label, row in rows))


def confused_pairs(approach: Approach, most: int) -> Table:
    """The mistakes made most often: true category, category given, listings, share of the true one."""
    classes = approach.per_class
    mistakes = sorted((-number, true, given) for true, given, number in approach.confusion if given != true)
    return Table(
        ("Category", "Taken for", "Listings", "Share"),
        tuple(
            (classes[true].label, classes[given].label, count(-less), percent(-less / classes[true].rows))
            for less, true, given in mistakes[:most]
        ),
    )
