#!/bin/sh
# Makes generator.onnx: Fashion-MNIST (MIT licence, Zalando Research) at 32x32, width 16.
# Run it with the folder of the four idx files and a folder for the run.
set -eu
data=$1
run=$2
wgan train "$data" --run "$run" --size 32 --width 16 --steps 20000
wgan export "$run" --format onnx -o "$(dirname "$0")/generator.onnx"
