"""The page in a real browser, headless: sorting, filters, panels by keyboard, profiles, paper. Never a console error.

It takes a Chromium, its driver and selenium, and says so where one is missing.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mec_transfer.report.page import write_report
from mec_transfer.results.references import load_references
from mec_transfer.results.store import Store
from tests.example_board import example_records
from tests.report.conftest import write_records

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync"),
)
EVIL = "<script>document.title='taken'</script>"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="THE REPORT WAS OPENED IN NO BROWSER: chromium and chromedriver are missing"
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, of which one is called as no model should be; a failure with its log; a picture."""
    out = tmp_path_factory.mktemp("run")
    records = [
        record.model_copy(update={"model": record.model.model_copy(update={"name": EVIL})})
        if record.model.name == "theirs"
        else record
        for record in example_records()
    ]
    for record, folder in zip(records, write_records(out, records), strict=True):
        if record.status == "failed":
            (folder / "log.txt").write_text("training [1/2 steps]\nerror: <b>no memory</b>\n")
    (out / "jobs/model/job-00000/pictures").mkdir()
    frames = [Image.new("RGB", (64, 48), (0, 0, 60 * at)) for at in range(4)]
    frames[0].save(out / "jobs/model/job-00000/pictures/best.gif", save_all=True, append_images=frames[1:])
    return write_report(out, Store.read(out))


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[Any]:
    """A browser of an empty profile with the page open; the test fails if it ever wrote an error to its console."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="THE REPORT WAS OPENED IN NO BROWSER: selenium is missing"
    )
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (*QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    home = {**os.environ, "HOME": str(tmp_path)}
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=home))
    try:
        driver.get(page.as_uri())
        yield driver
        assert driver.get_log("browser") == []
        assert driver.title.startswith("Transfer report")
    finally:
        driver.quit()


def models(browser: Any, body: str = "measured") -> list[str]:
    """The rows that are seen, from top to bottom."""
    seen = f"[...document.querySelectorAll('#{body} tr')].filter((row) => !row.hidden)"
    found: list[str] = browser.execute_script(f"return {seen}.map((row) => row.cells[0].firstChild.textContent)")
    return found


def columns(browser: Any) -> list[str]:
    """The protocols of the columns that are seen."""
    seen = "[...document.querySelectorAll('#board th[data-protocol]')].filter((head) => !head.hidden)"
    found: list[str] = browser.execute_script(f"return {seen}.map((head) => head.dataset.protocol)")
    return found


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def press(browser: Any, *keys: str) -> None:
    """Press keys where the focus is."""
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def focus(browser: Any, selector: str) -> None:
    browser.execute_script("arguments[0].focus()", find(browser, selector))


def test_heads_sort_by_mouse_and_keyboard_and_say_so(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    assert models(browser) == ["ours", EVIL, "random"]
    head = find(browser, "[data-sort='0']")
    head.click()
    assert models(browser) == ["ours", EVIL, "random"]
    assert find(browser, "th:nth-child(2)").get_attribute("aria-sort") == "descending"
    focus(browser, "[data-sort='0']")
    press(browser, Keys.ENTER)
    assert models(browser) == ["random", EVIL, "ours"]
    assert find(browser, "th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    assert "ascending" in find(browser, "#said").text
    find(browser, "[data-sort='3']").click()
    assert models(browser)[:2] == ["ours", EVIL]  # random, which has no number, is last either way
    find(browser, "[data-sort='3']").click()
    assert models(browser) == [EVIL, "ours", "random"]
    shown = "[...document.querySelectorAll('#quoted tr:not([hidden])')].map((row) => row.cells[4]?.dataset.value)"
    values = [float(value) for value in browser.execute_script(f"return {shown}") if value]
    assert values == sorted(ref.metrics["AP50"] for ref in load_references() if ref.protocol == "voc0712-c4-moco")
    find(browser, "[data-sort='-1']").click()
    assert models(browser) == [EVIL, "ours", "random"]
    find(browser, "#reset").click()
    assert models(browser) == ["ours", EVIL, "random"]
    assert not browser.find_elements("css selector", "[aria-sort='ascending'], [aria-sort='descending']")


def test_filters_and_columns(browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    every = columns(browser)
    assert len(every) == 4
    Select(find(browser, "#by-family")).select_by_visible_text("detection")
    assert columns(browser) == ["voc0712-c4-moco"]
    published = sorted(ref.method for ref in load_references() if ref.protocol == "voc0712-c4-moco")
    assert sorted(models(browser, "quoted")[1:]) == published
    find(browser, "#reset").click()
    Select(find(browser, "#by-protocol")).select_by_visible_text(every[1])
    assert columns(browser) == [every[1]]
    find(browser, "#reset").click()
    find(browser, ".menu > summary").click()
    find(browser, "#columns input[value='0']").click()
    assert columns(browser) == every[1:] and "3 of 4 columns" in find(browser, "#said").text
    find(browser, "h1").click()
    assert not find(browser, ".menu").get_attribute("open")
    find(browser, "#by-model").send_keys("SCRIPT")
    assert models(browser) == [EVIL] and "1 of 3 models" in find(browser, "#said").text
    find(browser, "#reset").click()
    assert columns(browser) == every and len(models(browser)) == 3
    assert find(browser, "#quoted").is_displayed()
    find(browser, "#published").click()
    assert not find(browser, "#quoted").is_displayed()


def test_a_panel_opens_and_closes_by_keyboard_and_the_focus_returns(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    focus(browser, "[data-cell='1:3']")
    press(browser, Keys.ENTER)
    panel = find(browser, "#panel")
    assert panel.is_displayed() and find(browser, "#panel-head").text == f"{EVIL}: VOC07+12 detection"
    text = panel.text
    for part in ("81.80 ± 0.28 (n=2) failed (2)", "Why trial 2 failed", "error: <b>no memory</b>", "Protocol card"):
        assert part in text, part
    for head in ("What differs from the published", "The command that repeats it", "Versions and hardware"):
        assert head in text, head
    assert browser.execute_script("return document.getElementById('panel').contains(document.activeElement)")
    press(browser, Keys.ESCAPE)
    assert not panel.is_displayed()
    assert browser.execute_script("return document.activeElement.dataset.cell") == "1:3"
    find(browser, "[data-cell='0:0']").click()
    assert "61.24" in panel.text and len(panel.find_elements("css selector", "img")) == 1
    find(browser, "#close").click()
    assert not panel.is_displayed() and not browser.find_elements("css selector", "#panel script, #panel b")


def test_a_profile_is_drawn_anew_for_another_baseline(browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    def ours() -> list[str]:
        return [cell.text for cell in browser.find_elements("css selector", ".profile[data-row='0'] td:last-child")]

    assert ours() == ["+58.14", "", "", ""]
    Select(find(browser, "#baseline")).select_by_visible_text(EVIL)
    assert ours() == ["+0.74", "", "", "+0.30"]
    Select(find(browser, "#baseline")).select_by_visible_text("random")
    assert ours() == ["+58.14", "", "", ""]


def test_videos_stand_still_when_asked_to(browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    def source() -> str:
        found: str = browser.execute_script("return document.querySelector('#pictures img').currentSrc")
        return found

    moving = source()
    find(browser, "#moving").click()
    assert source() != moving and source() == find(browser, "#pictures img").get_attribute("data-still")
    find(browser, "#moving").click()
    assert source() == moving
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    assert browser.execute_script("return matchMedia('(prefers-reduced-motion: reduce)').matches")
    still = find(browser, "#pictures source").get_attribute("srcset")
    WebDriverWait(browser, 10).until(lambda _: source() == still)


@pytest.mark.parametrize("width", [390, 1300])
def test_the_page_is_as_wide_as_the_screen_and_the_table_scrolls_within(width: int, browser: Any) -> None:
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    page = "return document.documentElement."
    assert browser.execute_script(f"{page}scrollWidth") == browser.execute_script(f"{page}clientWidth") <= width
    if width == 390:
        browser.execute_script("document.querySelector('.scroll').scrollLeft = 200")
        place = "return document.querySelector('#measured th').getBoundingClientRect().left"
        assert 0 <= browser.execute_script(place) < 40  # the names stay in sight


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(scheme: str, browser: Any) -> None:
    """WCAG's contrast of 4.5 for the colours that text has, on each ground that it stands on."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    style = "return getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"

    def luminance(name: str) -> float:
        value = browser.execute_script(style.format(name)).lstrip("#")
        channels = [int(value[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for ground in ("ground", "card", "shade"):
        for text in ("text", "quiet", "accent", "bad"):
            assert contrast(text, ground) >= 4.5, (scheme, text, ground)
    for colour in ("gain", "loss", "other", *(f"c{at}" for at in range(6))):
        assert contrast(colour, "card") >= 3, (scheme, colour)


def test_it_goes_on_paper(browser: Any, tmp_path: Path) -> None:
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    paper = base64.b64decode(printed["data"])
    assert paper.startswith(b"%PDF") and b"/Type /Page" in paper
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not find(browser, ".controls").is_displayed() and not find(browser, "nav").is_displayed()
    assert find(browser, "#measured").is_displayed() and find(browser, "#notes").is_displayed()


def test_without_a_script_everything_is_there_but_panels(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page.as_uri())
    text = find(browser, "main").text
    assert not find(browser, ".controls").is_displayed()
    for part in (
        "61.24",
        "82.10 ± 0.20 (n=3)",
        "failed (1)",
        "MoCo v2",
        "+58.14",
        "Without JavaScript",
        "torch 2.11.0",
    ):
        assert part in text, part
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_every_control_has_a_name(browser: Any) -> None:
    """As a screen reader is told it."""
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "combobox", "searchbox", "checkbox", "link", "img", "image", "table", "region", "navigation"}
    unnamed = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored") and node["role"]["value"] in roles and not node.get("name", {}).get("value")
    ]
    named = {node["name"]["value"] for node in tree if node.get("name", {}).get("value") and not node.get("ignored")}
    assert "Model" in named and any(name.startswith("VOC07+12 detection, AP50. ours: 82.10") for name in named)
    assert [role for role in unnamed if role != "table"] == []
