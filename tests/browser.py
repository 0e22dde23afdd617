"""A headless Chromium for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver

# Nothing is fetched or reported in the background: the tests need no network.
ARGUMENTS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--window-size=1200,1000',
)


@pytest.fixture
def browser(tmp_path) -> Iterator[webdriver.Chrome]:
    """A fresh Chromium; without one the test is skipped, except where CI asks for it."""
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if not (chromium and driver):
        if os.environ.get('CI'):
            pytest.fail('CI needs chromium and chromedriver')
        pytest.skip('needs chromium and chromedriver (Debian: chromium, chromium-driver)')
    # Not above: where there is no selenium, the other tests run.
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f'--user-data-dir={tmp_path / "chromium"}'):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    yield chrome
    chrome.quit()


def page_errors(browser: webdriver.Chrome) -> list[str]:
    """What the page complained about since the last call: failed scripts, missing files."""
    return [entry['message'] for entry in browser.get_log('browser') if entry['level'] == 'SEVERE']
