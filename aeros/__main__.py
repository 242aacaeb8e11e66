"""`python -m aeros` is the `aeros` command."""

import sys

from .cli.command_line import main

sys.exit(main())
