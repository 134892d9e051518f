"""``python -m nansurfer`` is the command ``nansurfer``."""

from nansurfer.cli import main

main()
