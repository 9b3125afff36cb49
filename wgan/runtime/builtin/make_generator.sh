#!/bin/sh
# Makes generator.onnx: Fashion-MNIST (MIT licence, Zalando Research) at 32x32.
# Run it with the folder of the four idx files and a folder for the run; half an hour on 2 cores.
set -eu
data=$1
run=$2
wgan train "$data" --run "$run" --size 32 --width 20 --latent-dim 64 --learning-rate 2e-4 \
    --steps 4016
wgan export "$run" --format onnx -o "$(dirname "$0")/generator.onnx"
