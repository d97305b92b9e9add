"""Settings of the test run."""

import os

# Workers share the cores: threads of linear algebra beside them would only be in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
