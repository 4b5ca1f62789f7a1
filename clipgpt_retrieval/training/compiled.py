"""Compiles a backbone for training, by torch.compile."""

import os
import shutil

from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel


def compile_backbone(model: ClipGptModel) -> None:
    """Compiles the backbone at its first call, for batches of any shape; the names of its weights do not change.

    Raises:
        InputError: there is no C++ compiler.
    """
    compilers = [os.environ.get("CXX", "g++"), "g++", "clang++"]
    if not any(shutil.which(compiler) for compiler in compilers):
        raise InputError("compile", "needs a C++ compiler, none is installed: install g++, or omit the flag")
    # Random numbers as in eager mode: both passes of GradCache need the same dropout.
    model.backbone.base_model.compile(dynamic=True, options={"fallback_random": True})
