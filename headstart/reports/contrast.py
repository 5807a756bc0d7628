"""Two benchmarks' results on the same listings: which is better, and what else differs between the two runs."""

from __future__ import annotations

import shlex
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.errors import HeadstartError
from headstart.reports import wording
from headstart.reports.compare import compare_all
from headstart.reports.metrics import GroupBootstrap
from headstart.reports.packing import Judged, unpacked
from headstart.reports.reading import NotThatError
from headstart.reports.result import Approach, BenchmarkResult, Comparison
from headstart.reports.tables import NONE, Table

FILE = "results.json"


@dataclass(frozen=True)
class Pair:
    """An approach of A beside one of B; differences are A minus B."""

    chosen: bool
    """Those that the two benchmarks chose; else both have one name."""
    comparison: Comparison
    """Its p-value is adjusted for all pairs."""
    accuracy: tuple[float, float]
    """Of A and of B."""
    train: tuple[float, float]
    """Seconds."""
    changed: int
    """Listings that were right in one and wrong in the other, in some repeat."""


@dataclass(frozen=True)
class Difference:
    """Something in which the two runs differ."""

    what: str
    a: str
    b: str


@dataclass(frozen=True)
class Contrast:
    """What two results say together."""

    verdict: str
    """Of what A chose against what B chose."""
    pairs: tuple[Pair, ...]
    """What was chosen first, then every approach that both have, in the order of A."""
    listings: int
    differences: tuple[Difference, ...]
    """The files first."""
    notes: tuple[str, ...]
    """What to mind when reading the others."""


@dataclass(frozen=True, eq=False)
class _Read:
    path: Path
    result: BenchmarkResult
    judged: Judged


def contrast(a: Path, b: Path) -> Contrast:
    """Compare two results as approaches are compared within one, by `compare.compare_all`.

    Args:
        a, b: results.json, or the folder that holds it.

    Raises:
        HeadstartError: one cannot be read, or they are not of the same listings, cut alike.
    """
    one, two = _read(a), _read(b)
    if one.result.protocol.splits != two.result.protocol.splits:
        raise HeadstartError(_why_not(one, two))
    pairs = _pairs(one, two)
    return Contrast(
        verdict=wording.plain(_verdict(one.result, two.result, pairs)),
        pairs=pairs,
        listings=one.result.catalog.judged,
        differences=_differences(one, two),
        notes=_notes(one.result, two.result),
    )


def pairs_table(found: Contrast) -> Table:
    """The pairs, in plain words."""
    header = ("Approach", "A", "B", "A − B in points", "p-value", "Verdict", "Train, A", "Train, B")
    rows = [
        (
            _name(pair),
            *map(wording.percent, pair.accuracy),
            f"{wording.signed(pair.comparison.difference.mean)} ({wording.ends(pair.comparison.difference)})",
            wording.p_value(pair.comparison.p_value),
            pair.comparison.verdict if pair.changed else "no listing differs",
            *map(wording.seconds, pair.train),
        )
        for pair in found.pairs
    ]
    return Table(header, tuple(tuple(map(wording.plain, row)) for row in rows))


def differences_table(found: Contrast) -> Table:
    """What differs between the two runs."""
    return Table(("Differs", "A", "B"), tuple((each.what, each.a, each.b) for each in found.differences))


def _name(pair: Pair) -> str:
    names = dict.fromkeys((pair.comparison.a, pair.comparison.b))
    return " / ".join(names) + (" (chosen)" if pair.chosen else "")


