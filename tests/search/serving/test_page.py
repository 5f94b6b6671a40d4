"""The search page in a browser, as people use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from served import SCRIPT, TOKEN, Running

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
REFUSED = "status of 422"  # which the browser reports too
SECONDS = 120  # that a step may take on a busy machine
pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


@pytest.fixture(scope="module")
def browser_page(server: Running) -> Iterator[Page]:
    """The page, opened with the token as password; whatever it asks of elsewhere, or complains of, fails the test."""
    expect.set_options(timeout=1000 * SECONDS)
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(http_credentials={"username": "anybody", "password": TOKEN})
        page.set_default_timeout(1000 * SECONDS)
        page.on("request", lambda one: None if one.url.startswith((server.url, "data:")) else wrong.append(one.url))
        page.on(
            "console", lambda one: wrong.append(one.text) if one.type == "error" and REFUSED not in one.text else None
        )
        page.on("pageerror", lambda one: wrong.append(str(one)))
        answer = page.goto(server.url)
        assert answer is not None and answer.ok
        yield page
        browser.close()
    assert not wrong


@pytest.fixture
def page(browser_page: Page) -> Page:
    browser_page.reload()
    expect(browser_page.get_by_label("Deutsch")).to_be_visible()
    return browser_page


def ask(page: Page, query: str) -> None:
    page.get_by_role("searchbox", name="Question").fill(query)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("passages in")


def only(page: Page, collection: str) -> None:
    for name in ("one", "two", "indexed"):
        page.get_by_role("checkbox", name=name, exact=True).set_checked(name == collection)


def test_passages_in_chosen_languages_with_score_and_title(page: Page) -> None:
    only(page, "one")
    page.get_by_label("Deutsch").check()
    page.get_by_label("English").check()
    ask(page, "moon")
    items = page.get_by_role("listitem")
    assert set(items.locator(".language").all_inner_texts()) == {"German", "English"}
    expect(items).to_have_count(5)
    moon = page.locator("li[data-id='de:1']")
    expect(moon.locator("mark")).to_have_text("Der Mond")
    expect(moon.locator(".passage")).to_have_text("Der Mond Der Mond scheint in der Nacht")
    expect(moon.locator(".passage")).to_have_attribute("lang", "de")
    scores = [float(text.removeprefix("score ")) for text in items.locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    expect(page.locator("li[data-id='de:2'] mark")).to_have_count(0)
    expect(page.locator("li[data-id='en:2'] mark")).to_have_text("😀 Bread")


def test_arabic_is_written_from_right_to_left(page: Page) -> None:
    only(page, "one")
    page.get_by_label("العربية").check()
    ask(page, "متى يضيء القمر؟")
    question = page.get_by_role("searchbox")
    assert question.evaluate("box => getComputedStyle(box).direction") == "rtl"
    passage = page.locator("li[data-id='ar:1'] .passage")
    expect(passage).to_have_attribute("dir", "rtl")
    assert passage.evaluate("shown => getComputedStyle(shown).direction") == "rtl"
    right, left = passage.evaluate(
        """shown => {
            const range = document.createRange();
            range.selectNodeContents(shown);
            const [text, box] = [range.getBoundingClientRect(), shown.getBoundingClientRect()];
            return [box.right - text.right, text.left - box.left];
        }"""
    )
    assert right < 10 < left  # the text stands at the right
    question.fill("moon")
    assert question.evaluate("box => getComputedStyle(box).direction") == "ltr"


def test_two_models_side_by_side_and_how_far_apart_they_rank(page: Page) -> None:
    page.get_by_role("checkbox", name="indexed").uncheck()
    ask(page, "moon")
    lists = [page.get_by_role("region", name=name, exact=True) for name in ("one", "two")]
    one, two = (box.bounding_box() for box in lists)
    assert one is not None and two is not None
    assert one["x"] + one["width"] <= two["x"] and one["y"] == two["y"]
    orders = [shown.get_by_role("listitem").evaluate_all("all => all.map(one => one.dataset.id)") for shown in lists]
    assert sorted(orders[0]) == sorted(orders[1])
    apart = [abs(rank - orders[1].index(key)) for rank, key in enumerate(orders[0])]
    said = lists[0].locator(".elsewhere").all_inner_texts()
    ranks = [orders[1].index(key) + 1 for key in orders[0]]
    assert said == [f"two: rank {rank}, {far} apart" for rank, far in zip(ranks, apart, strict=True)]
    explained = page.locator("#explained")
    expect(explained).to_contain_text("Rank distance is how many places apart")
    expect(explained).to_contain_text(f"on average {sum(apart) / len(apart):.1f} places apart")
    page.get_by_label("Show").select_option("fused")
    ask(page, "moon")
    expect(page.get_by_role("region", name="Fused")).to_be_visible()


def test_what_people_and_documents_say_is_text(page: Page) -> None:
    title = page.title()
    ask(page, SCRIPT)
    shown = page.locator("li[data-id='en:3'] .passage").first
    expect(shown).to_have_text(f"{SCRIPT} {SCRIPT}")
    assert page.locator("main script, main img").count() == 0
    assert page.title() == title
    page.route("**/search", lambda route: route.fulfill(status=422, json={"error": SCRIPT}))
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(SCRIPT)
    page.unroute("**/search")
    assert page.locator("main script, main img").count() == 0


def test_a_mistake_is_told_and_the_next_question_answered(page: Page) -> None:
    ask(page, "moon")
    page.get_by_role("searchbox").fill("   ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("query: there is nothing but white space in it")
    expect(page.get_by_role("listitem")).to_have_count(0)
    ask(page, "bread")
    expect(page.locator("#error")).to_be_empty()  # an empty one is not shown
    assert page.get_by_role("listitem").count() > 0


def test_every_control_has_a_name_and_is_reached_by_keyboard(page: Page) -> None:
    controls = page.locator("input, select, button, a")
    for place in range(controls.count()):
        control = controls.nth(place)
        assert control.evaluate("it => it.tabIndex") == 0
        name = control.evaluate("it => (it.labels?.[0]?.textContent ?? it.textContent).trim()")
        assert name
    assert page.locator("html").get_attribute("lang") == "en"
