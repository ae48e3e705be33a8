#!/usr/bin/env bash
# The README's two pictures: the top of a run's report, and a forecast fan. Needs Chromium, which
# is given some seconds of its own clock to draw the charts in.
#     docs/make_pictures.sh [RUN_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/topk-uncertainty-sample}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
  --user-data-dir="$work/profile" --window-size=900,1120 --virtual-time-budget=5000 --screenshot=docs/report.png \
  "file://$(realpath "$run")/report.html"
python -m sandbox.forecast --symbol AAPL --asof 2024-06-28 --horizon 20 --samples 100 --out "$work"
cp "$work"/AAPL-*.png docs/forecast.png
