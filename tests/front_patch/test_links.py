"""Links and the browser's history, in a real Chromium against a real back end."""

import base64
import re

import pytest
from browsing import (
    add_to_query,
    an_image,
    choose,
    open_page,
    open_result,
    results_of,
    search,
    sent_to,
    settings_of,
    shown_ids,
    tiles,
)
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("asked", ["captioned=true", "view=explore"])
@pytest.mark.parametrize("source", ["image", "imageUrl"])
def test_a_link_to_an_image_search_keeps_the_view_and_the_captions(page, front_url, asked, source):
    image = base64.b64encode(an_image()).decode()
    found = [{"id": 3, "similarity": 0.5, "image": image}]
    page.route("**/knn-service", lambda route: route.fulfill(json=found))
    in_link = image.translate(str.maketrans("+/", "-_", "="))
    given = {"image": f"?{asked}#image={in_link}", "imageUrl": f"?{asked}&imageUrl=http://images/1.png"}[source]
    page.route("http://images/1.png", lambda route: route.fulfill(body=an_image(), content_type="image/png"))
    open_page(page, f"{front_url}/{given}")
    expect(page.locator(".ours:visible, .point").first).to_be_visible()
    assert asked in page.url


def test_back_and_forward_restore_the_page(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    red = shown_ids(page)
    search(page, "a blue square")
    blue = shown_ids(page)
    choose(page, "Explore")
    page.locator(".point").first.wait_for()
    with results_of(page):
        page.go_back()
    expect(page.locator("#query-text")).to_have_value("a blue square")
    assert shown_ids(page) == blue
    with results_of(page):
        page.go_back()
    expect(page.locator("#query-text")).to_have_value("a red circle")
    assert shown_ids(page) == red
    with results_of(page):
        page.go_forward()
    page.go_forward()
    expect(page.locator(".point").first).to_be_visible()


def test_a_search_from_a_link_can_be_undone(page, front_url):
    """Going back returns to what the link showed, after a reload as well."""
    open_page(page, f"{front_url}/?query=a+red+circle")
    expect(tiles(page).first).to_be_visible()
    for again in (page.reload, lambda: page.goto(page.url)):
        with results_of(page):
            again()
        red = shown_ids(page)
        search(page, "a blue square")
        with results_of(page):
            page.go_back()
        expect(page.locator("#query-text")).to_have_value("a red circle")
        assert shown_ids(page) == red


def test_a_copied_link_shows_the_same_page(page, browser, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    with settings_of(page) as drawer:
        drawer.get_by_label("Similarities").check()
        with results_of(page):
            drawer.get_by_label("Hide (near) duplicate images").uncheck()
    add_to_query(page, 1)
    with results_of(page):
        page.get_by_label("Blend", exact=True).check(force=True)
    with results_of(page):
        page.get_by_label("Weight of CLIP-GPT").fill("0.25")
    page.get_by_text("Caption these").click()
    page.locator(".ours:visible").first.wait_for()

    other = browser.new_page(viewport={"width": 1280, "height": 800})
    open_page(other, page.url)
    other.locator(".ours:visible").first.wait_for()
    for seen in (page, other):
        expect(seen.get_by_label("Blend", exact=True)).to_be_checked()
        expect(seen.get_by_text("25 % CLIP-GPT")).to_be_visible()
        with settings_of(seen) as drawer:
            expect(drawer.get_by_label("Hide (near) duplicate images")).not_to_be_checked()
            expect(drawer.get_by_label("Similarities")).to_be_checked()
    assert shown_ids(other) == shown_ids(page)
    expect(other.locator(".ours:visible")).to_have_count(page.locator(".ours:visible").count())
    assert other.url == page.url
    other.close()


@pytest.mark.parametrize("choice", ["view=compare", "encoder=clip", "encoder=blend&weight=0.3"])
def test_a_link_made_where_clip_is_loaded_works_where_it_is_not(page, clipless_url, choice):
    """The control that could undo the choice is hidden there."""
    with sent_to(page, "/knn-service") as bodies:
        open_page(page, f"{clipless_url}/?query=a+red+circle&{choice}")
        expect(tiles(page).first).to_be_visible()
        with results_of(page):
            page.locator("#query-text").fill("a blue square")
            page.locator("#query-text").press("Enter")
    asked = [(body["use_clipgpt"], body["clipgpt_weight"]) for body in bodies]
    assert asked == [(True, 1)] * 2
    expect(page.locator(".compare.view")).to_be_hidden()
    expect(page.get_by_role("radio")).to_have_count(0)


def test_a_link_to_a_cluster_and_its_images(page, front_url):
    open_page(page, f"{front_url}/?view=explore&cluster=blue.square&near=50.51")
    expect(page.get_by_label("Breadcrumb").locator("li")).to_have_count(5)
    expect(page.locator(".images .tile").first).to_be_visible()


@pytest.mark.parametrize("gone", ["cluster=999.999", "near=99999999"])
def test_a_link_to_a_cluster_that_is_gone_leads_to_the_map(page, exploring_url, gone):
    """After the index is explored again, it has other clusters."""
    open_page(page, f"{exploring_url}/?view=explore&{gone}")
    expect(page.get_by_role("alert")).to_contain_text("The back end reports")
    page.get_by_role("button", name="All images").click()
    expect(page.locator(".point").first).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()
    page.console_errors.clear()


@pytest.mark.parametrize("view", ["query=a+red+circle&view=compare", "view=explore&near=50"])
def test_a_link_to_captioned_images_of_another_view(page, front_url, view):
    open_page(page, f"{front_url}/?{view}&captioned=true")
    expect(page.locator(".ours:visible").first).to_be_visible()
    assert "captioned=true" in page.url


def test_display_settings_are_part_of_the_link(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    with settings_of(page) as drawer:
        drawer.get_by_label("Similarities").check()
    expect(page).to_have_url(re.compile("displaySimilarities=true"))


def test_going_back_restores_the_controls(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    with settings_of(page) as drawer, results_of(page):
        drawer.get_by_label("Hide (near) duplicate images").uncheck()
    with results_of(page):
        page.go_back()
    with settings_of(page) as drawer:
        expect(drawer.get_by_label("Hide (near) duplicate images")).to_be_checked()


def test_back_closes_the_detail_and_a_link_opens_it(page, browser, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    first, second = shown_ids(page)[:2]
    detail = open_result(page, 0)
    assert f"item={first}" in page.url
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(f"item={second}(&|$)"))
    link = page.url
    page.go_back()
    expect(detail).to_be_hidden()
    assert "query=a+red+circle" in page.url and "item=" not in page.url
    page.go_forward()
    expect(detail).to_be_visible()
    detail.get_by_role("button", name="Close").click()
    expect(detail).to_be_hidden()
    expect(page).not_to_have_url(re.compile("item="))

    other = browser.new_page()
    open_page(other, link)
    dialog = other.get_by_role("dialog", name="Image")
    expect(dialog.locator("dd").first).to_have_text(str(second))
    expect(dialog.locator(".captions .ours").first).to_be_visible()
    other.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(tiles(other).first).to_be_visible()
    other.close()
