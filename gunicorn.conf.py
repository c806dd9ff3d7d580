"""gunicorn's configuration: gevent web processes, time-outs, a strict parser. It does not own the pool."""

import gc
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from webapp.log_format import logging_config
from webapp.processes import SUPERVISOR_VARIABLE, end_with_parent, raise_descriptor_limit
from webapp.settings import read_settings

if TYPE_CHECKING:
    from webapp.web.drain import Worker

settings = read_settings()

bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
workers = settings.web_processes
worker_class = "webapp.web.worker.WebWorker"
# Past these a connection waits in the backlog. For 10,000 idle readers, also while one process has to carry them all
# (about 20 kB each); where the system allows fewer open files, 200 are left for what is none of a connection's.
worker_connections = min(12_000, raise_descriptor_limit() - 200)
# Also the time limit for a request's headers; 0 would leave them without any.
# A stop waits so long for connections that others keep open.
keepalive = 3
# Nobody's headers name a scheme, a path or a script: what proxies say is read by the app, where they are declared.
forwarded_allow_ips = ""
# A reload whose new process dies is not answered until this has passed.
graceful_timeout = 8
# The pure parser refuses what a smuggler needs: two lengths, folded headers, stray bytes.
http_parser = "python"
preload_app = False
# Its own start and stop lines are for those who debug; warnings are for all.
loglevel = "debug" if settings.log_level == "debug" else "warning"
# As in every other process.
logconfig_dict = logging_config(settings)
control_socket_disable = True
# Request lines could hold what a user typed; the pool logs each generation by its numbers.
accesslog = None


def on_starting(server: object) -> None:
    """End with the supervisor, where there is one; bring the database's schema up to date.

    The latter in a process of its own: what this one imports and opens, its forks inherit unpatched.
    """
    if SUPERVISOR_VARIABLE in os.environ:
        end_with_parent()
    done = subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", "upgrade-database"], check=False)
    if done.returncode:
        # It has said why.
        sys.exit(done.returncode)


def post_worker_init(worker: "Worker") -> None:
    """In the web process, once it has loaded the app.

    Its streams end in order when it is stopped; it deletes expired shared links, and ends replays of those that are
    gone. And Python looks for garbage in cycles less often, and not in what was loaded, which stays: with many streams
    that took a fifth of the processor's time.
    """
    # Not at the top: the master process must not import the app, whose modules its forks would inherit unpatched.
    from webapp.web.create_app import LINKS_EXTENSION, REPLAYS_EXTENSION
    from webapp.web.drain import drain_at_stop
    from webapp.web.links.purging import purge_regularly
    from webapp.web.links.withdrawing import withdraw_regularly

    drain_at_stop(worker, graceful_timeout=graceful_timeout)
    links, replays = (worker.wsgi.extensions[name] for name in (LINKS_EXTENSION, REPLAYS_EXTENSION))
    purge_regularly(links)
    withdraw_regularly(links, replays)
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
