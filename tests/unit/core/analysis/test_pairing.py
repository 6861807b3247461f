"""Predictions of two versions for the same requests.

The tests cover which predictions form a pair, and how far they differ.
"""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.analysis.pairing import MOST_OPEN, Difference, Pairing, ReportedResponse, difference


def response(body: Any, key: str = "k", status: int = 200) -> ReportedResponse:
    return ReportedResponse(key, status, body)


def apart(mine: Any, theirs: Any) -> Difference:
    return difference(response({"predictions": mine}), response({"predictions": theirs}))


@pytest.mark.parametrize(
    ("mine", "theirs", "largest", "unlike"),
    [
        ([1.0], [1.0], 0.0, False),
        ([1.0, 2.0], [1.5, 2.1], 0.5, False),
        ([1], [1.25], 0.25, False),
        ([{"a": 1.0, "b": "x"}], [{"b": "x", "a": 3.0}], 2.0, False),
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.5]], 0.5, False),
        (["yes"], ["yes"], None, False),
        (["yes"], ["no"], None, True),
        ([True], [False], None, True),
        ([True], [1], None, True),
        ([None], [None], None, False),
        ([None], [1.0], None, True),
        ([1.0], [1.0, 2.0], None, True),
        ([{"a": 1}], [{"b": 1}], None, True),
        ([math.nan], [math.nan], 0.0, False),
        ([math.nan], [1.0], None, True),
        ([math.inf], [math.inf], 0.0, False),
        ([math.inf], [-math.inf], None, True),
        ([10**400], [1.0], None, True),
        ([], [], None, False),
        ("text", "text", None, False),
        (3, "3", None, True),
    ],
)
def test_how_far_two_answers_are_apart(mine: Any, theirs: Any, largest: float | None, unlike: bool) -> None:
    for found in (apart(mine, theirs), apart(theirs, mine)):
        assert (found.largest if not unlike else None, bool(found.unlike)) == (largest, unlike)


def test_a_deep_answer_is_compared_too() -> None:
    mine: Any = 1.0
    theirs: Any = 2.0
    for _ in range(5000):
        mine, theirs = [mine], [theirs]
    assert apart(mine, theirs).largest == 1.0


def test_tensors_are_compared_and_not_the_names_around_them() -> None:
    def answer(version: str, value: float) -> ReportedResponse:
        tensor = {"name": "output-1", "shape": [1, 1], "datatype": "FP64", "data": [value]}
        return response({"model_name": "m", "model_version": version, "id": version, "outputs": [tensor]})

    assert difference(answer("1", 1.0), answer("2", 1.5)).largest == 0.5


def test_a_request_that_one_of_them_refuses_is_a_difference_that_no_number_measures() -> None:
    found = difference(response(None, status=500), response({"predictions": [1]}))
    assert found.beyond(1e9) and found.unlike == "The candidate responded with status 500, and stable with 200."


def test_where_they_differ_is_said_with_numbers_and_never_with_words() -> None:
    assert apart([1.0, 2.5], [1.0, 2.0]).place == "At predictions[1], the candidate returned 2.5 and stable 2."
    found = apart([{"name": "Jane Doe"}], [{"name": "John Doe"}])
    assert found.unlike == "The candidate and stable returned different texts at predictions[0].name."


def test_pairs_are_counted_by_tolerance() -> None:
    pairing = Pairing(frozenset({0.0, 0.3}))
    candidate = [response({"predictions": [float(n)]}, str(n)) for n in range(10)]
    stable = [response({"predictions": [n + n / 10]}, str(n)) for n in range(10)]
    pairing.add(candidate, stable)
    assert (pairing.compared, pairing.beyond[0.0], pairing.beyond[0.3]) == (10, 9, 6)
    assert pairing.largest == pytest.approx(0.9)
    assert pairing.example == "At predictions[0], the candidate returned 9 and stable 9.9."


def test_requests_that_both_refuse_are_no_pair() -> None:
    pairing = Pairing()
    pairing.add([response(None, "a", 400), response(None, "b", 400)], [response(None, "a", 400), response([1], "b")])
    assert (pairing.compared, pairing.unlike, pairing.beyond[0.0]) == (1, 1, 1)


def test_a_request_that_comes_again_is_a_pair_each_time() -> None:
    pairing = Pairing()
    pairing.add([response([1.0]), response([2.0])], [response([1.0]), response([2.0]), response([3.0])])
    assert (pairing.compared, pairing.largest, pairing.seen) == (2, 0.0, (2, 3))


def test_what_one_side_never_sees_is_forgotten() -> None:
    pairing = Pairing()
    pairing.add([], (response([1], str(n)) for n in range(3 * MOST_OPEN)))
    assert len(pairing._stable.order) == sum(map(len, pairing._stable.waiting.values())) == MOST_OPEN
    pairing.add([response([1], "0"), response([1], str(3 * MOST_OPEN - 1))], [])
    assert pairing.compared == 1


ANSWERS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-5, 5)), max_size=40)


@given(ANSWERS, ANSWERS, st.lists(st.integers(0, 80), max_size=8), st.floats(0, 3))
def test_how_the_answers_come_in_changes_no_count_of_pairs(
    mine: list[tuple[str, float]], theirs: list[tuple[str, float]], cuts: list[int], tolerance: float
) -> None:
    """Check that the order of arrival does not change the pairs.

    The predictions of each side arrive in their order, all at once or in parts. The pairs are the same, and so are the
    sums.
    """
    candidate, stable = ([response([value], key) for key, value in side] for side in (mine, theirs))
    whole, parts = Pairing(frozenset({tolerance})), Pairing(frozenset({tolerance}))
    whole.add(candidate, stable)
    at = 0
    for cut in [*sorted(cuts), 80]:
        parts.add(candidate[at:cut], stable[at // 2 : cut // 2] if cut < 80 else stable[at // 2 :])
        at = cut
    assert (whole.compared, whole.beyond, whole.largest) == (parts.compared, parts.beyond, parts.largest)
    expected = sum(min(sum(k == key for k, _ in mine), sum(k == key for k, _ in theirs)) for key in "abcdefgh")
    assert whole.compared == expected
    assert 0 <= whole.beyond[tolerance] <= whole.compared


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_an_answer_is_like_itself(answer: Any) -> None:
    found = apart(answer, answer)
    assert not found.unlike and found.largest in (None, 0.0)
