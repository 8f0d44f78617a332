"""The editor in Chinese: nothing is left untranslated, and an input method is left alone."""

from __future__ import annotations

import re
from typing import Any

from tests.web.conftest import SOURCE, open_editor

TEXTS = """() => {
    const found = []
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walk.nextNode()) {
        const holder = walk.currentNode.parentElement
        if (!holder.closest('script, style, code, kbd, textarea, .where, .key-set, .combo, .react-flow__attribution, .job-name, .job-about'))
            found.push(walk.currentNode.data)
    }
    for (const each of document.querySelectorAll('[aria-label], [title], [placeholder]'))
        for (const name of ['aria-label', 'title', 'placeholder'])
            if (each.getAttribute(name) && !each.closest('.combo, .key-set, .thumb') && !each.matches('.job')) found.push(each.getAttribute(name))
    return found
}"""
# names of things, keys and types, which are the same in every language
SAME = r"""Darkroom|IPAdapter|DeepCache|EasyCache|LazyCache|LCM|\blcm\b|CFGNorm|CFGZeroStar|HyperTile|React Flow( attribution)?|%\w+%|English|CLIP|VAE|KSampler\w*|Karras|DDIM|DDPM|CFG|U-Net|PNG|JSON|API|UI|LoRA|FID|Inception|LAION
|Canny|KiB|MiB|GiB|SafetyCheck|WatermarkEmbed|PSNR|SSIM|OpenAI|cfg|denoise|eta|rho|sigma|Stable|Diffusion|Ctrl|Shift|Alt|Enter|Esc|Backspace
|Delete|Home|End|Tab|out:LATENT|in:|text_to_image\S*|[\w.-]+\.(safetensors|png|webp|json)|[A-Z][A-Z_]+|#\d+|SaveImage
|FreSca|FreeU|Tile|^\w+(?=\ ·\ )|embedding:|models/\S*|\.latent|Conditioning|\(Combine\)|Combine|Markdown|Hessel|Fr.chet|v1|euler\w*|dpmpp_2m|restart|\{red\|blue\}|\[red:blue:[\d.]+\]|\b(red|blue)\b|(?<=任务 )[0-9a-f]{8}"""
WORKFLOWS = "|".join(file.stem for file in (SOURCE / "workflows").glob("*.json"))  # what jobs are called
UNLABELLED = re.compile(r"[A-Za-z]{3,}")


def left_over(page: Any) -> set[str]:
    """Texts on the screen that hold a word of another language."""
    allowed = re.compile(f"{SAME}|{WORKFLOWS}".replace("\n", ""))
    return {text for text in page.evaluate(TEXTS) if UNLABELLED.search(allowed.sub("", text))}


def test_no_screen_is_left_untranslated(browser: Any, server: str) -> None:
    with open_editor(browser, server, locale="zh-CN") as editor:
        page, found = editor.page, {}
        page.fill('[aria-label="步数, 3"]', "1")
        page.keyboard.press("Control+Enter")
        page.locator(".about-shot .seed").wait_for()
        found["canvas"] = left_over(page)
        for key, shown in {"?": ".keys-grid", "Control+,": ".settings", "w": ".examples b", "q": ".job"}.items():
            page.locator("#canvas").focus()
            page.keyboard.press(key)
            page.locator(shown).first.wait_for()
            found[key] = left_over(page)
            page.keyboard.press("Escape")
        page.locator("#canvas").focus()
        page.keyboard.press("a")
        page.locator(".palette .about").wait_for()
        found["add"] = left_over(page)
        page.keyboard.press("Escape")
        page.locator('[data-id="3"] .card-head').click()
        page.keyboard.press("h")
        page.locator(".help dd").first.wait_for()
        found["help"] = left_over(page)
        page.locator('[data-id="3"] .card-head').click(button="right")
        page.locator(".menu").wait_for()
        found["menu"] = left_over(page)
        assert set().union(*found.values()) == set()


def test_what_nodes_warn_of_and_fail_with_is_chinese(browser: Any, server: str) -> None:
    with open_editor(browser, server, locale="zh-CN") as editor:
        page = editor.page
        page.fill('[data-id="6"] textarea', "a cat, embedding:nobody_has_this")
        page.fill('[aria-label="步数, 3"]', "1")
        page.fill('[data-id="9"] [data-input="filename_prefix"] input', "../outside")
        page.keyboard.press("Control+Enter")
        warned = page.locator('[data-id="6"] .card-notice.warning')
        warned.wait_for()
        assert warned.inner_text().endswith("models/embeddings 中没有 embedding:nobody_has_this；提示词将忽略它")
        page.locator('.react-flow__node[data-id="9"]').get_by_text(
            "此处运行失败：收到 '../outside'，斜杠之间含有 '..'：不允许向上或绕行"
        ).wait_for()
        page.locator("#tab-queue").click()
        page.locator(".job", has_text="失败：收到 '../outside'").wait_for()


def test_search_finds_both_names_and_leaves_an_input_method_alone(browser: Any, server: str) -> None:
    with open_editor(browser, server, locale="zh-CN") as editor:
        page = editor.page
        for words in ("采样", "ksampler"):
            page.locator("#canvas").focus()
            page.keyboard.press("a")
            page.locator(".palette input").fill(words)
            page.locator(".palette li", has_text="K 采样器").first.wait_for()
            page.keyboard.press("Escape")
        page.locator("#canvas").focus()
        page.evaluate("""() => document.activeElement.dispatchEvent(
            new KeyboardEvent('keydown', { key: 'a', code: 'KeyA', bubbles: true, isComposing: true }))""")
        assert page.locator(".palette").count() == 0
