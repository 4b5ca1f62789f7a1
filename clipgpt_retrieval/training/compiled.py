"""A backbone compiled for training, by torch.compile."""

import os
import shutil

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel


def compile_backbone(model: ClipGptModel) -> None:
    """Has the backbone's layers compiled when they first run, for batches of any shape; the weights keep their names.

    Raises:
        InputError: there is no compiler.
    """
    compilers = [os.environ.get("CXX", "g++"), "g++", "clang++"]
    if not any(shutil.which(compiler) for compiler in compilers):
        raise InputError("compile", "needs a C++ compiler, and there is none here: install g++, or leave the flag out")
    # Random numbers as they are drawn uncompiled: the two passes of a cached micro-batch must drop out the same.
    model.backbone.base_model.compile(dynamic=True, options={"fallback_random": True})
