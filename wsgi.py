"""`application` for any WSGI server: the settings of the environment, and what `app.bootstrap` makes of them."""

import atexit
import logging

from app import CommandError
from app.bootstrap import open_tweets
from app.http.application import Application
from app.logging import set_up
from app.settings import Settings
from storage.errors import CannotOpen

try:
    settings = Settings.from_environment()
    set_up(settings, logging.WARNING)
    tweets = open_tweets(settings)
except (CommandError, CannotOpen) as error:
    raise SystemExit(str(error)) from None

atexit.register(tweets.close)
application = Application(tweets, settings)
