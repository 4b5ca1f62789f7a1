"""Captions and predicted embeddings for whole collections, on one machine, on Spark or under SLURM.

Read in this order: ``job.py`` (what is to be done), ``plan.py`` (its units), ``reader.py`` with one file a format,
``mapper.py``, ``writer.py``, ``runner.py`` (one unit), ``worker.py`` (many), ``distributor.py`` and
``slurm_distributor.py``, ``main.py`` (all of it).
"""
