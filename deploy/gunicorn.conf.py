"""gunicorn's settings for the back end: ``gunicorn --config gunicorn.conf.py``.

The flags of ``back`` are JSON in CLIPGPT_FLAGS. The index is memory-mapped: all workers share one copy of it. With
OMP_NUM_THREADS=1, the default here, the app is created before the workers fork, and they share the models, too. With
more threads each worker creates its own: OpenMP's threads do not survive a fork, and a worker would wait for them.
"""

import json
import os
import tempfile

# Shared by the workers, so that /metrics of any worker covers all of them.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="clipgpt-metrics-"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # otherwise each worker uses as many threads as there are cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")  # memory of large images returns to the system

bind = os.environ.get("CLIPGPT_BIND", "0.0.0.0:1234")
workers = int(os.environ.get("CLIPGPT_WORKERS", "2"))
threads = int(os.environ.get("CLIPGPT_THREADS", "8"))
worker_class = "gthread"
preload_app = os.environ["OMP_NUM_THREADS"] == "1"
timeout = 120
graceful_timeout = 30
flags = {"enable_faiss_memory_mapping": True, **json.loads(os.environ.get("CLIPGPT_FLAGS", "{}"))}
wsgi_app = f"clipgpt_retrieval.back:create_app({', '.join(f'{name}={value!r}' for name, value in flags.items())})"


def on_starting(server):
    """Logs requests as JSON lines, as `clipgpt-retrieval back` does."""
    from clipgpt_retrieval.back.request_log import log_as_json

    log_as_json()


def on_reload(server):
    """After SIGHUP: reads the indices again before new workers are forked; without preloading, workers do so."""
    if preload_app:
        from clipgpt_retrieval.back.indices import reload_indices

        reload_indices(server.app.wsgi())


def child_exit(server, worker):
    """Removes the gauges of an ended worker from the metrics."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
