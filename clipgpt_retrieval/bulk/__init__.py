"""Captions and predicted embeddings for whole collections, on one machine, on Spark or under SLURM.

Read in this order: ``job.py`` (what to do), ``plan.py`` (its shards), ``rows.py`` and ``reader.py`` with one file a
format, ``mapper.py``, ``writer.py``, ``runner.py`` (one shard), ``worker.py`` (many), ``distributor.py`` and
``slurm_distributor.py``, ``main.py`` (the whole job).
"""
