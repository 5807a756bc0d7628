from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs import Write, refusal
from headstart.catalog import category
from headstart.cells import guarded
from headstart.decisions import Decision, correct, read_decisions

HEAD = "id,filed,decision,category,decided_by,decided_at,holdout\n"
AT = "2026-03-01T10:00:00Z"


def test_decisions_are_read(write: Write) -> None:
    path = write(
        HEAD + f"007,Robes,agree,Jupes,Zoé,{AT},false\n8,Robes,keep,,,,\n9,Robes,other,'=A,,,true\n10,,skip,,,,\n"
    )
    assert read_decisions(path) == [
        Decision("007", "Robes", "agree", "Jupes", "Zoé", AT),
        Decision("8", "Robes", "keep"),
        Decision("9", "Robes", "other", "=A", holdout=True),
        Decision("10", "", "skip"),
    ]
    assert [each.final for each in read_decisions(path)] == ["Jupes", "Robes", "=A", ""]
    assert [each.binding for each in read_decisions(path)] == [True, True, False, False]


def test_three_columns_may_be_missing_and_others_may_be_there(write: Write) -> None:
    path = write("note,category,id,decision,filed\nx,Jupes,1,agree,Robes\n")
    assert read_decisions(path) == [Decision("1", "Robes", "agree", "Jupes")]
    assert read_decisions(write("id,filed,decision,category\n")) == []


def test_a_file_that_excel_saved(write: Write) -> None:
    text = (
        HEAD.replace(",", ";").replace("\n", "\r\n") + '1;"Robes, été";AGREE;"Jupes; ""longues""";;;VRAI\r\n;;;;;;\r\n'
    )
    (read,) = read_decisions(write(text.encode("utf-8-sig")))
    assert read == Decision("1", "Robes, été", "agree", 'Jupes; "longues"', holdout=True)


def test_categories_are_composed_and_stripped(write: Write) -> None:
    (read,) = read_decisions(write(HEAD + "1, e\u0301te\u0301 ,agree,hive\u0301r ,,,\n"))
    assert (read.filed, read.category) == ("été", "hivér")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "c.csv is empty"),
        ("\n,,,\n", "c.csv is empty"),
        ("id,filed,decision\n", "no column 'category' among id, filed, decision"),
        ("id,id,filed,decision,category\n", "2 columns 'id'"),
        ("id,filed,decision,category\n1,A,agree\n", "row 2 has 3 cells instead of 4"),
        ("id,filed,decision,category\n\n1,A,maybe,B\n", "row 3, id '1': the decision 'maybe' is none of agree, keep"),
        ("id,filed,decision,category\n1,A,agree, \n", "row 2, id '1': the decision 'agree' has no category"),
        ("id,filed,decision,category\n1,A,other,\n", "the decision 'other' has no category"),
        ("id,filed,decision,category\n ,A,keep,\n", "row 2, id ' ': the id is empty"),
        (HEAD + "1,A,keep,,,,perhaps\n", "holdout is 'perhaps'; write true or false"),
        ('id,filed,decision,category\n1,A,keep,\n2,"A,keep,\n', "row 3 is damaged"),
        (HEAD + "1,A,agree,B,,,\n2,A,keep,,,,\n1,A,agree,C,,,\n", "rows 2 and 4 decide differently on '1'"),
        (HEAD + f"1,A,agree,B,,{AT},\n1,A,keep,,,,\n", "rows 2 and 3 decide differently"),
        (HEAD + f"1,A,agree,B,,{AT},\n1,A,keep,,,{AT},\n", "rows 2 and 3 decide differently"),
        (HEAD + f"1,A,agree,B,,{AT},\n1,A,keep,,,01/03/2026,\n", "rows 2 and 3 decide differently"),
    ],
)
def test_what_is_wrong_is_named(write: Write, text: str, said: str) -> None:
    message = refusal(lambda: read_decisions(write(text)))
    assert said in message
    assert "c.csv" in message


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_named_with_its_line(write: Write, encoding: str) -> None:
    message = refusal(lambda: read_decisions(write((HEAD + "1,été,keep,,,,\n").encode(encoding))))
    assert "is not UTF-8: line " in message
    assert "save it as CSV UTF-8" in message


def test_no_such_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(lambda: read_decisions(tmp_path / "x.csv"))


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_decisions_the_later_counts(write: Write, turned: bool) -> None:
    rows = ["1,A,agree,B,,2026-03-01T10:00:00+02:00,", "1,A,agree,C,,2026-03-01T09:00:00Z,true"]
    (read,) = read_decisions(write(HEAD + "\n".join(rows[::-1] if turned else rows)))
    assert read.category == "C"
    rows = [rows[0] + "true", rows[1].removesuffix("true")]
    (read,) = read_decisions(write(HEAD + "\n".join(rows[::-1] if turned else rows)))
    assert (read.category, read.holdout) == ("C", True), "a holdout is never opened by a later decision"


def test_the_same_decision_twice_is_one(write: Write) -> None:
    assert len(read_decisions(write(HEAD + "1,A,agree,B,Zoé,,\n1,A,agree,B,Max,,\n"))) == 1


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), unique_by=lambda row: row[0], min_size=1), st.sampled_from(",;"))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], mark: str) -> None:
    text = io.StringIO(newline="")
    out = csv.writer(text, delimiter=mark)
    out.writerow(["id", "filed", "decision", "category"])
    out.writerows([guarded(row[0]), guarded(row[1]), "other", guarded(row[2])] for row in rows)
    path = tmp_path_factory.mktemp("decisions") / "decisions.csv"
    path.write_bytes(text.getvalue().encode())
    expected = [Decision(row[0], category(row[1]) or "", "other", category(row[2]) or "") for row in rows]
    assert read_decisions(path) == expected


# --- correct ---------------------------------------------------------------------------------------

IDS, LABELS = ["1", "2", "3", "4", "5"], ["A", "A", None, "B", "C"]
MADE = [
    Decision("5", "C", "other", "D"),
    Decision("1", "A", "agree", "B"),
    Decision("2", "A", "keep", "X"),
    Decision("3", "", "other", "A"),
    Decision("4", "B", "agree", "A", holdout=True),
    Decision("gone", "B", "skip"),
]


def test_labels_are_corrected_and_a_second_time_changes_nothing() -> None:
    labels, changed = correct(IDS, LABELS, MADE)
    assert labels == ["B", "A", "A", "B", "D"]
    assert changed.tolist() == [0, 2, 4]
    again, changed = correct(IDS, labels, MADE)
    assert again == labels
    assert changed.tolist() == []
    assert correct(IDS, LABELS, [])[0] == LABELS


def test_listings_that_are_not_there_are_counted_and_the_first_is_named() -> None:
    more = [Decision("x", "A", "keep"), Decision("y", "A", "agree", "B")]
    assert "lacks 2 of the listings decided on, the first 'x'" in refusal(lambda: correct(IDS, LABELS, MADE + more))


@pytest.mark.parametrize("what", ["agree", "keep"])
def test_listings_filed_elsewhere_by_now_are_counted_and_the_first_is_named(what: str) -> None:
    stale = [Decision("1", "X", what, "Y"), Decision("3", "X", what, "Y"), Decision("2", "A", what, "A")]
    message = refusal(lambda: correct(IDS, LABELS, stale))
    assert "2 of the listings decided on are filed elsewhere by now, the first '1' under 'A', no longer 'X'" in message
