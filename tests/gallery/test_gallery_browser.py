"""The gallery in a real browser: Chromium as the system has it, without a window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.labels import NAMES
from k600.gallery.page import write_gallery
from k600.gallery.serve import PageServer
from k600.miniature import make_clip
from tests.chromium import playwright, start_chromium, watch
from tests.gallery.test_gallery import CLIP, on_disk, row

expect = playwright().expect
expect.set_options(timeout=20_000)
CLASSES = ("abseiling", "surfing water", "zumba")
HOSTILE = (
    "</script></style></title><img src=x onerror='window.hacked=1'><img src=http://127.0.0.1:9/x>"
    "<script>window.hacked=1</script>\"'>&lt;\u2028\u202e{{videos}}<!--<script>"
)
FILTER = """async (text) => {
  const start = performance.now();
  byId("search").value = text;
  byId("search").dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(done));
  document.body.getBoundingClientRect();  // the new layout is part of it
  return performance.now() - start;
}"""
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture
def browse(browser: Any) -> Iterator[Open]:
    """Open a page in a profile of its own; at the end it must have done nothing wrong."""
    pages: list[Any] = []

    def open_page(path: Path, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.wrong = watch(page)
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield open_page
    wrong = [page.wrong for page in pages]
    for page in pages:
        page.context.close()
    assert not any(wrong), wrong


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of twelve clips: three classes, three splits, all put in."""
    rows = [
        row(n, label=NAMES.index(CLASSES[n // 4]), split=("train", "validation", "test")[n % 3])
        for n in range(12)
    ]
    return write_gallery(rows, tmp_path_factory.mktemp("twelve") / "gallery.html", title="Twelve")


def tiles(page: Any) -> Any:
    return page.locator(".tile:visible")


def has_focus(page: Any, number: int) -> None:
    expect(page.locator(f".tile[data-index='{number}']")).to_be_focused()


def wait(page: Any, condition: str) -> None:
    """Wait until it holds. `page.wait_for_function` needs `eval`, which the policy forbids."""
    page.evaluate(
        f"""() => new Promise((done, fail) => {{
          const look = () => ({condition}) ? done() : requestAnimationFrame(look);
          setTimeout(() => fail(new Error("not within 20 s")), 20_000);
          look();
        }})"""
    )


def plays(page: Any) -> None:
    """Wait until the clip has moved on, which it does only if it is decoded."""
    wait(page, "video.currentTime > 0.05 && !video.paused && video.videoWidth > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_opens_without_an_error_in_light_and_dark(
    scheme: str, twelve: Path, browse: Open
) -> None:
    page = browse(twelve, color_scheme=scheme)
    expect(page).to_have_title("Twelve")
    expect(page.locator("#summary")).to_contain_text("12 clips  ·  3 classes")
    expect(tiles(page)).to_have_count(12)
    wait(page, "[...document.images].every((image) => image.naturalWidth > 0)")
    brightness = "parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert (page.evaluate(brightness) > 128) == (scheme == "light")
    page.click("#theme")
    assert (page.evaluate(brightness) > 128) == (scheme == "dark")
    page.reload()
    assert (page.evaluate(brightness) > 128) == (scheme == "dark")


def test_search_and_filters_narrow_what_is_shown(twelve: Path, browse: Open) -> None:
    page = browse(twelve)

    def click(selector: str, shown: int) -> None:
        page.click(selector)
        expect(tiles(page)).to_have_count(shown)

    page.keyboard.press("/")
    for text, shown in [("SURF water", 4), ("clip0000011", 1), ("no such clip", 0)]:
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
        expect(tiles(page)).to_have_count(shown)
        expect(page.locator("#state")).to_have_text(f"{shown} of 12 clips")
    expect(page.locator("#nothing")).to_be_visible()
    click("#clear", 12)
    click("#bars button:has-text('zumba')", 4)
    click("#bars button:has-text('abseiling')", 8)
    click("#splits button:has-text('validation')", 2)
    click("#splits button:has-text('test')", 5)
    page.fill("#class-search", "surf")
    expect(page.locator("#bars button:visible")).to_have_count(1)


def test_classes_without_a_clip_are_hidden_while_searching(twelve: Path, browse: Open) -> None:
    page = browse(twelve)
    bars = page.locator("#bars button:visible")
    page.fill("#search", "zumba")
    expect(bars).to_have_count(1)
    page.click("#bars button:has-text('zumba')")
    page.fill("#search", "surfing")
    expect(bars).to_have_count(2)  # the one that was chosen stays, to be let go
    page.fill("#search", "")
    expect(bars).to_have_count(3)


@pytest.fixture(scope="module")
def unlike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of clips of 10, 10, 4 and 6 seconds, of two classes, one of them tall."""
    shapes = [(10, 128, 96), (10, 96, 128), (4, 128, 96), (6, 256, 192)]
    rows = [
        row(
            n,
            video={"path": f"{n}.mp4", "bytes": make_clip(n, seconds=s, width=w, height=h)},
            label=NAMES.index(CLASSES[n % 2]),
            youtube_id=f"-clip00000{n}",
        )
        for n, (s, w, h) in enumerate(shapes)
    ]
    rows.append(row(9, label=700))
    return write_gallery(rows, tmp_path_factory.mktemp("unlike") / "gallery.html")


@pytest.mark.parametrize(
    ("way", "order"),
    [("class", "02413"), ("longest", "04132"), ("shortest", "23041"), ("largest", None)],
)
def test_clips_are_sorted(way: str, order: str | None, unlike: Path, browse: Open) -> None:
    page = browse(unlike)
    page.select_option("#sort", label="smallest")
    page.select_option("#sort", label=way)
    found = [int(tile.get_attribute("data-index")) for tile in tiles(page).all()]
    sizes = page.evaluate("clips.map((clip) => clip.size_bytes)")
    assert found == ([*map(int, order)] if order else sorted(found, key=lambda n: -sizes[n]))
    expect(page.locator(".group h2:visible")).to_have_count(3 if way == "class" else 0)
    page.focus("#search")
    page.keyboard.press("ArrowDown")
    has_focus(page, found[0])
    page.keyboard.press("ArrowRight")
    has_focus(page, found[1])


def test_a_duration_is_shown_where_it_differs_and_a_tall_clip_whole(
    unlike: Path, browse: Open
) -> None:
    page = browse(unlike)
    badges = page.locator(".badge")
    expect(badges).to_have_count(2)
    assert sorted(badges.all_text_contents()) == ["4 s", "6 s"]
    wait(page, "[...document.images].every((image) => image.naturalWidth > 0)")
    fits = "(image) => getComputedStyle(image).objectFit"
    shown = {n: page.locator(f".tile[data-index='{n}'] img").evaluate(fits) for n in range(4)}
    assert shown == {0: "cover", 1: "contain", 2: "cover", 3: "cover"}
    tiles(page).first.click()
    terms = page.locator("#facts dt").all_text_contents()
    assert {"Resolution", "Time in video"} < set(terms)


def test_selected_clips_are_saved_as_a_manifest(unlike: Path, browse: Open, tmp_path: Path) -> None:
    page = browse(unlike)
    expect(page.locator("#picks")).to_be_hidden()
    expect(page.locator(".pick input")).to_have_count(4)  # no manifest can name "label 700"
    page.locator(".tile[data-index='2']").focus()
    page.keyboard.press("x")
    page.locator(".pick input[data-index='3']").check()
    page.locator(".pick input[data-index='0']").check()
    page.locator(".pick input[data-index='0']").uncheck()
    expect(page.locator("#picks")).to_contain_text("2 clips selected.")

    with page.expect_download() as download:
        page.click("#save")
    assert download.value.suggested_filename == "manifest.csv"
    download.value.save_as(tmp_path / "manifest.csv")
    page.wrong.clear()  # a download leaves its address, as watch() sees it
    chosen = kinetics600.make_request("validation", manifest=tmp_path / "manifest.csv").manifest
    assert chosen is not None
    assert [(each.clip.label, each.clip.youtube_id) for each in chosen.rows] == [
        ("abseiling", "-clip000002"),
        ("surfing water", "-clip000003"),
    ]

    page.fill("#search", "abseiling")
    page.click("#pick-shown")
    expect(page.locator("#picks")).to_contain_text("3 clips selected.")
    page.click("#pick-none")
    expect(page.locator("#picks")).to_be_hidden()


def test_an_embedded_clip_plays_by_enter_and_escape_leads_back(twelve: Path, browse: Open) -> None:
    page = browse(twelve)
    page.locator(".tile").nth(2).focus()
    page.keyboard.press("Enter")
    plays(page)
    assert page.evaluate("video.src").startswith("blob:")
    page.keyboard.press("Space")
    wait(page, "video.paused")
    page.keyboard.press("Space")
    plays(page)
    page.keyboard.press("Escape")
    expect(page.locator("#player")).to_be_hidden()
    has_focus(page, 2)
    wait(page, "video.paused && !video.hasAttribute('src')")


@pytest.mark.parametrize("folder", ["beside", "elsewhere"])
def test_a_clip_on_disk_plays_by_a_click(folder: str, tmp_path: Path, browse: Open) -> None:
    name = "javascript:window.hacked=1;#a?b%41 é'\".mp4"
    (tmp_path / "elsewhere").mkdir()
    rows = [on_disk(tmp_path / "beside" / name)]
    page = browse(write_gallery(rows, tmp_path / folder / "gallery.html", embed_bytes=0))
    tiles(page).click()
    plays(page)
    link = page.locator("#facts dd a[href$='.mp4']")
    assert name in link.inner_text()
    assert link.evaluate("(link) => link.protocol") == "file:"
    page.click("#close")
    has_focus(page, 0)


def test_a_served_clip_plays_and_can_be_sought(tmp_path: Path, browser: Any) -> None:
    server = PageServer([on_disk(tmp_path / "a b.mp4")], port=0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with server, browser.new_context() as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.goto(server.url)
        tiles(page).click()
        plays(page)
        page.evaluate("video.currentTime = 7")
        wait(page, "video.currentTime >= 7 && video.currentTime < 9")
        server.shutdown()
        thread.join()
    assert wrong == []


def test_what_cannot_be_played_says_why(tmp_path: Path, browse: Open) -> None:
    rows = [on_disk(tmp_path / "a.mp4"), row(video={"path": "b.mp4", "bytes": CLIP[:900]})]
    page = browse(write_gallery(rows, tmp_path / "gallery.html", embed_bytes=0))
    (tmp_path / "a.mp4").unlink()
    tiles(page).first.click()
    expect(page.locator("#message")).to_contain_text("its file has gone")
    assert all("ERR_FILE_NOT_FOUND" in line for line in page.wrong)
    page.wrong.clear()
    page.click("#close")
    page.click("#problems button")
    expect(tiles(page)).to_have_count(1)
    tiles(page).click()
    expect(page.locator("#message")).to_contain_text("cut off before its end")


def test_arrow_keys_move_in_the_grid_and_in_the_player(twelve: Path, browse: Open) -> None:
    page = browse(twelve)
    page.focus("#search")
    page.keyboard.press("ArrowDown")
    moves = {"ArrowRight": 1, "ArrowDown": 5, "ArrowUp": 1, "ArrowLeft": 0, "End": 11, "Home": 0}
    for key, number in moves.items():
        page.keyboard.press(key)
        has_focus(page, number)
    assert page.locator(".tile[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    for key, position in [("ArrowLeft", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)]:
        page.keyboard.press(key)
        expect(page.locator("#position")).to_have_text(f"{position} / 12")
    page.focus("#video")  # where the arrows would seek
    page.keyboard.press("ArrowRight")
    expect(page.locator("#position")).to_have_text("3 / 12")
    plays(page)
    page.keyboard.press("Escape")
    has_focus(page, 2)


@pytest.mark.parametrize("policy", ["with its policy", "without its policy"])
def test_hostile_data_is_text(policy: str, tmp_path: Path, browse: Open) -> None:
    words = {"label": HOSTILE, "youtube_id": HOSTILE, "split": HOSTILE, "source": HOSTILE}
    rows = [
        row(**words, video={"path": HOSTILE, "bytes": CLIP}),
        on_disk(tmp_path / HOSTILE / "a.mp4", **words),
        row(**words, video={"path": HOSTILE, "bytes": None}),
        row(youtube_id="javascript:", split="__proto__", label="constructor"),
    ]
    path = write_gallery(rows, tmp_path / "gallery.html", title=HOSTILE, embed_bytes=len(CLIP))
    page = browse(path, bypass_csp=policy.startswith("without"))
    for place in ("h1", ".tile b", ".group h2 bdi", "#bars .name", "#splits button"):
        assert any(HOSTILE in text for text in page.locator(place).all_text_contents()), place
    for number in range(3):
        page.locator(f".tile[data-index='{number}']").click()
        assert page.text_content("#player-title") == HOSTILE
        assert page.text_content("#facts").count(HOSTILE) >= 4
        if number < 2:
            plays(page)
        page.keyboard.press("Escape")
    page.fill("#search", HOSTILE.split()[0])
    expect(tiles(page)).to_have_count(3)
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 3  # data, the page's own, one embedded clip
    assert page.evaluate("[...document.images].every((image) => image.src.startsWith('data:'))")


def test_these_tests_would_see_a_request_and_a_script(twelve: Path, browse: Open) -> None:
    page = browse(twelve, bypass_csp=True)
    with page.expect_event("requestfailed", lambda request: request.url.startswith("http:")):
        page.evaluate("(html) => { document.body.innerHTML = html; }", HOSTILE)
    wait(page, "window.hacked")
    assert "network: http://127.0.0.1:9/x" in page.wrong
    page.wrong.clear()


def test_five_hundred_clips_are_at_hand_soon(
    tmp_path: Path, browse: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    free = 134_000 - len(CLIP)  # so that the clips fill `embed_bytes`: the default's largest page
    data = CLIP + free.to_bytes(4, "big") + b"free" + bytes(free - 8)
    plain = row(video={"path": "a.mp4", "bytes": data})
    rows = [{**plain, "label": n % 100, "youtube_id": f"clip{n:07d}"} for n in range(500)]
    path = write_gallery(rows, tmp_path / "gallery.html")
    start = time.perf_counter()
    page = browse(path)
    expect(page.locator("#state")).to_have_text("500 clips")
    load = 1000 * (time.perf_counter() - start)
    filters = [page.evaluate(FILTER, text) for text in ("a", "ab", "clip0000123", "")]
    page.fill("#search", "clip0000123")
    expect(tiles(page)).to_have_count(1)
    tiles(page).click()
    plays(page)
    with capsys.disabled():
        print(
            f"\n500 clips, {path.stat().st_size / 1e6:.0f} MB: load {load:.0f} ms, "
            f"filter {max(filters):.0f} ms at most"
        )
    assert load < 10_000
    assert max(filters) < 2_000