def _read(path: Path) -> _Read:
    file = path / FILE if path.is_dir() else path
    try:
        result = BenchmarkResult.from_json(file.read_bytes().decode())
        return _Read(file, result, unpacked(result))
    except FileNotFoundError:
        where = f"no {FILE} in {path}" if path.is_dir() else f"{path} does not exist"
        raise HeadstartError(f"{where}: name a {FILE}, or the folder that 'headstart benchmark --out' wrote") from None
    except OSError as error:
        raise HeadstartError(f"{file} cannot be read ({error.strerror}): name a {FILE}") from None
    except UnicodeDecodeError:
        raise HeadstartError(f"{file} is no benchmark's {FILE} (not UTF-8): name one") from None
    except NotThatError as error:
        raise HeadstartError(f"{file}: a damaged {FILE}: {str(error)[:150]!r}; run the benchmark again") from None
    except HeadstartError as error:
        raise HeadstartError(f"{file}: {error}") from None


def _why_not(one: _Read, two: _Read) -> str:
    """Why two results cannot be compared, as far as they tell, and what to do."""
    a, b = one.result, two.result
    splits = [each.protocol.splits[:12] for each in (a, b)]
    why = "; ".join(_other_cuts(a, b) + _other_listings(a, b)) or _other_encoders(a, b) or _other_contents(a, b)
    return f"{one.path} and {two.path} are of other splits ({splits[0]} and {splits[1]}): {why}"


def _other_cuts(a: BenchmarkResult, b: BenchmarkResult) -> list[str]:
    found = []
    cuts = [(each.protocol.folds, each.protocol.repeats, each.protocol.seed) for each in (a, b)]
    if cuts[0] != cuts[1]:
        told = [f"{folds} folds × {repeats} repeats, seed {seed}" for folds, repeats, seed in cuts]
        found.append(f"A has {told[0]}, B {told[1]}: give both the same --folds, --repeats and --seed")
    cosines = a.duplicates.cosine, b.duplicates.cosine
    if cosines[0] != cosines[1]:
        told = [f"{cosine:g}" for cosine in cosines]
        found.append(
            f"near-duplicates are nearer than {told[0]} in A, {told[1]} in B: give both one --duplicate-cosine"
        )
    return found


def _other_listings(a: BenchmarkResult, b: BenchmarkResult) -> list[str]:
    """By the listings of each category, those left out included: folds and near-duplicates have no part in them."""
    rows = [{**each.catalog.class_rows, **each.catalog.rare} for each in (a, b)]
    if a.catalog.rows != b.catalog.rows:
        told = [f"{each.catalog.judged:,} of {each.catalog.rows:,} listings" for each in (a, b)]
        return [f"A judged {told[0]}, B {told[1]}: run both on the same file"]
    label = next((label for label in {**rows[0], **rows[1]} if rows[0].get(label) != rows[1].get(label)), None)
    if label is None:
        return []
    told = [f"{each.get(label, 0):,}" for each in rows]
    return [
        f"the category {label[:40]!r} has {told[0]} listings in A, {told[1]} in B: run both on the same file, with the "
        "same --label"
    ]


def _other_encoders(a: BenchmarkResult, b: BenchmarkResult) -> str:
    same = {each.fingerprint for each in a.encoders} == {each.fingerprint for each in b.encoders}
    if same or not (a.duplicates.rows or b.duplicates.rows):
        return ""
    names = [[each.name for each in result.encoders] for result in (a, b)]
    every = " ".join(f"--encoder {shlex.quote(name)}" for name in dict.fromkeys([*names[0], *names[1]]))
    return (
        f"A reads with {wording.listed(names[0])}, B with {wording.listed(names[1])}, and each sees near-duplicates of "
        f"its own, {a.duplicates.rows:,} and {b.duplicates.rows:,} listings: judge all in one benchmark, with {every}"
    )


def _other_contents(a: BenchmarkResult, b: BenchmarkResult) -> str:
    versions = [each.provenance.get("headstart", "unknown") for each in (a, b)]
    return (
        "each category has as many listings in both, so their ids, contents or order differ, or what made them "
        f"(headstart {versions[0]} and {versions[1]}): run both on the same file, with the same headstart"
    )


