"""The browsers that are installed, and tabs that hold pages to ask nobody else and to complain of nothing."""

import shutil
from contextlib import contextmanager

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FIREFOXES = ("firefox-esr", "firefox")


def installed(programs):
    """The first of these programs that is there."""
    program = next(filter(None, map(shutil.which, programs)), None)
    assert program, f"none of {', '.join(programs)} is installed"
    return program


@contextmanager
def tab_of(browser, address, own, ready=None, *, before="", **options):
    """A tab with the page at an address, and what it complains of, asks elsewhere or puts into dialogs.

    own: how addresses begin that it may ask; ready: what is waited for; before: a script that runs first
    """
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    tab = context.new_page()
    told = []
    if before:
        tab.add_init_script(before)

    def asked(request):
        if not request.url.startswith((own, "data:", "blob:")):
            told.append(request.url)

    def asks(dialog):
        told.append(dialog.message)
        dialog.dismiss()

    tab.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("dialog", asks)
    context.on("request", asked)
    tab.goto(address)
    if ready is not None:
        tab.wait_for_selector(ready)
    yield tab, told
    context.close()


def nothing_runs(tab):
    """What somebody might get into the page does not run and loads nothing."""
    tab.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = 1";
          document.body.append(script);
          const more = "<img src=x onerror='window.ran=1'><p onclick='window.ran=1'></p>";
          document.body.insertAdjacentHTML("beforeend", more);
          document.body.lastElementChild.click();
        }"""
    )
    assert tab.evaluate("window.ran") is None
    assert tab.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'blocked')") == "blocked"


def until(tab, expression):
    """Wait until it is true; a page's policy keeps Playwright from waiting within it."""
    for _ in range(800):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(25)
    raise AssertionError(f"never true: {expression}")
