"""Queries in parts on the page, in a real Chromium against a real back end."""

import re

import pytest
from browsing import add_to_query, an_image, open_page, open_result, results_of, search, sent_to, shown_ids, tiles
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

PNG = {"name": "mine.png", "mimeType": "image/png"}


def image_of(page, how, data):
    """Gives the page an image, as its user would."""
    if how == "file":
        page.get_by_role("button", name="Add to the query").click()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="An image of yours…").click()
        chooser.value.set_files({**PNG, "buffer": data})
        return
    transfer = page.evaluate_handle(
        """([bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "mine.png", {type: "image/png"}));
            return data;
        }""",
        [list(data)],
    )
    if how == "drop":
        page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
        expect(page.locator(".search-bar.drop")).to_be_visible()
        page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    else:
        page.locator("#query-text").evaluate(
            """(input, clipboardData) => input.dispatchEvent(
                new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}))""",
            transfer,
        )


def test_an_image_and_a_text_make_one_query(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    first = shown_ids(page)[0]
    with sent_to(page, "/knn-service") as bodies:
        page.locator("#query-text").fill("but at night")
        add_to_query(page, 0)
        added = shown_ids(page)[0]
        add_to_query(page, 0)
    searches = [body["segments"] for body in bodies if len(body.get("segments", [])) > 1]
    assert searches == [
        [{"id": first}, {"text": "but at night"}],
        [{"id": first}, {"id": added}, {"text": "but at night"}],
    ]
    expect(page.locator(".chips li")).to_have_count(3)
    expect(page.locator(".chips li img").first).to_be_visible()
    expect(page.get_by_label("CLIP", exact=True)).to_be_disabled()


def test_results_are_less_like_an_image_and_a_word(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    unwanted = shown_ids(page)[0]
    detail = open_result(page, 0)
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        detail.get_by_role("button", name="Less like this").click()
    away = {"id": unwanted, "weight": -0.3}
    assert [body["segments"] for body in bodies] == [[away, {"text": "a red circle"}]]
    expect(detail).to_be_hidden()
    assert unwanted not in shown_ids(page)[:10]
    expect(page.get_by_role("img", name=f"less like image {unwanted}")).to_be_visible()
    page.get_by_role("button", name="Add to the query").click()
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_label("Less like", exact=True).fill("people")
        page.get_by_label("Less like", exact=True).press("Enter")
    assert bodies[0]["segments"] == [away, {"text": "a photo of people", "weight": -0.6}, {"text": "a red circle"}]
    expect(page.get_by_text("less like “people”")).to_be_visible()
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_text("a beach without people")).to_be_visible()


def test_a_result_tells_how_similar_it_is_to_each_part_of_the_query(page, front_url, shapes_embeddings):
    with results_of(page):
        open_page(page, f"{front_url}/?query=circle&chip=item:3&chip=text:a+red+square&chip=-item:40&chip=bar")
    item = shown_ids(page)[1]
    with sent_to(page, "/score-service") as bodies:
        detail = open_result(page, 1)
        fits = detail.get_by_role("list").filter(has_text="Similarity to each part").get_by_role("listitem")
        expect(fits).to_have_count(5)
    assert [(body["ids"], body["texts"]) for body in bodies] == [([item], ["a red square", "circle"])]
    _, image, square, away, circle = fits.all_inner_texts()
    cosines = shapes_embeddings[[3, 40]] @ shapes_embeddings[item]
    assert image.split() == ["image", "3", f"{cosines[0]:.2f}"]
    assert away.split() == ["less", "like", "image", "40", f"{cosines[1]:.2f}"]
    of_texts = [float(re.search(r"-?\d\.\d\d", text)[0]) for text in (square, circle)]
    best, least = (square, circle) if of_texts[0] > of_texts[1] else (circle, square)
    assert "fits best" in best and "fits least" in least, (square, circle)


def test_a_query_of_nothing_but_less_like_this_is_not_searched(page, front_url):
    with sent_to(page, "/knn-service") as bodies:
        open_page(page, f"{front_url}/?chip=-text:people&chip=bar&item=3")
        page.get_by_role("dialog", name="Image").get_by_role("button", name="Search with it").wait_for()
        expect(page.get_by_role("button", name="Less like this")).to_have_count(0)
    assert all("text" not in body["segments"][0] for body in bodies), bodies


def test_a_result_is_dragged_into_the_search_bar(page, front_url):
    open_page(page, front_url)
    search(page, "a red circle")
    dragged = shown_ids(page)[1]
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        tiles(page).nth(1).locator("img").drag_to(page.locator("#query-text"))
    assert bodies[0]["segments"] == [{"id": dragged}, {"text": "a red circle"}]


def test_chips_are_moved_and_removed_by_mouse(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=item:5&chip=bar")
    chips = page.locator(".chips li")
    expect(chips).to_have_count(3)
    expect(page.locator(".chip img")).to_have_count(2)
    with sent_to(page, "/knn-service") as bodies:
        with results_of(page):
            chips.nth(0).drag_to(chips.nth(2))
        chips.nth(0).hover()
        with results_of(page):
            page.get_by_label("Move image 5 to the right").click()
        chips.nth(2).hover()
        with results_of(page):
            page.get_by_label("Remove image 3").click()
    assert [body["segments"] for body in bodies] == [
        [{"id": 5}, {"text": "at night"}, {"id": 3}],
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
    assert [body["segments"] for body in bodies] == [
        [{"id": 5}, {"id": 3}, {"text": "at night"}],
        [{"id": 3}, {"text": "at night"}],
    ]
    expect(page.get_by_text("image 5 removed")).to_have_count(1)


def test_the_search_bar_is_focused_when_the_last_chip_is_removed(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=bar")
    page.locator(".chips li").nth(0).focus()
    with results_of(page):
        page.keyboard.press("Delete")
    expect(page.locator("#query-text")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text="image 3 removed")).to_have_count(1)


def test_backspace_in_the_empty_search_bar_removes_the_chip_before_it(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?chip=item:3&chip=item:5&chip=bar")
    page.locator("#query-text").focus()
    with results_of(page):
        page.keyboard.press("Backspace")
    expect(page.locator(".chip")).to_have_count(1)
    expect(page.locator("#query-text")).to_be_focused()


def test_a_text_becomes_a_chip(page, front_url):
    open_page(page, f"{front_url}/?query=a+dog+like&chip=bar")
    expect(page.locator("#query-text")).to_have_value("a dog like")
    page.get_by_role("button", name="Add to the query").click()
    page.get_by_role("button", name="Another text, beside “a dog like”").click()
    expect(page.locator("#query-text")).to_be_focused()
    page.keyboard.type("at night")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.keyboard.press("Enter")
    assert bodies[0]["text"] == "a dog like at night"


@pytest.mark.parametrize("how", ["file", "paste", "drop"])
def test_an_image_of_the_user_is_part_of_the_query_and_of_the_link(page, browser, front_url, how):
    open_page(page, front_url)
    search(page, "a red circle")
    page.locator("#query-text").fill("in summer")
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        image_of(page, how, an_image())
    [image, text] = bodies[0]["segments"]
    assert text == {"text": "in summer"}
    expect(page.get_by_alt_text("your image")).to_be_visible()

    other = browser.new_page()
    open_page(other, page.url)
    with sent_to(other, "/knn-service") as again, results_of(other):
        other.reload()
    assert again[0]["segments"] == [image, text]
    other.close()


@pytest.mark.parametrize("how", ["menu", "paste"])
def test_an_image_at_an_address_is_searched_with(page, front_url, how):
    found = [{"id": 3, "similarity": 0.5, "caption": "found"}]
    page.route("**/knn-service", lambda route: route.fulfill(json=found))
    page.route("http://images/1.png", lambda route: route.fulfill(body=an_image(), content_type="image/png"))
    open_page(page, front_url)
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        if how == "menu":
            page.get_by_role("button", name="Add to the query").click()
            page.get_by_label("An image at an address").fill("http://images/1.png")
            page.get_by_label("An image at an address").press("Enter")
        else:
            page.locator("#query-text").evaluate(
                """(input) => {
                    const clipboardData = new DataTransfer();
                    clipboardData.setData("text/plain", "http://images/1.png");
                    input.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
                }"""
            )
    assert bodies[0]["segments"] == [{"image_url": "http://images/1.png"}]
    assert "imageUrl=http" in page.url  # as a link of the stock page


def test_a_file_that_is_not_an_image_is_refused_with_a_message(page, front_url):
    open_page(page, front_url)
    page.get_by_role("button", name="Add to the query").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="An image of yours…").click()
    chooser.value.set_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"})
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("notes.txt is not an image that this browser can read.")
    expect(alert.get_by_role("button")).to_have_count(0)  # trying again cannot help


def test_a_change_of_index_removes_image_chips(page, front_url):
    with results_of(page):
        open_page(page, f"{front_url}/?query=at+night&chip=item:3&chip=bar")
    expect(page.locator(".chips li")).to_have_count(2)
    with sent_to(page, "/knn-service") as bodies, results_of(page):
        page.get_by_label("Index", exact=True).select_option("plain")
    assert bodies[-1]["text"] == "at night"
    assert "chip=" not in page.url


def test_a_change_of_index_removes_the_neighbours_of_an_image(page, front_url):
    """Images of the old index would get captions of the new one."""
    open_page(page, front_url)
    search(page, "a red circle")
    with results_of(page):
        open_result(page, 0).get_by_role("button", name="Search with it").click()
    page.get_by_label("Index", exact=True).select_option("plain")
    expect(tiles(page)).to_have_count(0)
    expect(page).to_have_url(re.compile("index=plain"))
    assert "chip=" not in page.url