def _pairs(one: _Read, two: _Read) -> tuple[Pair, ...]:
    a, b = one.result, two.result
    chosen = (a.chosen, b.chosen)
    shared = [each.name for each in a.approaches if each.name in two.judged.right]
    names = list(dict.fromkeys([chosen, *((name, name) for name in shared)]))
    right = {f"A {name}": found for name, found in one.judged.right.items()}
    right |= {f"B {name}": found for name, found in two.judged.right.items()}
    bootstrap = GroupBootstrap(one.judged.groups, a.protocol.resamples, a.protocol.seed)
    compared = compare_all(right, [(f"A {x}", f"B {y}") for x, y in names], bootstrap, one.judged.folds)
    pairs = []
    for (x, y), comparison in zip(names, compared, strict=True):
        left, other = _approach(a, x), _approach(b, y)
        pairs.append(
            Pair(
                chosen=(x, y) == chosen,
                comparison=replace(comparison, a=x, b=y),
                accuracy=(left.accuracy.mean, other.accuracy.mean),
                train=(left.seconds.train, other.seconds.train),
                changed=int((one.judged.right[x] != two.judged.right[y]).any(axis=0).sum()),
            )
        )
    return tuple(pairs)


def _approach(result: BenchmarkResult, name: str) -> Approach:
    return next(each for each in result.approaches if each.name == name)


def _verdict(a: BenchmarkResult, b: BenchmarkResult, pairs: tuple[Pair, ...]) -> str:
    first = pairs[0].comparison
    titles = f"A ({a.chosen_approach.title})", f"B ({b.chosen_approach.title})"
    if not any(pair.changed for pair in pairs):
        return f"No listing was judged differently by {titles[0]} and {titles[1]}, nor by another approach of both."
    if not pairs[0].changed:
        return f"{titles[0]} and {titles[1]} are right on the same listings: no listing was judged differently."
    told = wording.evidence(first)
    if first.verdict == "not distinguishable":
        return f"{titles[0]} cannot be told from {titles[1]}: {told}, {wording.doubt(first.difference)}."
    return f"{titles[0]} is {first.verdict} than {titles[1]}: {told}, more than chance explains."


def _notes(a: BenchmarkResult, b: BenchmarkResult) -> tuple[str, ...]:
    machines = [each.provenance.get("machine", "unknown") for each in (a, b)]
    if machines[0] == machines[1]:
        return ()
    return (f"The seconds are of different machines (A: {machines[0]}; B: {machines[1]}) and cannot be compared.",)


def _differences(one: _Read, two: _Read) -> tuple[Difference, ...]:
    shared = one.judged.right.keys() & two.judged.right.keys()
    a, b = _facts(one, shared), _facts(two, shared)
    return tuple(
        Difference(what, a.get(what, NONE), b.get(what, NONE)) for what in {**a, **b} if a.get(what) != b.get(what)
    )


def _facts(read: _Read, shared: Set[str]) -> dict[str, str]:
    """What decides a result's figures and seconds, or tells it from another: name → value."""
    result = read.result
    return {
        "file": str(read.path),
        "title": result.title,
        "catalogue": result.catalog.path,
        "approaches": ", ".join(each.name for each in result.approaches),
        "chosen": result.chosen,
        **{f"encoder {each.name}": each.fingerprint[:12] for each in result.encoders},
        **{
            f"{each.name}: {name}": str(value)
            for each in result.approaches
            if each.name in shared
            for name, value in [("encoders", ", ".join(each.encoders)), *each.settings.items()]
        },
        "near-duplicates": f"cosine {result.duplicates.cosine:g}",
        "resamples": str(result.protocol.resamples),
        "inner folds": str(result.protocol.inner_folds),
        "error rate": f"{result.protocol.error_rate:g}",
        "coverage": f"{result.protocol.coverage:g}",
        "fine-tuning": result.tuning.depth if result.tuning else "none",
        **{name: value for name, value in result.provenance.items() if name != "command"},
    }
