"""`python -m genjax_models`."""

import sys

from genjax_models.cli import main

sys.exit(main())
