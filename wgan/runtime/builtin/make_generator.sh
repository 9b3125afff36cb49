#!/bin/sh
# Makes generator.onnx: Fashion-MNIST (MIT licence, Zalando Research) at 32x32, by class.
# Run it in wgan's environment with the folder of the four idx files and a folder for images and the
# run; an hour of one core.
set -eu
data=$1
work=$2
python - "$data" "$work/images" <<'END'
# Class names are those of folders; the idx files have numbers.
import sys
from pathlib import Path

from wgan.training.data import open_source

names = "t-shirt trouser pullover dress coat sandal shirt sneaker bag boot".split()
source = open_source(Path(sys.argv[1]))
for k, label in enumerate(source.labels):
    folder = Path(sys.argv[2], names[label])
    folder.mkdir(parents=True, exist_ok=True)
    source.image(k, 28).save(folder / f"{k:05}.png")
END
wgan train "$work/images" --run "$work/garments" --conditional --size 32 --width 20 --channels 1 \
    --latent-dim 64 --steps 40000
# 0.9 MB, and at most 2 of 255 from float32, which takes 1.8 MB.
wgan export "$work/garments" --format onnx --precision fp16 --target cpu \
    -o "$(dirname "$0")/generator.onnx"
