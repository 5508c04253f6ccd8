"""Recordings that are dropped and chosen, and what the page says of them meanwhile."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.dashboard import Watched, distinct_colours, served, shown, synthetic

REAL = sorted((Path(__file__).parents[2] / ".." / "shared" / "recordings").resolve().glob("*.c3d"))


@pytest.fixture
def recording(tmp_path: Path, request: pytest.FixtureRequest) -> bytes:
    """A recording that no other test uploads."""
    return synthetic(tmp_path, sum(request.node.name.encode()), duration_s=12.0)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(not REAL, reason="no real recordings are at hand"))])
def chosen(recording: bytes, request: pytest.FixtureRequest) -> bytes:
    """A synthetic recording, and a real one."""
    return REAL[0].read_bytes() if request.param else recording


async def drop(page: Page, name: str, content: bytes) -> None:
    """Drops a file onto the page, as the browser does it when somebody drags one from a folder."""
    await page.evaluate(
        """([name, content]) => {
          const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name));
          for (const kind of ["dragover", "drop"]) document.querySelector(".drop-zone").dispatchEvent(
            new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer}));
        }""",
        [name, base64.b64encode(content).decode()],
    )


async def test_a_chosen_recording_is_analysed_before_ones_eyes_and_its_session_is_drawn(visit: Watched, chosen: bytes) -> None:
    page = await visit.open("/")
    said: list[str] = []

    def hear(text: str) -> None:
        said.append(text)

    await page.expose_function("said", hear)
    await page.evaluate(
        """() => new MutationObserver((changes) => changes.forEach(({target}) => said(target.textContent)))
          .observe(document.querySelector(".uploads"), {subtree: true, childList: true, characterData: true})"""
    )
    await page.get_by_label("Patient code").fill("P100")
    async with page.expect_file_chooser() as choosing:
        await shown(page).get_by_text("Choose files").click()
    await (await choosing.value).set_files({"name": "chosen.c3d", "mimeType": "application/octet-stream", "buffer": chosen})
    row = page.locator(".upload-row")
    await expect(row.get_by_text("Analysed")).to_be_visible(timeout=60_000)
    assert any("Sending" in text for text in said)
    await expect(page.locator("#announcements")).to_contain_text("Analysed")
    await row.get_by_role("link").click()
    await page.wait_for_selector("[data-drawn]", state="attached")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Session of")
    for place in await page.locator(".plot").all():
        assert await distinct_colours(place) > 5
    await expect(shown(page).get_by_text("MVC estimated").first).to_be_visible()
    await expect(shown(page).get_by_text("estimated from this recording").first).to_be_visible()


async def test_a_dropped_recording_appears_in_the_list_and_a_second_time_it_is_known(visit: Watched, recording: bytes) -> None:
    page = await visit.open("/")
    await page.get_by_label("Patient code").fill("P101")
    await drop(page, "dropped.c3d", recording)
    await expect(page.locator(".upload-row").get_by_text("Analysed")).to_be_visible(timeout=60_000)
    await expect(page.get_by_role("row").filter(has_text="dropped.c3d")).to_contain_text("Analysed")
    await drop(page, "again.c3d", recording)
    await expect(shown(page).get_by_text("This recording was received before")).to_be_visible()


async def test_a_measured_mvc_goes_with_the_recording_and_another_one_later_takes_its_place(visit: Watched, recording: bytes) -> None:
    page = await visit.open("/")
    await page.get_by_label("Patient code").fill("P102")
    for mvc, source in (("CH1=0.0003, CH2=0.0004", "given for the channel"), ("0.0005", "given for the session")):
        await page.get_by_label("Measured MVC").fill(mvc)
        await drop(page, "measured.c3d", recording)
        row = page.locator(".upload-row")
        await expect(row.get_by_text("Analysed")).to_be_visible(timeout=60_000)
        await row.get_by_role("link").click()
        await expect(shown(page).get_by_text(source).first).to_be_visible()
        page = await visit.open("/")


async def test_what_was_measured_with_one_patient_does_not_go_with_another(visit: Watched) -> None:
    page = await visit.open("/")
    patient, mvc = page.get_by_label("Patient code"), page.get_by_label("Measured MVC")
    await mvc.fill("0.0005")
    await patient.fill("P103")
    await patient.blur()
    await expect(mvc).to_have_value("0.0005")
    await patient.fill("P104")
    await patient.blur()
    await expect(mvc).to_have_value("")


async def test_an_mvc_that_makes_no_sense_is_refused_with_the_form_it_has(visit: Watched, recording: bytes) -> None:
    page = await visit.open("/")
    await page.get_by_label("Measured MVC").fill("much")
    await drop(page, "a.c3d", recording)
    await expect(page.locator(".upload-row.is-refused")).to_contain_text("must look like CH1=0.0003")


async def test_a_file_that_is_no_recording_says_why(visit: Watched) -> None:
    page = await visit.open("/")
    await drop(page, "notes.txt", b"hello")
    await expect(page.locator(".upload-said").filter(has_text="Only files whose names end in .c3d are recordings")).to_be_visible()
    await drop(page, "<i>broken.c3d", b"\x02P" + bytes(2000))
    refused = page.locator(".upload-row.is-refused").filter(has_text="<i>broken.c3d")
    await expect(refused).to_be_visible(timeout=60_000)
    await expect(refused).not_to_contain_text("Traceback")


@pytest.mark.parametrize("content", [b"\x02P" + bytes(2100), b"no C3D file"], ids=["by the analysis", "at once"])
async def test_a_file_that_cannot_be_analysed_keeps_its_name_and_the_reason_does_not_repeat_it(visit: Watched, content: bytes) -> None:
    page = await visit.open("/")
    await page.get_by_label("Patient code").fill("P107")
    await drop(page, "param-pointer.c3d", content)
    refused = page.locator(".upload-row.is-refused")
    await expect(refused.locator(".upload-name")).to_contain_text("param-pointer.c3d", timeout=60_000)
    said = await refused.locator(".upload-said").inner_text()
    assert "param-pointer" not in said.lower()
    assert re.fullmatch("(Could not be analysed: the file|The recording cannot be analysed. This is no C3D file) .*[.]", said)


async def test_a_file_that_is_too_large_is_refused_with_how_large_it_may_be(
    context: BrowserContext, tmp_path_factory: pytest.TempPathFactory, recording: bytes
) -> None:
    folder = tmp_path_factory.mktemp("small") / "data"
    async with served(folder, "--no-worker", RECORDING_MEGABYTES_MAX="0.02") as address:
        visit = Watched(await context.new_page(), address)
        page = await visit.open("/")
        for size in (50_000, 200_000):  # The second is more than the whole body may have.
            await drop(page, f"{size}.c3d", (recording + bytes(size))[:size])
            row = page.locator(".upload-row.is-refused").filter(has_text=f"{size}.c3d")
            await expect(row.locator(".upload-said")).to_have_text("The file is too large. A recording may have 0.02 MB at most.")
        await visit.picture("upload-refused-desktop-light")
        await page.close()
    assert visit.missteps == []


@pytest.mark.parametrize("context", [("phone", "light")], indirect=True, ids=["phone"])
async def test_a_patient_code_with_a_wrong_form_sends_nothing(visit: Watched, recording: bytes) -> None:
    page = await visit.open("/")
    await page.get_by_label("Patient code").fill("Ms. Jane Doe")
    await drop(page, "a.c3d", recording)
    await expect(page.locator("#announcements")).to_contain_text("Nothing was uploaded")
    await expect(page.locator(".upload-row")).to_have_count(0)
    code = page.get_by_label("Patient code")
    await expect(code).to_be_focused()
    await expect(code).to_have_accessible_description(re.compile("letters from A to Z, digits, dots, hyphens and underscores"))
    await expect(page.locator(".field-problem").filter(has_text="letters from A to Z")).to_be_visible()
    await visit.picture("upload-wrong-code")
    await code.fill("P108 ")
    await expect(page.locator(".field-problem").filter(has_text="letters from A to Z")).to_be_hidden()
    await drop(page, "notes.txt", recording)
    await expect(page.locator(".upload-row")).to_have_count(1)
