#!/bin/sh
# Builds the bundle of one version:  examples/meter-digits/build.sh 1.0.0 OUT_DIR
# What it runs is the exact command an author would; `longshore` must be on the PATH.
set -eu
version=${1:?usage: build.sh VERSION OUT_DIR}
out=${2:?usage: build.sh VERSION OUT_DIR}
from=$(dirname "$0")/$version

exec longshore bundle build \
    --name meter-digits --version "$version" \
    --model "$from/model.onnx" \
    --reference "$from/reference.csv" \
    --golden "$from/golden.npz" \
    --card "$from/card.md" \
    --labels 0,1,2,3,4,5,6,7,8,9 \
    --manifest-extra "$(dirname "$0")/monitor.toml" \
    --out "$out"
