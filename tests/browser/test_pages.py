"""The pages as people see them: what they show, at every width, in light and dark, and by keyboard alone."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import ezc3d
import pytest
from playwright.async_api import BrowserContext, Page, expect

from adapters.c3d.synthesis import synthesise
from tests.browser.conftest import PATIENT
from tests.browser.dashboard import Dashboard, Watched, distinct_colours, faint_texts, overflow_px, served, shown, synthetic
from tests.patience import eventually

EVERYWHERE = [("phone", "light"), ("tablet", "light"), ("desktop", "dark")]
WINDOW_BYTES_MAX = 200_000


@pytest.mark.parametrize("context", EVERYWHERE, indirect=True, ids="-".join)
async def test_every_page_fits_and_can_be_read_at_every_width_in_light_and_dark(
    visit: Watched, session: str, request: pytest.FixtureRequest
) -> None:
    width, colours = request.node.callspec.params["context"]
    pages = {
        "sessions": "/",
        "session": f"/sessions/{session}",
        "patients": "/patients",
        "trends": f"/patients/{PATIENT}",
        "cache": "/cache",
    }
    for name, path in pages.items():
        page = await visit.open(path, drawn=name in ("session", "trends", "cache"))
        await page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        await visit.picture(f"{name}-{width}-{colours}")
        assert await overflow_px(page) == 0, f"{name} scrolls sideways"
        assert await faint_texts(page) == [], name
        ground = await page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(ground) < 64) is (colours == "dark")


async def test_a_session_shows_signals_contractions_thresholds_and_figures(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    plots = page.locator(".plot")
    await expect(plots).to_have_count(2)
    for place in await plots.all():
        assert await distinct_colours(place) > 5
    await expect(page.get_by_role("group", name=re.compile("CH1: [0-9]+ contractions, [0-9]+ of them good.*MVC estimated"))).to_be_visible()
    metrics = page.get_by_role("table", name="Metrics by channel")
    for text in ("RMS", "Median frequency (Hz)", "Time under tension", "MVC"):
        await expect(metrics.get_by_text(text, exact=False).first).to_be_visible()
    await expect(metrics.get_by_text("estimated from this recording").first).to_be_visible()


async def test_compliance_says_that_it_is_a_mean_over_channels_beside_an_estimated_mvc_too(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}")
    tile = page.locator(".tile").filter(has_text="Compliance")
    await expect(tile).to_contain_text("mean over channels")
    await expect(tile).to_contain_text("MVC estimated")
    page = await visit.open("/")
    await expect(page.get_by_role("columnheader", name="Compliance")).to_contain_text("mean over channels")


async def test_zooming_fetches_a_finer_window_just_in_time_and_none_is_large(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    before = len(visit.signal_answers)
    async with page.expect_response(re.compile("/signals/.*start_s=")):
        await page.get_by_role("button", name="Zoom in").click()
    await expect(shown(page).get_by_text("7.50 to 22.50 s")).to_be_visible()
    async with page.expect_response(re.compile("/signals/.*start_s=")):
        await drag_over(page)
    await expect(shown(page).get_by_text("7.50 to 22.50 s")).to_have_count(0)
    assert len(visit.signal_answers) >= before + 2
    assert max([len(await answer.body()) for answer in visit.signal_answers]) <= WINDOW_BYTES_MAX
    await page.get_by_role("button", name="Whole recording").click()
    await expect(shown(page).get_by_text("whole recording, 30")).to_be_visible()


@pytest.mark.parametrize("context", [("phone", "light")], indirect=True, ids=["phone"])
async def test_fingers_zoom_and_move_the_plots_and_scroll_the_page(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    plot, shown = page.locator(".plot").first, page.locator(".window-text")
    await plot.scroll_into_view_if_needed()
    box = await plot.bounding_box()
    assert box is not None
    browser = await page.context.new_cdp_session(page)

    async def touch(*strokes: tuple[tuple[float, float], tuple[float, float]]) -> None:
        """Each finger goes from one point to another, together."""
        for step in range(9):
            kind = "touchMove" if step else "touchStart"
            points = [
                {"id": number, "x": x + (to_x - x) * step / 8, "y": y + (to_y - y) * step / 8}
                for number, ((x, y), (to_x, to_y)) in enumerate(strokes)
            ]
            await browser.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        await browser.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    x, y = box["x"] + 220, box["y"] + box["height"] / 2
    async with page.expect_response(re.compile("/signals/.*start_s=")):
        await touch(((x - 20, y), (x - 80, y)), ((x + 20, y), (x + 80, y)))
    zoomed = await window_s(page)
    assert zoomed[1] - zoomed[0] == pytest.approx(30 / 4, rel=0.1)
    async with page.expect_response(re.compile("/signals/.*start_s=")):
        await touch(((x, y), (x + 100, y)))
    moved = await window_s(page)
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0], abs=0.02)
    assert moved[0] < zoomed[0] - 1
    scrolled = await page.evaluate("() => window.scrollY")
    await touch(((x, y), (x, y - 200)))
    await page.wait_for_function("before => window.scrollY > before + 100", arg=scrolled)
    await expect(shown).to_have_text(f"{moved[0]:.2f} to {moved[1]:.2f} s")


async def window_s(page: Page) -> tuple[float, float]:
    """What the plots say that they show."""
    start, end = re.findall(r"[0-9.]+", await page.locator(".window-text").inner_text())
    return float(start), float(end)


async def test_a_peak_that_would_make_all_else_small_is_cut_until_it_is_asked_for(
    visit: Watched, dashboard: Dashboard, session: str, tmp_path: Path
) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    full_height = page.get_by_role("button", name="Full height")
    await expect(full_height).to_be_hidden()
    recording = ezc3d.c3d(str(synthesise(tmp_path / "a.c3d", seed=5, duration_s=20.0).path))
    recording["data"]["analogs"][0, 0, 9_000] = -0.02  # A single sample, as electrodes that are touched give.
    recording.write(str(tmp_path / "peak.c3d"))
    peaked = await dashboard.analysed((tmp_path / "peak.c3d").read_bytes(), "P105", "peak.c3d")
    page = await visit.open(f"/sessions/{peaked}", drawn=True)
    await expect(shown(page).get_by_text("A few peaks are much higher")).to_be_visible()
    cut = await page.locator(".plot").first.screenshot()
    await full_height.click()
    await expect(full_height).to_have_attribute("aria-pressed", "true")
    await expect(shown(page).get_by_text("A few peaks are much higher")).to_be_hidden()
    assert await page.locator(".plot").first.screenshot() != cut


async def drag_over(page: Page) -> None:
    """Drags over the middle of the first plot."""
    box = await page.locator(".plot").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(x - 60, y)
    await page.mouse.down()
    await page.mouse.move(x, y, steps=4)
    await page.mouse.move(x + 60, y, steps=4)
    await page.mouse.up()


async def test_what_is_drawn_can_be_chosen_and_a_contraction_be_shown(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    async with page.expect_response(re.compile("/signals/.*kind=activated")):
        await page.get_by_label("Activity signal").check()
    await page.get_by_label("Raw").uncheck()
    await page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    async with page.expect_response(re.compile("/signals/.*start_s=")):
        await page.get_by_role("button", name="Show contraction 2 of CH1 in the plots").click()
    assert await distinct_colours(page.locator(".plot").first) > 5


async def test_a_whole_visit_by_keyboard_alone(visit: Watched, session: str) -> None:
    page = await visit.open(f"/?patient={PATIENT}")
    await page.wait_for_selector("tbody tr")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    link = page.locator(f'a[href="/sessions/{session}"]')
    await tab_to(page, "a[href^='/sessions/']")
    outline = await page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "what has the focus is seen"
    await link.focus()
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[data-drawn]", state="attached")
    await tab_to(page, ".channel-plot")
    async with page.expect_response(re.compile("/signals/.*start_s=")):
        await page.keyboard.press("+")
    await expect(page.locator(".window-text")).to_have_text("7.50 to 22.50 s")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator(".window-text")).to_have_text("11.25 to 26.25 s")
    await page.keyboard.press("0")
    await expect(page.locator(".window-text")).to_contain_text("whole recording")
    await expect(page.locator("#announcements")).to_contain_text("whole recording")


async def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until something has the focus; fails if it cannot be reached."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by keyboard")


async def test_patients_are_listed_with_how_many_sessions_they_have(visit: Watched, session: str) -> None:
    page = await visit.open("/patients")
    row = page.get_by_role("table", name="Patients").get_by_role("row").filter(has=page.get_by_role("link", name=PATIENT, exact=True))
    await expect(row).to_contain_text("2 sessions")
    await expect(row).to_contain_text("9 Mar 2026")
    await row.get_by_role("link").click()
    await page.wait_for_url(f"**/patients/{PATIENT}")
    assert session


async def test_trends_follow_a_metric_and_say_that_mvc_is_estimated(visit: Watched, session: str) -> None:
    page = await visit.open(f"/patients/{PATIENT}", drawn=True)
    assert await distinct_colours(page.locator(".plot")) > 3
    await expect(shown(page).get_by_text("estimated from the same recording")).to_be_visible()
    await page.get_by_label("Metric").select_option("Median frequency")
    await expect(page.get_by_role("heading", name="Median frequency").first).to_be_visible()
    await page.wait_for_selector("[data-drawn]", state="attached")
    await expect(page.get_by_role("table").locator("tbody tr")).to_have_count(2)
    await page.get_by_role("link", name="9 Mar 2026, 10:11").click()
    await page.wait_for_url(f"**/sessions/{session}")


async def test_the_cache_page_shows_tiers_hit_rate_latency_staleness_and_breaker(visit: Watched, session: str) -> None:
    await visit.open(f"/sessions/{session}", drawn=True)
    page = await visit.open("/cache", drawn=True)
    for text in ("hit rate", "Process memory", "Redis", "PostgreSQL, and stored", "Heartbeat", "of 2 s allowed", "Closed. Redis is asked."):
        await expect(shown(page).get_by_text(text, exact=False).first).to_be_visible()
    await expect(page.locator(".big-figure")).to_contain_text("%")
    assert await distinct_colours(page.locator(".plot").first) > 2


async def test_a_service_that_is_gone_is_named_and_nothing_is_called_healthy(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Zoom in").click()
    await expect(shown(page).get_by_text("Finer signals could not be loaded")).to_contain_text("Look whether the service runs")
    await page.context.set_offline(False)
    page = await visit.open("/cache", drawn=True)
    parts = page.get_by_label("Parts of the system")
    await expect(parts.get_by_text("Healthy").first).to_be_visible()
    await page.context.set_offline(True)
    await expect(shown(page).get_by_text("The service does not answer").first).to_be_visible()
    await expect(parts.get_by_text("Not known")).to_have_count(await parts.locator(".tile").count())
    assert await parts.locator(".tile-good").count() == 0
    await visit.picture("cache-gone-desktop-light")
    await page.context.set_offline(False)
    await expect(parts.get_by_text("Not known")).to_have_count(0)
    visit.missteps[:] = [each for each in visit.missteps if "ERR_INTERNET_DISCONNECTED" not in each]


async def test_plots_are_no_tab_stops_of_their_own_beside_their_named_groups(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    await page.get_by_role("checkbox", name="Contractions").uncheck()  # They are drawn anew.
    await eventually(partial(tab_stops, page), lambda now: now == [])
    for path in ("/cache", f"/patients/{PATIENT}"):
        await visit.open(path, drawn=True)
        await eventually(partial(tab_stops, page), lambda now: now == [])


async def tab_stops(page: Page) -> list[str] | None:
    """What within the plots has the focus on the way of the Tab key; None: nothing is drawn."""
    found: list[str] | None = await page.evaluate(
        """() => {
          const inside = (root) => [...root.querySelectorAll("*")].flatMap((one) =>
            [one, ...(one.shadowRoot ? inside(one.shadowRoot) : [])]);
          const all = [...document.querySelectorAll(".plot")].flatMap(inside);
          const stops = all.filter(({tabIndex}) => tabIndex >= 0).map(({className}) => className);
          return all.some((one) => one.matches(".bk-events")) ? stops : null;
        }"""
    )
    return found


async def test_an_estimated_mvc_says_how_a_measured_one_is_given_and_leads_there(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    hint = shown(page).get_by_text("upload this recording again")
    await expect(hint).to_be_visible()
    await hint.scroll_into_view_if_needed()
    await hint.get_by_role("link", name="Measured MVC").click()
    await expect(page.get_by_label("Measured MVC")).to_be_focused()


async def test_what_does_not_exist_is_told_in_a_sentence(visit: Watched) -> None:
    page = await visit.open(f"/sessions/{uuid4()}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such session")
    await expect(shown(page).get_by_text("It may have been erased")).to_be_visible()
    page = await visit.open("/sessions/nothing-like-an-id")
    await expect(page.get_by_role("heading", level=1)).to_have_text("This is no session id")
    page = await visit.open("/no/such/page")
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
    page = await visit.open("/patients/P999")
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such patient")


async def test_a_list_without_sessions_says_what_to_do(visit: Watched) -> None:
    page = await visit.open("/?patient=P998")
    await expect(shown(page).get_by_text("No session is like that")).to_be_visible()
    await expect(shown(page).get_by_text("Codes differ by upper and lower case, too.")).to_be_visible()


@pytest.mark.parametrize("context", [("phone", "light")], indirect=True, ids=["phone"])
async def test_a_code_in_another_case_finds_nothing_and_is_offered_as_it_is_written(visit: Watched, session: str) -> None:
    page = await visit.open(f"/?patient=%20{PATIENT.lower()}")
    await expect(shown(page).get_by_text("No session is like that")).to_be_visible()
    await visit.picture("sessions-another-case-phone-light")
    await page.get_by_role("link", name=PATIENT, exact=True).click()
    await page.wait_for_url(f"**/?patient={PATIENT}*")
    await expect(page.locator(f'a[href="/sessions/{session}"]')).to_be_visible()


async def test_the_list_shows_by_what_it_is_sorted(visit: Watched, dashboard: Dashboard, tmp_path: Path, session: str) -> None:
    older = synthetic(tmp_path, 77, duration_s=5.0, recorded_at=datetime(2026, 1, 5, 9, 0))  # noqa: DTZ001
    last = await dashboard.analysed(older, PATIENT, "recorded first.c3d")
    page = await visit.open(f"/?patient={PATIENT}")
    await expect(shown(page).get_by_text("Last arrived first", exact=True)).to_be_visible()
    assert await page.locator("tbody tr").count() == await shown(page).get_by_text(re.compile("^Arrived [0-9]")).count() == 3
    links = page.locator("tbody a[href^='/sessions/']")
    await expect(links.first).to_have_attribute("href", f"/sessions/{last}")
    await expect(page.locator(f'a[href="/sessions/{session}"]')).to_be_visible()
    await page.goto(f"{visit.address}/sessions/{last}")
    await erase(page)


async def test_a_session_that_is_being_processed_shows_its_plots_by_itself_when_it_is_done(
    visit: Watched, dashboard: Dashboard, another: bytes
) -> None:
    page = await visit.open(f"/sessions/{await dashboard.uploaded(another, 'P103', 'watched.c3d')}")
    await page.wait_for_selector("[data-drawn]", state="attached", timeout=60_000)
    assert await distinct_colours(page.locator(".plot").first) > 5


async def test_a_session_whose_recording_is_lost_shows_its_figures_and_says_why_there_are_no_signals(
    visit: Watched, dashboard: Dashboard, data_dir: Path, another: bytes
) -> None:
    session = await dashboard.analysed(another, "P104", "lost.c3d")
    (data_dir / "recordings" / "uploads" / f"{hashlib.sha256(another).hexdigest()}.c3d").unlink()
    page = await visit.open(f"/sessions/{session}")
    await expect(shown(page).get_by_text("The signals cannot be shown")).to_contain_text("The figures below are not affected")
    await expect(page.get_by_role("table", name="Metrics by channel")).to_be_visible()


async def test_plots_follow_the_system_from_light_to_dark(visit: Watched, session: str) -> None:
    page = await visit.open(f"/sessions/{session}", drawn=True)
    place = page.locator(".plot").first
    light = await place.screenshot()
    await page.emulate_media(color_scheme="dark")
    await eventually(place.screenshot, lambda now: now != light)
    assert await distinct_colours(place) > 5


async def erase(page: Page) -> None:
    """Erases the session that is shown, and comes to the list."""
    await page.get_by_role("button", name="Erase this session").click()
    await page.get_by_role("button", name="Erase it").click()
    await page.wait_for_url("**/")
    await page.wait_for_selector("tbody tr, .empty")


async def test_a_session_is_erased_after_a_question(visit: Watched, dashboard: Dashboard, another: bytes) -> None:
    session = await dashboard.analysed(another, "P102", "erasable.c3d")
    page = await visit.open(f"/sessions/{session}", drawn=True)
    await erase(page)
    await expect(shown(page).get_by_text("erasable.c3d")).to_have_count(0)


@pytest.mark.parametrize("context", [("phone", "light")], indirect=True, ids=["phone"])
async def test_a_session_that_failed_is_erased_like_any_other(visit: Watched, dashboard: Dashboard) -> None:
    session = await dashboard.uploaded(b"\x02P" + bytes(3000), "P106", "failing.c3d")
    page = await visit.open(f"/sessions/{session}")
    await expect(shown(page).get_by_text("It could not be analysed")).to_be_visible(timeout=60_000)
    await visit.picture("session-failed-phone-light")
    await erase(page)
    await expect(shown(page).get_by_text("failing.c3d")).to_have_count(0)


async def test_a_session_that_waits_for_a_worker_is_erased_like_any_other(
    context: BrowserContext, tmp_path_factory: pytest.TempPathFactory, another: bytes
) -> None:
    async with served(tmp_path_factory.mktemp("idle") / "data", "--no-worker") as address:
        session = await Dashboard(address).uploaded(another, "P107", "waiting.c3d")
        visit = Watched(await context.new_page(), address)
        page = await visit.open(f"/sessions/{session}")
        await expect(shown(page).get_by_text("It waits for a worker.")).to_be_visible()
        await erase(page)
        await expect(shown(page).get_by_text("No sessions yet")).to_be_visible()
        await page.close()
    assert visit.missteps == []


@pytest.fixture
def another(tmp_path: Path, request: pytest.FixtureRequest) -> bytes:
    """A recording that no other test has."""
    return synthetic(tmp_path, sum(request.node.name.encode()), duration_s=5.0)
