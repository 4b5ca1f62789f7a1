"""The page in a real Chromium against a real back end: what a person clicks, types and sees."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from browsing import (
    card,
    figures,
    open_page,
    results_of,
    search,
    searches,
    sent_to,
    shown_ids,
)
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_a_text_is_read_by_clipgpt_by_clip_or_by_a_blend(page, front_url):
    open_page(page, front_url)
    found = {}
    with sent_to(page, "/knn-service") as bodies:
        search(page, "a red circle")
        found["CLIP-GPT"] = shown_ids(page)
        for name in ("CLIP", "blend"):
            with results_of(page):
                page.get_by_label(name, exact=True).check()
            expect(page.get_by_label(name, exact=True)).to_be_checked()
            found[name] = shown_ids(page)
        with results_of(page):
            page.get_by_label("Share of CLIP-GPT").fill("0.8")
    asked = [(body["use_clipgpt"], body.get("clipgpt_weight")) for body in searches(bodies)]
    assert asked == [(True, 1), (False, None), (True, 0.5), (True, 0.8)]
    assert found["CLIP-GPT"] != found["CLIP"]
    expect(page.get_by_text("80 % CLIP-GPT")).to_be_visible()


def test_the_page_says_what_was_understood(page, front_url, clipgpt, shapes_embeddings):
    open_page(page, front_url)
    search(page, "a red circle")
    similarity = clipgpt.encode(["a red circle"], space="image")[0] @ shapes_embeddings[shown_ids(page)[0]]
    understood = page.locator(".understood")
    expect(understood.locator("q")).to_have_text(clipgpt.caption(clipgpt.encode(["a red circle"], space="image"))[0])
    expect(understood).to_contain_text(f"best similarity {similarity:.2f}")
    page.get_by_label("CLIP", exact=True).check()
    expect(understood).to_be_empty()


@pytest.mark.parametrize(("least", "said"), [(0.99, True), (-1, False), (None, False)])
def test_it_says_so_when_nothing_looks_like_that(page, front_url, least, said):
    def with_threshold(route):
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "min_similarity": least})

    page.route("**/encode-service", with_threshold)
    open_page(page, front_url)
    search(page, "a red circle")
    expect(page.locator(".understood")).to_contain_text("best similarity")
    assert ("Nothing here looks like that" in page.locator(".understood").inner_text()) == said


def test_a_result_is_captioned_and_its_caption_searched(page, front_url, clipgpt, shapes_embeddings):
    open_page(page, front_url)
    search(page, "a red circle")
    expected = clipgpt.caption(shapes_embeddings[shown_ids(page)[:1]])[0]
    card(page, 0).get_by_label("Caption this picture").click()
    caption = card(page, 0).locator(".caption")
    expect(caption).to_have_text(expected)
    with results_of(page):
        caption.click()
    expect(page.locator("#searchBar")).to_have_value(expected)


def test_all_visible_results_are_captioned_in_one_request(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    with sent_to(page, "/caption-service") as bodies:
        page.get_by_text("Caption all visible").click()
        page.locator(".caption:visible").first.wait_for()
    [body] = bodies
    on_screen = page.evaluate(
        """() => [...document.querySelector("clip-front").shadowRoot.querySelectorAll("#products figure")]
            .filter((figure) => figure.getBoundingClientRect().top < innerHeight).length"""
    )
    assert body["ids"] == shown_ids(page)[:on_screen]
    expect(page.locator(".caption:visible")).to_have_count(on_screen)
    expect(page.get_by_role("status").filter(has_text="Captioning")).to_have_count(0)


def test_a_picture_and_a_text_make_one_query(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    first, second = shown_ids(page)[:2]
    with sent_to(page, "/knn-service") as bodies:
        page.locator("#searchBar").fill("but at night")
        with results_of(page):
            card(page, 0).get_by_label("Add this picture to the query").click()
        with results_of(page):
            card(page, 0).get_by_label("Add this picture to the query").click()
    added = searches(bodies)[1]["segments"][1]["id"]
    assert searches(bodies)[0]["segments"] == [{"id": first}, {"text": "but at night"}]
    assert searches(bodies)[1]["segments"] == [{"id": first}, {"id": added}, {"text": "but at night"}]
    assert second is not None
    expect(page.locator(".chips li")).to_have_count(3)
    expect(page.locator(".chips li img").first).to_be_visible()
    expect(page.get_by_label("CLIP", exact=True)).to_be_disabled()


def test_chips_are_moved_and_removed_by_mouse(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=item:5&chip=bar")
    chips = page.locator(".chips li")
    expect(chips).to_have_count(3)
    with sent_to(page, "/knn-service") as bodies:
        with results_of(page):
            chips.nth(2).drag_to(chips.nth(0))
        with results_of(page):
            page.get_by_label("Move picture 5 to the left").click()
        with results_of(page):
            page.get_by_label("Remove picture 3").click()
    assert [body["segments"] for body in searches(bodies)] == [
        [{"text": "at night"}, {"id": 3}, {"id": 5}],
        [{"text": "at night"}, {"id": 5}, {"id": 3}],
        [{"text": "at night"}, {"id": 5}],
    ]


def test_chips_are_moved_and_removed_by_keyboard(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=item:5&chip=bar")
    page.locator(".chips li").nth(0).focus()
    with sent_to(page, "/knn-service") as bodies:
        with results_of(page):
            page.keyboard.press("Alt+ArrowRight")
        expect(page.locator(".chips li").nth(1)).to_be_focused()
        page.keyboard.press("ArrowLeft")
        with results_of(page):
            page.keyboard.press("Delete")
    assert [body["segments"] for body in searches(bodies)] == [
        [{"id": 5}, {"id": 3}, {"text": "at night"}],
        [{"id": 3}, {"text": "at night"}],
    ]
    expect(page.get_by_text("picture 5 removed")).to_have_count(1)


def test_a_keyboard_goes_on_from_the_search_bar_when_the_last_chip_is_removed(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=bar")
    page.locator(".chips li").nth(0).focus()
    with results_of(page):
        page.keyboard.press("Delete")
    expect(page.locator("#searchBar")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="picture 3 removed")).to_have_count(1)


def test_texts_are_pieces_of_a_query_too(page, front_url):
    open_page(page, f"{front_url}/?query=a+dog+like&chip=bar")
    page.get_by_text("+ text").click()
    page.locator("#searchBar").fill("at night")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.locator("#searchBar").press("Enter")
    assert searches(bodies)[0]["text"] == "a dog like at night"


def test_an_uploaded_picture_is_part_of_the_query_and_of_the_link(page, browser, front_url):
    open_page(page, front_url)
    page.locator("#searchBar").fill("in summer")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.locator("#clipgpt input[type=file]").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": a_picture()}
        )
    [image, text] = searches(bodies)[0]["segments"]
    assert text == {"text": "in summer"}
    expect(page.get_by_alt_text("your picture")).to_be_visible()

    other = browser.new_page()
    open_page(other, page.url)
    with sent_to(other, "/knn-service") as again, results_of(other):
        other.reload()
    assert searches(again)[0]["segments"] == [image, text]
    other.close()


def test_the_stock_image_search_is_part_of_the_link_too(page, browser, front_url):
    open_page(page, front_url)
    with results_of(page):
        page.get_by_label("Picture to search with").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": a_picture()}
        )
    found = shown_ids(page)
    other = browser.new_page()
    with results_of(other):
        open_page(other, page.url)
    assert shown_ids(other) == found
    other.close()


def test_a_file_that_is_no_picture_is_refused_in_words(page, front_url):
    open_page(page, front_url)
    page.locator("#clipgpt input[type=file]").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    expect(page.get_by_role("alert")).to_contain_text("notes.txt is not a picture that this browser can read.")


def test_results_are_downloaded_as_they_were_searched(page, front_url):
    open_page(page, f"{front_url}/?encoder=clip")
    search(page, "a red circle")
    with sent_to(page, "/knn-service") as bodies, page.expect_download() as download:
        page.get_by_role("button", name="Download the results as JSON").click()
    assert bodies[0]["use_clipgpt"] is False
    assert [hit["id"] for hit in json.loads(Path(download.value.path()).read_text())] == shown_ids(page)


def test_another_index_forgets_the_pictures_of_this_one(page, front_url):
    open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=bar")
    expect(page.locator(".chips li")).to_have_count(2)
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_label("Index", exact=True).select_option("plain")
    assert searches(bodies)[-1]["text"] == "at night"
    assert "chip=" not in page.url


def test_another_index_forgets_what_was_found_for_a_picture_of_this_one(page, front_url):
    """Else pictures of the old index stand under captions of the new one."""
    open_page(page, front_url)
    search(page, "a red circle")
    with results_of(page):
        card(page, 0).get_by_label("Pictures like this one").click()
    page.get_by_label("Index", exact=True).select_option("plain")
    expect(figures(page)).to_have_count(0)
    expect(page).to_have_url(re.compile("index=plain"))
    assert "chip=" not in page.url


@pytest.mark.parametrize("asked", ["captioned=true", "view=explore"])
@pytest.mark.parametrize("source", ["image", "imageUrl"])
def test_a_link_to_an_image_search_keeps_the_view_and_the_captions(page, front_url, asked, source):
    picture = base64.b64encode(a_picture()).decode()
    found = [{"id": 3, "similarity": 0.5, "image": picture}]
    page.route("**/knn-service", lambda route: route.fulfill(json=found))
    in_link = picture.translate(str.maketrans("+/", "-_", "="))
    given = {"image": f"?{asked}#image={in_link}", "imageUrl": f"?{asked}&imageUrl=http://pictures/1.png"}[source]
    page.route("http://pictures/1.png", lambda route: route.fulfill(body=a_picture(), content_type="image/png"))
    open_page(page, f"{front_url}/{given}")
    expect(page.locator(".caption:visible, .point").first).to_be_visible()
    assert asked in page.url


def test_a_link_survives_a_moment_without_a_back_end(page, front_url):
    """A tab that is restored before the back end has started has to come back as it was left."""
    page.route("**/indices-list", lambda route: route.abort())
    open_page(page, f"{front_url}/?index=shapes&query=at+night&encoder=blend&chip=item:3&chip=bar")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/indices-list")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_role("button", name="Try again").click()
    assert searches(bodies)[0]["segments"] == [{"id": 3}, {"text": "at night"}]
    assert "index=shapes&query=at+night" in page.url
    assert "encoder=blend&chip=item%3A3&chip=bar" in page.url
    expect(page.locator(".chips li")).to_have_count(2)
    expect(page.get_by_label("Index", exact=True)).to_have_value("shapes")
    assert all("ERR_FAILED" in error or "Failed to fetch" in error for error in page.console_errors)
    page.console_errors.clear()


def test_the_page_starts_when_its_back_end_answers_at_last(page, front_url):
    """Opened at its bare address, before the back end has started."""
    page.route("**/indices-list", lambda route: route.abort())
    open_page(page, front_url)
    page.unroute("**/indices-list")
    page.get_by_role("button", name="Try again").click()
    search(page, "a red circle")
    expect(page.get_by_role("button", name="Explore")).to_be_visible()
    page.console_errors.clear()


def a_picture():
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((800, 600)).save(data, "PNG")
    return data.getvalue()


def test_the_neighbours_of_a_picture(page, front_url, shapes_embeddings):
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    search(page, "a red circle")
    near = shown_ids(page)[2]
    with results_of(page):
        card(page, 2).get_by_label("Pictures like this one").click()
    assert shown_ids(page)[0] == near
    assert shown_ids(page)[:5] == np.argsort(-(shapes_embeddings @ shapes_embeddings[near]))[:5].tolist()


def test_both_encoders_side_by_side(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    page.get_by_text("Compare").click()
    columns = page.locator(".column")
    expect(columns).to_have_count(2)
    ids = [
        page.evaluate("(body) => fetch('/knn-service', {method: 'POST', body}).then((r) => r.json())", body)
        for body in (
            '{"text": "a red circle", "num_result_ids": 400, "use_clipgpt": false, "deduplicate": true}',
            '{"text": "a red circle", "num_result_ids": 400, "clipgpt_weight": 1, "deduplicate": true}',
        )
    ]
    ids = [{hit["id"] for hit in hits[:20]} for hits in ids]
    common = ids[0] & ids[1]
    expect(page.locator(".summary")).to_have_text(f"{len(common)} of {len(ids[0])} hits in common")
    for column in (0, 1):
        expect(columns.nth(column).locator("figure")).to_have_count(len(ids[column]))
        expect(columns.nth(column).locator(".common")).to_have_count(len(common))
    page.get_by_text("Compare").click()
    expect(figures(page).first).to_be_visible()


def test_from_the_map_to_a_cluster_to_its_pictures_and_their_neighbours(page, front_url):
    open_page(page, front_url)
    page.get_by_text("Explore").click()
    expect(page.locator(".point")).to_have_count(6)
    expect(page.locator(".contents li")).to_have_count(6)
    expect(page.locator(".point.labelled").first).to_be_visible()
    page.get_by_label("blue things, 36 pictures").click()
    expect(page.locator(".point")).to_have_count(3)
    expect(page.locator(".pictures figure")).to_have_count(12)
    page.get_by_label("Open: square things").click()
    expect(page.locator(".point")).to_have_count(0)
    page.locator(".pictures figure").nth(1).get_by_label("Pictures like this one").click()
    expect(page.get_by_role("heading", name="Pictures like this one")).to_be_visible()
    expect(page.locator(".pictures figcaption").first).to_have_text("a blue square")
    trail = page.get_by_label("Where you have been").locator("li")
    expect(trail).to_have_count(4)
    trail.nth(1).get_by_role("button").click()
    expect(page.locator(".point")).to_have_count(3)
    expect(trail).to_have_count(2)


def test_a_keyboard_goes_on_from_the_place_that_it_opened(page, front_url):
    open_page(page, f"{front_url}/?view=explore")
    page.get_by_label("Open: blue things").press("Enter")
    place = page.get_by_label("Where you have been").locator("[aria-current]")
    expect(place).to_have_text("blue things")
    expect(place).to_be_focused()


def test_the_explore_service_s_own_answer_is_shown(page, exploring_url):
    open_page(page, f"{exploring_url}/?view=explore")
    page.locator(".point").first.wait_for()
    answer = requests.get(f"{exploring_url}/explore-service", params={"indice_name": "shapes"}, timeout=60).json()
    expect(page.locator(".point")).to_have_count(len(answer["clusters"]))
    expect(page.locator(".contents li")).to_have_count(len(answer["clusters"]))
    page.locator(".contents .title").first.click()
    expect(page.get_by_label("Where you have been").locator("li")).to_have_count(2)
    expect(page.locator(".pictures figure").first).to_be_visible()


def test_back_and_forward_go_through_what_was_seen(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    red = shown_ids(page)
    search(page, "a blue square")
    blue = shown_ids(page)
    page.get_by_text("Explore").click()
    page.locator(".point").first.wait_for()
    with results_of(page):
        page.go_back()
    expect(page.locator("#searchBar")).to_have_value("a blue square")
    assert shown_ids(page) == blue
    with results_of(page):
        page.go_back()
    expect(page.locator("#searchBar")).to_have_value("a red circle")
    assert shown_ids(page) == red
    with results_of(page):
        page.go_forward()
    page.go_forward()
    expect(page.locator(".point").first).to_be_visible()


def test_what_a_link_opened_stays_in_the_history(page, front_url):
    """Whoever searches on from a link, or after a reload, comes back to it."""
    open_page(page, f"{front_url}/?query=a+red+circle")
    expect(figures(page).first).to_be_visible()
    for again in (page.reload, lambda: page.goto(page.url)):
        with results_of(page):
            again()
        red = shown_ids(page)
        search(page, "a blue square")
        with results_of(page):
            page.go_back()
        expect(page.locator("#searchBar")).to_have_value("a red circle")
        assert shown_ids(page) == red


def test_a_copied_link_shows_the_same_page(page, browser, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    page.get_by_label("Display similarities").check()
    with results_of(page):
        page.get_by_label("Hide (near) duplicate images").uncheck()
    with results_of(page):
        card(page, 1).get_by_label("Add this picture to the query").click()
    with results_of(page):
        page.get_by_label("blend", exact=True).check()
    with results_of(page):
        page.get_by_label("Share of CLIP-GPT").fill("0.25")
    page.get_by_text("Caption all visible").click()
    page.locator(".caption:visible").first.wait_for()

    other = browser.new_page(viewport={"width": 1280, "height": 800})
    open_page(other, page.url)
    other.locator(".caption:visible").first.wait_for()
    for seen in (page, other):
        expect(seen.get_by_label("blend", exact=True)).to_be_checked()
        expect(seen.get_by_text("25 % CLIP-GPT")).to_be_visible()
        expect(seen.get_by_label("Hide (near) duplicate images")).not_to_be_checked()
        expect(seen.get_by_label("Display similarities")).to_be_checked()
    assert shown_ids(other) == shown_ids(page)
    expect(other.locator(".caption:visible")).to_have_count(page.locator(".caption:visible").count())
    assert other.url == page.url
    other.close()


@pytest.mark.parametrize("choice", ["view=compare", "encoder=clip", "encoder=blend&weight=0.3"])
def test_a_link_made_where_clip_is_loaded_works_where_it_is_not(page, clipless_url, choice):
    """What it asks for is hidden there, so that nobody could take it back."""
    with sent_to(page, "/knn-service") as bodies:
        open_page(page, f"{clipless_url}/?query=a+red+circle&{choice}")
        expect(figures(page).first).to_be_visible()
        with results_of(page):
            page.locator("#searchBar").fill("a blue square")
            page.locator("#searchBar").press("Enter")
    asked = [(body["use_clipgpt"], body["clipgpt_weight"]) for body in searches(bodies)]
    assert asked == [(True, 1)] * 2
    expect(page.locator(".compare.view")).to_be_hidden()


def test_a_link_to_a_place_in_the_index(page, front_url):
    open_page(page, f"{front_url}/?view=explore&cluster=blue.square&near=50.51")
    expect(page.get_by_label("Where you have been").locator("li")).to_have_count(5)
    expect(page.locator(".pictures figure").first).to_be_visible()


@pytest.mark.parametrize("place", ["cluster=999.999", "near=99999999"])
def test_a_link_to_a_place_that_is_no_more_leads_to_the_map(page, exploring_url, place):
    """Explored anew, an index has other clusters: the page would show an error wherever one goes."""
    open_page(page, f"{exploring_url}/?view=explore&{place}")
    expect(page.get_by_role("alert")).to_contain_text("The back end says")
    page.get_by_role("button", name="All pictures").click()
    expect(page.locator(".point").first).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()
    page.console_errors.clear()


@pytest.mark.parametrize("view", ["query=a+red+circle&view=compare", "view=explore&near=50"])
def test_a_link_to_captioned_pictures_of_another_view(page, front_url, view):
    open_page(page, f"{front_url}/?{view}&captioned=true")
    expect(page.locator(".caption:visible").first).to_be_visible()
    assert "captioned=true" in page.url


def test_the_settings_of_the_display_are_part_of_the_link(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    page.get_by_label("Display similarities").check()
    expect(page).to_have_url(re.compile("displaySimilarities=true"))


def test_going_back_shows_the_setting_that_is_used(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    with results_of(page):
        page.get_by_label("Aesthetic weight").fill("0.9")
    with results_of(page):
        page.go_back()
    expect(page.get_by_label("Aesthetic weight")).to_have_value("0.5")


PLACES = {
    "search": "?query=a+red+circle&encoder=blend&captioned=true",
    "query in pieces": "?query=at+night&chip=item:3&chip=bar&chip=text:in+summer",
    "compare": "?query=a+red+circle&view=compare",
    "explore": "?view=explore",
    "cluster": "?view=explore&cluster=blue",
    "neighbours": "?view=explore&cluster=blue.square&near=50",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page, front_url, place, scheme):
    page.emulate_media(color_scheme=scheme)
    open_page(page, f"{front_url}/{PLACES[place]}")
    page.locator("figure, .point").first.wait_for()
    found = Axe().run(page).response["violations"]
    serious = [
        (violation["id"], [node["html"] for node in violation["nodes"]][:3])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("place", PLACES)
def test_on_a_phone_nothing_is_wider_than_the_screen(page, front_url, place):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, f"{front_url}/{PLACES[place]}")
    page.locator("figure, .point").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.get_by_label("Backend url")).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Backend url")).to_be_visible()


LONG_WORD = 200 * "w"


@pytest.mark.parametrize("width", [360, 390, 412])
def test_on_a_phone_long_texts_are_not_wider_than_the_screen(page, front_url, width):
    def with_long_captions(route):
        answer = route.fetch()
        place = answer.json()
        for cluster in place["clusters"]:
            cluster |= {"caption": LONG_WORD, "distinctive_caption": "a label with room for much"}
        route.fulfill(response=answer, json=place)

    page.route("**/explore-service?**", with_long_captions)
    refused = {"error": {"field": "text", "message": LONG_WORD}}
    page.route("**/knn-service", lambda route: route.fulfill(status=400, json=refused))
    page.set_viewport_size({"width": width, "height": 844})
    open_page(page, f"{front_url}/?view=explore")
    page.locator(".point").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(f"{front_url}/?query=at+night&chip=text:{LONG_WORD}&chip=bar")
    expect(page.locator(".chips li").first).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(LONG_WORD)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.console_errors.clear()


def test_all_is_done_by_keyboard(page, front_url):
    """From the search bar on with the tab key alone, to each thing that can be clicked on a result."""
    open_page(page, front_url)
    search(page, "a red circle")
    page.locator("#searchBar").focus()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            """() => {
                const active = document.querySelector("clip-front").shadowRoot.activeElement;
                return active?.getAttribute("aria-label") || active?.alt || active?.textContent;
            }"""
        )
        reached.append(name or page.evaluate("document.activeElement.tagName"))
    for name in ("Search", "Caption all visible", "Explore", "Caption this picture", "Pictures like this one"):
        assert any(name in (one or "") for one in reached), (name, reached)
    with page.expect_response("**/caption-service"):
        card(page, 0).get_by_label("Caption this picture").press("Enter")
    with results_of(page):
        page.get_by_role("button", name="Search", exact=True).press(" ")


def test_a_late_answer_to_an_old_question_is_dropped(page, front_url):
    open_page(page, front_url)
    held = []

    def hold(route):
        if route.request.post_data_json.get("text") == "old":
            held.append(route)
        else:
            route.continue_()

    page.route("**/knn-service", hold)
    page.locator("#searchBar").fill("old")
    page.locator("#searchBar").press("Enter")
    expect(page.get_by_text("Searching")).to_be_visible()  # it takes longer than 200 ms
    search(page, "a blue square")
    new = shown_ids(page)
    held[0].abort()
    page.wait_for_timeout(300)
    assert shown_ids(page) == new
    assert "query=a+blue+square" in page.url
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_quick_answer_shows_no_spinner(page, front_url):
    open_page(page, front_url)
    page.evaluate(
        """() => {
            window.spinners = 0;
            const progress = document.querySelector("clip-front").shadowRoot.querySelector(".progress");
            new MutationObserver(() => { window.spinners += progress.children.length; })
                .observe(progress, {childList: true});
        }"""
    )
    page.route("**/*-service", lambda route: route.fulfill(json=[]))
    page.locator("#searchBar").fill("a blue square")
    with page.expect_response("**/knn-service"):
        page.locator("#searchBar").press("Enter")
    assert page.evaluate("window.spinners") == 0


def test_what_went_wrong_is_told_and_can_be_tried_again(page, front_url):
    open_page(page, f"{front_url}/?encoder=clip")  # CLIP-GPT would ask for more than the search
    answers = [
        {"status": 503, "headers": {"Retry-After": "3"}, "json": {"error": {"field": "", "message": "full"}}},
        {"status": 400, "json": {"error": {"field": "text", "message": "is too long: write at most 70 words"}}},
        {"status": 500, "body": "oops"},
    ]

    def refuse(route):
        if answers:
            route.fulfill(**answers.pop(0))
        else:
            route.continue_()

    page.route("**/knn-service", refuse)
    page.locator("#searchBar").fill("a red circle")
    page.locator("#searchBar").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The back end is busy: try again in 3 s.")
    page.get_by_text("Try again").click()
    expect(alert).to_contain_text("The back end says: is too long: write at most 70 words.")
    page.get_by_text("Try again").click()
    expect(alert).to_contain_text("The back end failed to answer (500")
    with results_of(page):
        page.get_by_text("Try again").click()
    expect(alert).to_be_empty()
    assert len(page.console_errors) == 3  # the browser's own, of the three refusals
    page.console_errors.clear()


BUSY = {"status": 503, "json": {"error": {"field": "", "message": "full"}}}


def test_scrolling_does_not_ask_a_busy_back_end_again_and_again(page, front_url):
    page.route("**/metadata", lambda route: route.fulfill(**BUSY))
    open_page(page, f"{front_url}/?hideDuplicateImages=false")
    with sent_to(page, "/metadata") as bodies:
        search(page, "a red circle")
        page.evaluate("window.scrollTo(0, 1e6)")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        for _ in range(10):
            page.evaluate("window.dispatchEvent(new Event('scroll'))")
            page.wait_for_timeout(50)
    assert len(bodies) == 1
    seen = figures(page).count()
    page.unroute("**/metadata")
    page.get_by_role("button", name="Try again").click()
    expect(figures(page).nth(seen)).to_be_attached()
    page.console_errors.clear()


def test_a_picture_that_the_index_does_not_have_leaves_the_others_theirs(page, front_url):
    """A link from before the index was built anew."""
    open_page(page, f"{front_url}/?query=at+night&chip=item:99999999&chip=item:3&chip=bar")
    expect(page.get_by_alt_text("picture 3")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("99999999")
    with results_of(page):
        page.get_by_label("Remove picture 99999999").click()
    expect(page.get_by_role("alert")).to_be_empty()
    page.console_errors.clear()


def test_what_went_wrong_with_an_old_search_is_not_told_for_a_new_one(page, front_url):
    """Its captions, asked for again, would be those of the same ids in another index."""
    page.route("**/caption-service", lambda route: route.fulfill(**BUSY))
    open_page(page, front_url)
    search(page, "a red circle")
    for place in (0, 1):
        card(page, place).get_by_label("Caption this picture").click()
    expect(page.get_by_role("button", name="Try again")).to_have_count(2)
    search(page, "a blue square")
    expect(page.get_by_role("alert")).to_be_empty()
    page.console_errors.clear()


def test_an_address_that_is_none_is_named_as_it_was_typed(page, front_url):
    open_page(page, front_url)
    page.get_by_label("Backend url").fill("http://a:b")
    expect(page.get_by_role("alert")).to_contain_text("The back end does not answer at http://a:b/indices-list.")
    page.console_errors.clear()


def test_an_index_without_a_model_shows_what_stock_shows(page, front_url):
    open_page(page, f"{front_url}/?index=plain")
    search(page, "a red circle")
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator(".card:visible")).to_have_count(0)
    page.get_by_label("Index", exact=True).select_option("shapes")
    expect(page.locator(".tools")).to_be_visible()


def test_against_a_stock_back_end_the_page_hides_what_it_cannot_do(page, front_url, stock_back_url):
    open_page(page, f"{front_url}/?back={stock_back_url}")
    with sent_to(page, "-service") as bodies:
        search(page, "a red circle")
        expect(figures(page).first).to_be_visible()
    expect(page.locator(".tools")).to_be_hidden()
    expect(page.locator(".card:visible")).to_have_count(0)
    assert not any("use_clipgpt" in body or "segments" in body for body in bodies)


def test_a_page_of_another_origin_learns_what_our_back_end_can_do(page, other_front_url, front_url):
    open_page(page, f"{other_front_url}/?back={front_url}")
    search(page, "a red circle")
    card(page, 0).get_by_label("Caption this picture").click()
    expect(card(page, 0).locator(".caption")).to_be_visible()
    page.get_by_role("button", name="Explore").click()
    expect(page.locator(".point").first).to_be_visible()


def test_the_stock_page_works_with_our_back_end(page, front_url, stock_back_url):
    page.goto(f"{stock_back_url}/?back={front_url}")
    page.locator("#searchBar").fill("a red circle")
    with page.expect_response(f"{front_url}/knn-service"):
        page.locator("#searchBar").press("Enter")
    expect(figures(page).first).to_be_visible()
    expect(page.locator("#clipgpt")).to_have_count(0)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("method callClip", ("callClip", "askClip")),
        ("property currentIndex", ("currentIndex:{type:String},", "")),
        ("element #searchLine", ('id="searchLine"', 'id="topLine"')),
        ("element <clip-front>", ("<clip-front>", "<clip-page>")),
    ],
)
def test_a_page_that_has_changed_stays_stock_and_the_console_says_why(page, front_url, part, changed):
    def change(route):
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(*changed))

    page.route(re.compile(r"/(main\.\w+\.js)?$"), change)
    page.emulate_media(color_scheme="dark")  # the stock page is light all the same
    page.goto(front_url)
    page.wait_for_timeout(500)
    told = [error for error in page.console_errors if "CLIP-GPT is not added to this page" in error]
    assert len(told) == 1
    assert f"it lacks {part}" in told[0]
    page.console_errors.clear()
    if "clip-front" not in part:
        page.locator("#searchBar").fill("a red circle")
        page.locator("#searchBar").press("Enter")
        expect(figures(page).first).to_be_visible()
        expect(page.locator("#clipgpt")).to_have_count(0)
    expect(page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")
    expect(page.locator("body")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    page.console_errors.clear()
