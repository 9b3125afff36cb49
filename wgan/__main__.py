"""Run the command `wgan` as `python -m wgan`."""

from wgan.cli import main

if __name__ == "__main__":
    main()
