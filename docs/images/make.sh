#!/usr/bin/env bash
# Makes the pictures of membranes from the runs that the model zoo's page trains, in
# the folder work_dirs/methods or another one: bash docs/images/make.sh [RUNS]. The two images are of
# mini-VTAB: images/test/00009.png of digits, images/test/00005.png of sprites_location.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-work_dirs/methods}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

python tools/visualize.py docs/images/digit.png --run "$runs/digits_memba_seed0" --out "$out"
python tools/visualize.py docs/images/sprite.png --run "$runs/sprites_location_memba_seed0" \
  --compare "$runs/sprites_location_memba_gate_seed0" --out "$out"
for name in digit_potential digit_chunks digit_depth digit_gate sprite_reset; do
  cp "$out/$name.png" docs/images/
done
