"""``python -m service.cli`` is ``secondread``."""

from service.cli import main

main()
