"""Scenes and their captions agree: every model of the demo is trained on them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.demo import build
from clipgpt_retrieval.demo.captions import captions, plain_caption, query
from clipgpt_retrieval.demo.edits import CHANGES, random_edit, variations
from clipgpt_retrieval.demo.gallery import EDITS_PER_SCENE, edited_scenes
from clipgpt_retrieval.demo.render import render, spots
from clipgpt_retrieval.demo.scenes import (
    GALLERY_MIX,
    MAX_COUNT,
    MAX_KINDS,
    MAX_THINGS,
    OUTDOORS,
    SETTINGS,
    Placed,
    Scene,
    fits,
    random_scene,
)
from clipgpt_retrieval.demo.things import KINDS, TOGETHER
from clipgpt_retrieval.demo.vocabulary import (
    matches_text,
    named_in,
    names_all,
    night_in,
    setting_in,
    shows_named_things,
)

seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=150, deadline=None)


def scene_of(seed: int) -> tuple[Scene, np.random.Generator]:
    random = np.random.default_rng(seed)
    return random_scene(random), random


def shown(setting: str, counts: dict[str, int], night: bool = False) -> Scene:
    return Scene(setting, night, tuple(Placed(kind, count) for kind, count in counts.items()), None, 0)


def test_there_are_many_kinds_and_settings():
    assert len(KINDS) >= 120 and len(SETTINGS) >= 12


@many
@given(seeds)
def test_a_scene_keeps_its_bounds_and_goes_through_json(seed):
    scene, _ = scene_of(seed)
    assert 1 <= len(scene.things) <= MAX_KINDS
    assert len({thing.kind for thing in scene.things}) == len(scene.things)
    assert all(1 <= thing.count <= MAX_COUNT for thing in scene.things)
    assert sum(thing.count for thing in scene.things) <= MAX_THINGS
    assert scene.setting in OUTDOORS or not scene.night
    assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


@many
@given(seeds)
def test_a_caption_names_nothing_that_the_scene_lacks(seed):
    scene, random = scene_of(seed)
    for text in [*captions(scene, random), query(scene, random)]:
        assert named_in(text), text
        assert all(named.is_in(scene) for named in named_in(text)), text
        assert setting_in(text) in (None, scene.setting), text
        assert scene.night or not night_in(text), text


def test_most_captions_name_all_things_counts_and_the_setting():
    random = np.random.default_rng(0)
    scenes = [random_scene(random) for _ in range(300)]
    pairs = [(scene, text) for scene in scenes for text in captions(scene, random)]
    assert np.mean([names_all(scene, text) for scene, text in pairs]) > 0.85
    assert np.mean([setting_in(text) == scene.setting for scene, text in pairs]) > 0.85
    assert np.mean([night_in(text) for scene, text in pairs if scene.night]) > 0.85


@many
@given(seeds)
def test_a_plain_caption_names_everything(seed):
    scene, _ = scene_of(seed)
    text = plain_caption(scene)
    assert names_all(scene, text) and setting_in(text) == scene.setting and bool(night_in(text)) == scene.night, text


@many
@given(seeds)
def test_a_plain_caption_is_canonical(seed):
    scene, _ = scene_of(seed)
    turned = Scene(scene.setting, scene.night, scene.things[::-1], None, layout_seed=1)
    assert plain_caption(scene) == plain_caption(turned)


def test_captions_do_not_repeat_an_activity():
    random = np.random.default_rng(0)
    scene = shown("sea", {"swimmer": 1})
    for text in (text for _ in range(200) for text in captions(scene, random)):
        assert text.count("swimming") <= 1, text


def test_captions_of_one_scene_differ_in_their_words():
    random = np.random.default_rng(0)
    different = [len({text.lower().rstrip(".") for text in captions(random_scene(random), random)}) for _ in range(200)]
    assert np.mean(different) > 4.5


@pytest.mark.parametrize(
    ("text", "scene"),
    [
        ("A woman riding a bike amongst other vehicles.", shown("street", {"woman riding a bike": 1, "bus": 1})),
        ("A child reading a book.", shown("room", {"girl": 1, "book": 1})),
        ("A piece of cake and a fork on a table.", shown("table", {"cake": 1, "fork": 1})),
        ("Two giraffes are standing next to a fence.", shown("meadow", {"giraffe": 2, "fence": 1})),
        ("bikes and cars", shown("street", {"bicycle": 2, "car": 3})),
        ("dog at the beach at night", shown("beach", {"dog": 1}, night=True)),
    ],
)
def test_scenes_can_match_the_notebooks_examples(text, scene):
    assert shows_named_things(scene, text)
    assert not shows_named_things(shown("sea", {"whale": 1}), text)
    assert setting_in(text) in (None, scene.setting) and night_in(text) == scene.night


@pytest.fixture(scope="module")
def gallery() -> list[Scene]:
    """The scenes of the gallery that is built."""
    random = np.random.default_rng(build.GALLERY_SEED)
    return edited_scenes(build.GALLERY_SIZE // (1 + EDITS_PER_SCENE), random, GALLERY_MIX).scenes


@pytest.mark.parametrize(
    "text",
    [
        "A woman riding a bike amongst other vehicles.",
        "A child reading a book.",
        "A piece of cake and a fork on a table.",
        "Two giraffes are standing next to a fence.",
        "kid with a book",
        "bikes and cars",
        "birthday cake with candles",
        "dog at the beach at night",
    ],
)
def test_the_gallery_has_an_image_for_each_example(gallery, text):
    assert any(
        shows_named_things(scene, text)
        and setting_in(text) in (None, scene.setting)
        and (scene.night or not night_in(text))
        for scene in gallery
    )


def test_things_that_belong_together_can_be_drawn_together():
    assert all(fits(kind, setting) for setting, *kinds in TOGETHER for kind in kinds)


@many
@given(seeds)
def test_an_edit_changes_one_thing_and_keeps_the_rest(seed):
    scene, random = scene_of(seed)
    text, changed = random_edit(scene, random)
    assert text and not scene.shows_the_same_as(changed)
    assert changed.layout_seed == scene.layout_seed
    things = set(scene.things) ^ set(changed.things)
    aspects = [
        changed.setting != scene.setting,
        bool(things),
        changed.night != scene.night and changed.setting == scene.setting,
    ]
    assert sum(aspects) == 1, (text, scene, changed)
    assert len({thing.kind for thing in things}) <= 2
    assert all(sum(t.count for t in s.things) <= MAX_THINGS for s in (scene, changed))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("a car, a car and a bus on the street", {"car": 1, "bus": 1}),
        ("a kid in the park", {"boy": 1, "girl": 1}),
        ("cars among other vehicles", {"car": 2, "bus": 1}),
        ("two cars and a bus", {"car": 1, "bus": 1}),
        ("a car", {"car": 1, "bus": 1}),
    ],
)
def test_a_caption_that_repeats_omits_or_miscounts_is_wrong(text, counts):
    assert not names_all(shown("street", counts), text)


@pytest.mark.parametrize(
    ("text", "counts", "night", "shows"),
    [
        ("cats in a room", {"cat": 1}, False, False),
        ("cats in a room", {"cat": 2}, False, True),
        ("coffee and a doughnut on the table", {"donut": 1}, False, False),
        ("coffee and a doughnut on the table", {"donut": 1, "cup of coffee": 1}, False, True),
        ("a dog on the beach in daylight", {"dog": 1}, True, False),
        ("a dog on the beach at night", {"dog": 1}, False, False),
    ],
)
def test_whether_an_image_matches_a_text(text, counts, night, shows):
    setting = "beach" if "beach" in text else "room" if "room" in text else "table"
    assert matches_text(shown(setting, counts, night), text) == shows


def test_every_kind_of_edit_comes_up():
    random = np.random.default_rng(0)
    for change in CHANGES:
        assert any(change(random_scene(random), random) for _ in range(50)), change.__name__


def test_variations_are_all_different():
    random = np.random.default_rng(0)
    for _ in range(50):
        scene = random_scene(random)
        assert len({scene, *variations(scene, random, 3)}) == 4


def test_drawing_is_deterministic_and_shows_every_kind_and_setting():
    blank = {setting: render(Scene(setting, False, (), None, 1), 112) for setting in SETTINGS}
    for kind in KINDS.values():
        scene = Scene(kind.settings[0], False, (Placed(kind.name, 1),), None, 1)
        image = np.asarray(render(scene, 112)).astype(int)
        assert np.array_equal(image, np.asarray(render(scene, 112)))
        changed = (abs(image - np.asarray(blank[kind.settings[0]])).sum(axis=2) > 30).mean()
        assert changed > 0.01, f"{kind.name} is hardly visible"
    assert len({image.tobytes() for image in blank.values()}) == len(SETTINGS)


@pytest.mark.parametrize("relation", ["left of", "right of"])
def test_relations_are_true_in_the_image(relation):
    """A red apple and a yellow lemon: red pixels show where the apple is."""
    for seed in range(10):
        things = (Placed("apple", 1), Placed("lemon", 1))
        scene = Scene("table", False, things, ("apple", relation, "lemon"), seed)
        image = np.asarray(render(scene, 112)).astype(int)
        red = (image[..., 0] > 190) & (image[..., 1] < 70)
        columns = np.nonzero(red)[1]
        assert (columns.mean() < 56) == (relation == "left of")


@pytest.mark.parametrize("relation", ["left of", "right of"])
def test_relations_stay_true_where_many_things_need_two_rows(relation):
    for seed in range(100):
        apples, lemons = (1 + int(count) for count in np.random.default_rng(seed).integers(MAX_COUNT, size=2))
        things = (Placed("apple", apples), Placed("vase", 1), Placed("lemon", lemons))
        x = {kind: [] for kind in ("apple", "lemon", "vase")}
        for spot in spots(Scene("table", False, things, ("apple", relation, "lemon"), seed)):
            x[spot.kind].append(spot.x)
        assert (np.mean(x["apple"]) < np.mean(x["lemon"])) == (relation == "left of"), (seed, things)
