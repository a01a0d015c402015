"""`application` for any WSGI server: settings -> storage -> app. Nothing else is decided here."""

import atexit
import logging

from app.factory import create_app
from app.log import set_up
from app.opening import open_tweets
from app.settings import SettingError, Settings
from storage.errors import CannotOpen

try:
    settings = Settings.from_environment()
    set_up(settings, logging.WARNING)
    tweets = open_tweets(settings)
except (SettingError, CannotOpen) as error:
    raise SystemExit(str(error)) from None

atexit.register(tweets.close)
application = create_app(tweets, settings)
