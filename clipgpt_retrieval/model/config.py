"""The configuration of a clipgpt model."""

from typing import Any

from transformers import PretrainedConfig

CLIP_IN = "[CLIP IN]"
CLIP_IN_END = "[\\CLIP IN]"
CLIP_OUT = "[CLIP OUT]"
CLIP_OUT_END = "[\\CLIP OUT]"
SPECIAL_TOKENS = [CLIP_IN, CLIP_IN_END, CLIP_OUT, CLIP_OUT_END]


class ClipGptConfig(PretrainedConfig):
    """The configuration of a clipgpt model.

    Args:
        backbone_config: the causal language model's configuration, as ``PretrainedConfig.to_dict`` returns it.
        clip_dim: dimension of the CLIP embeddings that are read and predicted.
        clip_model: the CLIP of these embeddings, as all_clip names it (``"ViT-B/32"``, ``"open_clip:..."``).
        prefix_length: number of input vectors per embedding (ClipCap's prefix length).
        clip_in: the layer from an embedding to its prefix: ``"linear"``, ``"mlp"`` or ``"identity"``.
        clip_out: the layer from hidden states to an embedding: ``"linear"`` or ``"identity"``; ``"none"``: the model
            captions only.
        prompt_format: ``"clipgpt"``, the sequences of :mod:`~clipgpt_retrieval.model.sequence`, or ``"clipcap"``: the
            prefix and the caption up to its full stop, without further tokens.
        readout_layers: the hidden states that clip_out reads, numbered as in transformers (0: the token embeddings;
            -1: the last layer after its norm).
        readout_pool: ``"last"``: the state at [CLIP OUT]; ``"last_mean"``: that and the mean over the sequence;
            ``"mean_each"``: the mean over each repetition of the query.
        query_repeats: how many times a query is repeated. A causal model's states do not depend on later tokens; those
            of the second repetition depend on the whole query (echo embeddings, Springer et al. 2024,
            arXiv:2402.15449).
        caption_from: where the captioned embedding enters: ``"prefix"``, at the head of the sequence; ``"fusion"``, at
            the last hidden states, so that the sequence is the caption alone.
        fusion_width: hidden width of the fusion.
        fusion_dropout: dropout inside the fusion, in training.
        embedding_norm: the L2 norm of input embeddings in training. General-GPT and ClipCap were trained on raw CLIP
            outputs, while an index holds unit vectors, which are rescaled to this norm.
        spaces_around_special_tokens: whether the prompt's spaces beside a special token are tokens of their own.
            transformers dropped them before 4.34 (the notebook ran on 4.27) and keeps them since.
        min_similarity: the least cosine of a match to the image embedding of a query; None where it was not evaluated.
        match_thresholds: the least cosine at which a text's best hit counts as a match, by what it is compared with:
            the query embedding (``"query"``), the image embedding (``"image"``) or the embedding of CLIP's text tower
            (``"text_tower"``). Holds those that an evaluation found best; None where it was not evaluated.
        clipgpt_weight: weight of CLIP-GPT beside CLIP's text tower in a text query, 0 to 1, as training measured it.
        hub_strength: strength of the hub correction, see :mod:`~clipgpt_retrieval.metrics.hub_correction`; 0: none.
        trained_for: what the model was trained for, of ``"texts"`` and ``"segments"`` (queries for an image of one text
            and of several segments), ``"captions"`` and ``"answers"`` (to queries of several segments); None where it
            is not recorded.

    With the identity as ``clip_in`` and ``clip_out``, the last layer and one prefix vector this is the model of
    General-GPT's notebook ``CLIP_GPT_COCO.ipynb``.
    """

    model_type = "clipgpt"

    def __init__(
        self,
        backbone_config: dict[str, Any] | None = None,
        clip_dim: int = 512,
        clip_model: str | None = None,
        prefix_length: int = 1,
        clip_in: str = "linear",
        clip_out: str = "linear",
        prompt_format: str = "clipgpt",
        readout_layers: tuple[int, ...] | list[int] = (-1,),
        readout_pool: str = "last",
        query_repeats: int = 1,
        caption_from: str = "prefix",
        fusion_width: int = 1024,
        fusion_dropout: float = 0.3,
        embedding_norm: float = 1.0,
        spaces_around_special_tokens: bool = False,
        min_similarity: float | None = None,
        match_thresholds: dict[str, float] | None = None,
        trained_for: list[str] | None = None,
        clipgpt_weight: float = 1.0,
        hub_strength: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # A path on the machine that trained the model does not belong in it.
        given = backbone_config or {"model_type": "gpt2"}
        self.backbone_config = {name: value for name, value in given.items() if name != "_name_or_path"}
        self.clip_dim = clip_dim
        self.clip_model = clip_model
        self.prefix_length = prefix_length
        self.clip_in = clip_in
        self.clip_out = clip_out
        self.prompt_format = prompt_format
        self.readout_layers = list(readout_layers)
        self.readout_pool = readout_pool
        self.query_repeats = query_repeats
        self.caption_from = caption_from
        self.fusion_width = fusion_width
        self.fusion_dropout = fusion_dropout
        self.embedding_norm = embedding_norm
        self.spaces_around_special_tokens = spaces_around_special_tokens
        self.min_similarity = min_similarity
        self.match_thresholds = match_thresholds
        self.trained_for = trained_for
        self.clipgpt_weight = clipgpt_weight
        self.hub_strength = hub_strength
        kwargs.setdefault("tie_word_embeddings", self.backbone_config.get("tie_word_embeddings", True))
        super().__init__(**kwargs)
