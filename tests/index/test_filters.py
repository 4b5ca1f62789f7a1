"""Filters are checked before anything is searched, and mean the same in every kind of collection."""

from datetime import datetime

import pytest

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.index.filters import MAX_CONDITIONS, MAX_VALUES, Condition, Field, clamped, parse_filter

WIDTH, CAPTION, SCORE = Field("width", "integer"), Field("caption", "text"), Field("score", "number")
SAFE, TAKEN, TAGS = Field("safe", "boolean"), Field("taken", "time"), Field("tags", "list", "text")
FIELDS = [WIDTH, CAPTION, SCORE, SAFE, TAKEN, TAGS, Field("exif", "other")]


def parsed(field: str, op: str, *value) -> Condition:
    [condition] = parse_filter([dict(zip(("field", "op", "value"), (field, op, *value), strict=False))], FIELDS)
    return condition


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (("width", "=", 512), Condition(WIDTH, "=", 512)),
        (("width", "=", 512.0), Condition(WIDTH, "=", 512)),
        (("width", ">", 511.5), Condition(WIDTH, ">=", 512)),
        (("width", "<", -0.5), Condition(WIDTH, "<=", -1)),
        (("width", "=", 0.5), Condition(WIDTH, "in", ())),
        (("width", "!=", 0.5), Condition(WIDTH, "exists", True)),
        (("width", "in", [1, 2.0, 2.5]), Condition(WIDTH, "in", (1, 2))),
        (("width", ">", 2**53 + 1), Condition(WIDTH, ">", 2**53 + 1)),
        (("score", ">=", 5), Condition(SCORE, ">=", 5.0)),
        (("caption", "contains", "naïve 猫"), Condition(CAPTION, "contains", "naïve 猫")),
        (("caption", "=", ""), Condition(CAPTION, "=", "")),
        (("caption", "exists"), Condition(CAPTION, "exists", True)),
        (("exif", "exists", False), Condition(Field("exif", "other"), "exists", False)),
        (("safe", "=", True), Condition(SAFE, "=", True)),
        (("tags", "contains", "dog"), Condition(TAGS, "contains", "dog")),
        (("taken", "<", "2024-05-31T20:00+02:00"), Condition(TAKEN, "<", datetime(2024, 5, 31, 18))),
        (("taken", "<", "2024-05-31"), Condition(TAKEN, "<", datetime(2024, 5, 31))),
    ],
)
def test_values_get_the_type_of_their_field(condition, expected):
    assert parsed(*condition) == expected
    assert type(parsed(*condition).value) is type(expected.value)


@pytest.mark.parametrize(
    ("condition", "at", "message"),
    [
        (("widht", "=", 1), "field", "'widht' is unknown: did you mean 'width'?"),
        (("?", "=", 1), "field", "'?' is unknown: the fields are width, caption,"),
        (("width", "==", 1), "op", "is '==', it must be one of = != <"),
        (("width", "contains", 1), "op", "'width' is a integer field: use one of = !="),
        (("exif", "=", 1), "op", "'exif' is a field that can only be tested for existence"),
        (("width", "=", "512"), "value", "is '512', it must be a number"),
        (("width", "=", True), "value", "is True, it must be a number"),
        (("score", "<", float("nan")), "value", "must be finite"),
        (("score", "<", 10**400), "value", "is larger than any floating-point number"),
        (("safe", "=", 1), "value", "is 1, it must be true or false"),
        (("caption", "=", 1), "value", "is 1, it must be text"),
        (("caption", "contains", ""), "value", "must not be empty"),
        (("caption", "=", "\ud800"), "value", "half of a surrogate pair"),
        (("caption", "exists", "yes"), "value", "is 'yes', it must be true or false"),
        (("caption", "="), "value", "is missing"),
        (("caption", "in", "dog"), "value", "must be a list for in"),
        (("width", "in", [1] * (MAX_VALUES + 1)), "value", f"at most {MAX_VALUES} are supported"),
        (("taken", "<", "yesterday"), "value", "it must be a date or time such as"),
    ],
)
def test_an_invalid_condition_is_named_with_what_it_may_be(condition, at, message):
    with pytest.raises(InputError, match=r"^filter\.0\.") as error:
        parsed(*condition)
    assert error.value.field == f"filter.0.{at}"
    assert message.replace("a integer", "an integer") in error.value.message


def test_the_shape_of_a_condition_and_their_number_are_checked():
    with pytest.raises(InputError, match="must be an object with field, op and value"):
        parse_filter(["width > 3"], FIELDS)
    with pytest.raises(InputError, match="has the unknown key 'column'"):
        parse_filter([{"column": "width", "op": "=", "value": 1}], FIELDS)
    with pytest.raises(InputError, match=f"at most {MAX_CONDITIONS} are supported"):
        parse_filter([{"field": "width", "op": "exists"}] * (MAX_CONDITIONS + 1), FIELDS)
    with pytest.raises(InputError, match="this index has no metadata fields"):
        parse_filter([{"field": "width", "op": "exists"}], [])


@pytest.mark.parametrize("op", ["=", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("value", [-(10**30), -1, 0, 255, 256, 10**30])
def test_clamped_keeps_the_meaning_for_all_values_of_the_type(op, value):
    import operator

    meaning = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
    condition = clamped(Condition(WIDTH, op, value), 0, 255)
    for stored in (0, 1, 254, 255):
        kept = {"exists": True, "in": False}.get(condition.op)
        if kept is None:
            assert 0 <= condition.value <= 255
            kept = getattr(operator, meaning[condition.op])(stored, condition.value)
        assert kept == getattr(operator, meaning[op])(stored, value)


def test_clamped_leaves_out_values_of_in_beyond_the_type():
    assert clamped(Condition(WIDTH, "in", (-1, 3, 300)), 0, 255).value == (3,)
    numbers = Field("numbers", "list", "integer")
    assert clamped(Condition(numbers, "contains", 300), 0, 255) == Condition(numbers, "in", ())
