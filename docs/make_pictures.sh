#!/usr/bin/env bash
# The README's pictures: the top of a run's report, a forecast fan, the top of a page of skill, and
# the dashboard of a paper account on a replay. Needs Chromium, which is given some seconds of its own clock to draw in.
#     docs/make_pictures.sh [RUN_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:-runs/topk-uncertainty-sample}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
picture() { # FILE WIDTH,HEIGHT URL
  timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
    --user-data-dir="$work/profile" --window-size="$2" --virtual-time-budget=5000 \
    --screenshot="$1" "$3"
}
picture docs/report.png 900,1120 "file://$(realpath "$run")/report.html"
python -m sandbox.forecast --symbol AAPL --asof 2024-06-28 --horizon 20 --samples 100 --out "$work"
cp "$work"/AAPL-*.png docs/forecast.png
python -m sandbox.skill --data sample:ph --start 2019-01-02 --end 2021-12-31 --every 5 --calibrate \
  --out "$work/skill"
picture docs/skill.png 1000,1330 "file://$work/skill/skill.html"
python -m sandbox.replay --data sample:AAPL,NVDA,MSFT,JPM,XOM --start 2023-01-03 --speed 259200x \
  >"$work/replay" &
until grep -q listening "$work/replay"; do sleep 1; done
python -m sandbox.paper strategies/topk.py --param k=2 rebalance=bar --quiet --dashboard 8765 \
  --exchange "replay:$(grep -o '[0-9]*$' "$work/replay")" --state "$work/account.sqlite" \
  --out "$work/run" &
sleep 75 # of the account's life
PYTHONPATH=. python docs/picture.py http://127.0.0.1:8765/ docs/paper.png
kill %1 %2
wait
