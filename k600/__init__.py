"""The parts of the Kinetics-600 loader; `import kinetics600` is the way in."""

import logging

from k600.errors.text import PrintableRecords

# Here, so that it holds in every process that has a part of the loader: a fleet's workers, too.
logging.getLogger("kinetics600").addFilter(PrintableRecords())
