"""Titles of clusters: what can be said of most of their images, and what tells siblings apart."""

from hypothesis import given
from hypothesis import strategies as st

from clipgpt_retrieval.explore.titles import Title, titles

BIKES = [
    "A photo of a woman riding a bike and a car on the street.",
    "A photo of two cars on the street at night.",
    "A photo of a bus on the street.",
    "A photo of a dog on the street.",
]
DOGS = ["A dog on the beach.", "Two dogs and a crab on the beach", "A dog on the beach at night", "A dog in a park"]
CATS = ["A cat on a sofa.", "Two cats and a sofa", "A cat next to a sofa", "A black cat on the sofa."]


def test_a_title_names_what_most_members_have():
    """A centre lies between its members: what its caption names may be in none of them."""
    [street, beach, _] = titles([("A photo of a fire truck on the street.", BIKES), (DOGS[1], DOGS), (CATS[0], CATS)])
    assert street == Title("on the street", None)
    assert beach == Title("a dog on the beach", "a dog")


def test_siblings_of_one_title_are_told_apart_by_what_they_often_have():
    by_day = ["A boy on the beach.", "A boy and a ball on the beach.", "A man on the beach.", "A crab on the beach"]
    by_sea = ["A ship at the beach", "A ship and a bird on the beach.", "A gull at the beach", "A seal on the beach"]
    first, second = titles([(by_day[0], by_day), (by_sea[0], by_sea)])
    assert first == Title("on the beach", "a boy")
    assert second.distinctive == "a ship"


def test_a_cluster_of_which_nothing_can_be_said_has_its_most_frequent_phrase():
    mixed = ["A cat.", "A dog in a park.", "A cat and a bird.", "A plane in the sky."]
    assert titles([("A zebra.", mixed)])[0].caption == "a cat"


def test_captions_without_phrases_stay_as_they_are():
    assert titles([("xx", ["y", "z"]), ("", [])]) == [Title("xx", None), Title("", None)]
    assert titles([]) == []


@given(st.lists(st.tuples(st.text(), st.lists(st.text(), max_size=5)), max_size=5))
def test_any_captions_lead_to_titles(clusters):
    assert len(titles(clusters)) == len(clusters)
