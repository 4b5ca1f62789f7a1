"""The configuration of a clipgpt model."""

from typing import Any

from transformers import PretrainedConfig

CLIP_IN = "[CLIP IN]"
CLIP_IN_END = "[\\CLIP IN]"
CLIP_OUT = "[CLIP OUT]"
CLIP_OUT_END = "[\\CLIP OUT]"
SPECIAL_TOKENS = [CLIP_IN, CLIP_IN_END, CLIP_OUT, CLIP_OUT_END]


class ClipGptConfig(PretrainedConfig):
    """What a clipgpt model is made of.

    Args:
        backbone_config: the causal language model's own configuration, as ``PretrainedConfig.to_dict`` gives it.
        clip_dim: dimension of the CLIP embeddings that are read and predicted.
        clip_model: the CLIP of these embeddings, as all_clip names it (``"ViT-B/32"``, ``"open_clip:..."``).
        prefix_length: how many vectors an embedding becomes at the input (ClipCap's prefix length).
        clip_in: ``"linear"``, ``"mlp"`` or ``"identity"``: how an embedding becomes its prefix.
        clip_out: ``"linear"`` or ``"identity"``: how hidden states become an embedding; ``"none"``: the model captions
            only.
        prompt_format: ``"clipgpt"``, the sequences of :mod:`~clipgpt_retrieval.model.sequence`, or ``"clipcap"``: the
            prefix and the caption up to its full stop, with nothing between or around them.
        readout_layers: the hidden states that clip_out reads, as transformers numbers them
            (0: the token embeddings; -1: the last layer after its norm).
        readout_pool: ``"last"`` reads the token [CLIP OUT]; ``"last_mean"`` reads the mean over the
            sequence beside it; ``"mean_each"`` reads the mean over each reading of the query.
        query_repeats: how often a query is read. A causal model's states know nothing of what follows; on the
            second reading they do (echo embeddings, Springer et al. 2024, arXiv:2402.15449).
        caption_from: where the embedding that is captioned comes in: ``"prefix"``, at the head of the sequence;
            ``"fusion"``, at the last hidden states, so that the sequence is the caption alone.
        fusion_width: inner width of the fusion.
        fusion_dropout: dropout inside the fusion, while training.
        embedding_norm: the L2 norm that embeddings had in training. General-GPT and ClipCap were trained on
            raw CLIP outputs, an index holds unit vectors: these are rescaled on the way in.
        spaces_around_special_tokens: whether the prompt's spaces beside a special token are tokens of their own.
            transformers dropped them before 4.34 (the seed's notebook ran on 4.27) and keeps them since.
        min_similarity: where nothing in a collection reaches this cosine to the image embedding of a query, nothing
            there looks like what was asked for; None where nobody measured it.

    With ``clip_in`` and ``clip_out`` the identity, the last layer and one prefix vector this is the model of
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
        **kwargs: Any,
    ) -> None:
        # Where the backbone was read from is a path of that machine, and no part of what the model is.
        self.backbone_config = {
            name: value
            for name, value in (backbone_config or {"model_type": "gpt2"}).items()
            if name != "_name_or_path"
        }
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
        kwargs.setdefault("tie_word_embeddings", self.backbone_config.get("tie_word_embeddings", True))
        super().__init__(**kwargs)
