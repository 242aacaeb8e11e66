"""`python -m aeros` is the `aeros` command."""

import sys

from .cli import main

sys.exit(main())
