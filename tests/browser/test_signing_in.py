"""With keys configured, the dashboard asks for a token, keeps it for the tab, and sends it along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from tests.browser.conftest import PATIENT
from tests.browser.dashboard import Watched, served, shown
from tests.http.serving import JWT_SECRET, token


@pytest.fixture(scope="module")
async def address(session: str, data_dir: Path) -> AsyncIterator[str]:
    """A second service over the same data, which has keys."""
    async with served(data_dir, "--no-worker", JWT_SECRET=JWT_SECRET) as address:
        yield address


@pytest.fixture
async def keyed(context: BrowserContext, address: str) -> AsyncIterator[Watched]:
    """A page of the service that has keys."""
    watched = Watched(await context.new_page(), address)
    yield watched
    assert watched.missteps == []


async def test_somebody_unknown_signs_in_and_comes_back_to_where_they_wanted_to_go(keyed: Watched, session: str) -> None:
    page = keyed.page
    await page.goto(f"{keyed.address}/sessions/{session}")
    await page.wait_for_url("**/sign-in?next=*")
    field = page.get_by_label("Access token")
    await field.fill("nonsense")
    await page.get_by_role("button", name="Sign in").click()
    await expect(shown(page).get_by_text("This is no JSON Web Token")).to_be_visible()
    await field.fill(token("admin")[:-4] + "AAAA")
    await page.get_by_role("button", name="Sign in").click()
    await expect(shown(page).get_by_text("The service does not accept this token")).to_be_visible()
    await keyed.picture("sign-in-desktop-light")
    await field.fill(token("admin"))
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"**/sessions/{session}")
    await page.wait_for_selector("[data-drawn]", state="attached")
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    await page.goto(f"{keyed.address}/patients/{PATIENT}")
    await page.wait_for_url("**/sign-in?next=*")


async def test_a_researcher_is_offered_nothing_that_is_refused_them(keyed: Watched, session: str) -> None:
    page = keyed.page
    await page.goto(f"{keyed.address}/sign-in")
    await page.get_by_label("Access token").fill(token("researcher"))
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{keyed.address}/")
    await expect(page.get_by_role("row").filter(has_text=PATIENT).first).to_be_visible()
    await expect(page.get_by_role("heading", name="Add recordings")).to_have_count(0)
    await keyed.picture("sessions-researcher-desktop-light")
    await page.goto(f"{keyed.address}/?patient=P998&state=failed")
    await expect(shown(page).get_by_text("No session is like that")).to_be_visible()
    await page.goto(f"{keyed.address}/sessions/{session}")
    await expect(page.get_by_role("heading", name="Details")).to_be_visible()
    await expect(page.get_by_role("button", name="Erase this session")).to_have_count(0)
    await page.route("**/api/v1/patients?*", lambda route: route.fulfill(json={"patients": [], "next_cursor": None}))
    await page.goto(f"{keyed.address}/patients")
    await expect(shown(page).get_by_text("Therapists and administrators add recordings.")).to_be_visible()


async def test_a_therapist_sees_no_session_of_others_and_is_told_so_plainly(keyed: Watched, session: str) -> None:
    page = keyed.page
    await page.goto(f"{keyed.address}/sign-in?next=https://example.org/")
    await page.get_by_label("Access token").fill(token("therapist", "T9"))
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{keyed.address}/")
    await expect(shown(page).get_by_text("No sessions yet")).to_be_visible()
    await expect(page.get_by_role("heading", name="Add recordings")).to_be_visible()
    await page.goto(f"{keyed.address}/sessions/{session}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such session")
