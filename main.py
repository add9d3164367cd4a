"""The application of the environment, for a server: `uvicorn main:app`.

`app` is an ordinary variable, because not every server looks for it in the same way. Importing this
module reads the environment and changes the process; `application.create_app` does neither.
"""

import gc
import logging
import sys

from uvicorn.config import STARTUP_FAILURE

from application import create_app
from core.logs import configure_logging
from core.settings import ConfigurationError, load_settings

try:
    settings = load_settings()
except ConfigurationError as error:
    sys.stderr.write(f"{error}\n")
    # With --workers, uvicorn would start any other worker that ends again and again.
    sys.exit(STARTUP_FAILURE)
configure_logging(settings.log_format)
if settings.jwt_issuer.endswith("/"):
    logging.getLogger(__name__).warning(
        "JWT_ISSUER ends with a slash: Better Auth's iss is an origin without one"
    )
app = create_app(settings)
# Freeze start-up objects: scanning them stalls requests for most of a tenth of a second, about once
# a second under load.
gc.freeze()
# A request leaves hardly any cycles behind: to look for them after every 700 objects, Python's
# default, takes a tenth of its time.
gc.set_threshold(10_000)
