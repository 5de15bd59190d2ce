"""`python -m dvs_snn` is `dvs-snn`."""

import sys

from dvs_snn.cli import main

sys.exit(main())
