"""A picture of a page that goes on by itself, such as a dashboard: `picture.py URL FILE`.

Run from the project's folder. Chromium's own `--screenshot` waits for the page to come to rest.
"""

import base64
import sys
import time
from pathlib import Path

from tests.reports.browser import browser

DRAWN_SECS = 4.0

if __name__ == "__main__":
    url, file = sys.argv[1:]
    with browser() as page:
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=1000, height=1130, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        page.call("Page.navigate", url=url)
        time.sleep(DRAWN_SECS)
        picture = page.call("Page.captureScreenshot", format="png")["data"]
    Path(file).write_bytes(base64.b64decode(picture))
