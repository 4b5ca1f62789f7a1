"""The command `clipgpt-retrieval evaluate`."""

from clipgpt_retrieval.evaluation.options import EvaluateOptions
from clipgpt_retrieval.options import takes_options


@takes_options(EvaluateOptions)
def evaluate(options: EvaluateOptions) -> None:
    """Evaluates a model on a collection: retrieval, captions and calibration, compared with CLIP's own text tower.

    Prints tables and writes evaluation.json and evaluation.html. Of the folder that the model was trained on, only
    the held-out images are used.
    """
    from clipgpt_retrieval.evaluation.evaluate import evaluate as run
    from clipgpt_retrieval.evaluation.terminal import show

    show(run(options))
    print(f"{options.output_folder} contains evaluation.json and evaluation.html")
