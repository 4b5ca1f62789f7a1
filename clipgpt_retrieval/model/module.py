"""The model: a causal language model that reads and writes CLIP embeddings.

Ideas and their sources: embeddings in and out of GPT-2 as vectors of its own stream, General-GPT's notebook
``CLIP_GPT_COCO.ipynb``; a prefix of several vectors through an MLP, ClipCap (Mokady et al. 2021,
arXiv:2111.09734); hidden states read out by a linear map under a contrastive loss, FROMAGe (Koh et al. 2023,
arXiv:2301.13823).

Shapes: b rows, t tokens, m embeddings, k prefix vectors each, h hidden width, d clip_dim, r readout slices.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, ModelOutput

from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.layers import ClipFusion, ClipIn, ClipOut
from clipgpt_retrieval.model.next_token_loss import next_token_loss
from clipgpt_retrieval.model.search_data import SearchData
from clipgpt_retrieval.model.sequence import PLACEHOLDER

LOGIT_SCALE_START = math.log(1 / 0.07)
"""The initial temperature of CLIP's contrastive loss (Radford et al. 2021, arXiv:2103.00020)."""

IGNORED = -100
"""The label of a token that does not enter the loss, as in PyTorch's cross-entropy."""


@dataclass
class Prediction:
    """The predicted embeddings of queries, float32 ``[b, d]``, unit norm.

    Attributes:
        query: query embeddings, to search an index with.
        image: image embeddings, the estimate of the image's own.
    """

    query: Tensor
    image: Tensor


@dataclass
class Batch:
    """A right-padded batch of sequences.

    Attributes:
        ids: int64 ``[b, t]``, ``PLACEHOLDER`` at prefix positions.
        mask: int64 ``[b, t]``, 0 on padding.
        embeddings: float32 ``[m, d]``, unit norm, in reading order; one per row where embeddings are captioned.
        labels: int64 ``[b, t]``, the ids that the language-model loss counts, ``IGNORED`` elsewhere.
        ends: int64 ``[b]``, the position of ``[CLIP OUT]`` in each row.
    """

    ids: Tensor
    mask: Tensor
    embeddings: Tensor
    labels: Tensor | None = None
    ends: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(
            ids=self.ids.to(device),
            mask=self.mask.to(device),
            embeddings=self.embeddings.to(device),
            labels=None if self.labels is None else self.labels.to(device),
            ends=None if self.ends is None else self.ends.to(device),
        )


@dataclass
class ClipGptOutput(ModelOutput):
    """The outputs of :meth:`ClipGptModel.forward`.

    Attributes:
        direction: float32 ``[b, d]``, the output of clip_out, not normalised.
        encode_loss: language-model loss on the text of the queries.
        caption_loss: language-model loss on captions.
    """

    direction: Tensor | None = None
    encode_loss: Tensor | None = None
    caption_loss: Tensor | None = None


class ClipGptModel(PreTrainedModel):
    """A causal language model that reads and writes CLIP embeddings.

    Args:
        config: the model's configuration.
        backbone: the language model; None: one with random weights, from ``config``.

    Attributes:
        search: what training measured for searching; saved beside the weights.
        vocabulary: the words in the training texts of a model that knows no others, in lower case; else None. Further
            training adds words, so that a saved model has none until it is written again.
    """

    config_class = ClipGptConfig
    base_model_prefix = "clipgpt"
    supports_gradient_checkpointing = True
    image_mean: Tensor
    image_map: Tensor
    image_beta: Tensor
    _supports_sdpa = True

    def __init__(self, config: ClipGptConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.search = SearchData()
        self.vocabulary: frozenset[str] | None = None
        self.backbone = backbone or AutoModelForCausalLM.from_config(_backbone_config(config), trust_remote_code=False)
        self._tied_weights_keys = _prefixed(getattr(self.backbone, "_tied_weights_keys", None) or [])
        hidden_size = self.backbone.config.hidden_size
        self.clip_in = ClipIn(config, hidden_size)
        self.clip_out = None if config.clip_out == "none" else ClipOut(config, hidden_size)
        self.clip_fusion = ClipFusion(config, hidden_size) if config.caption_from == "fusion" else None
        # image embedding = normalised(image_mean + image_beta * query @ image_map). With these initial values it equals
        # the query embedding, as in General-GPT.
        self.register_buffer("image_mean", torch.zeros(config.clip_dim))
        self.register_buffer("image_map", torch.eye(config.clip_dim))
        self.register_buffer("image_beta", torch.ones(()))
        # The contrastive temperature, trained as in CLIP and unused after training.
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE_START))
        for module in (self.clip_in, self.clip_out, self.clip_fusion):
            if module is not None:
                module.apply(self._init_weights)
        if self.clip_fusion is not None:
            nn.init.zeros_(self.clip_fusion.out.weight)
        self.post_init()

    def init_weights(self) -> None:
        """Nothing: the constructor initialises our layers, and the backbone has its own weights already."""

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's token embeddings."""
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the backbone's token embeddings."""
        self.backbone.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The backbone's language-model head."""
        return self.backbone.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replaces the backbone's language-model head."""
        self.backbone.set_output_embeddings(value)

    @property
    def token_weight(self) -> Tensor:
        """The token embeddings, ``[vocabulary, h]``."""
        return cast(nn.Embedding, self.get_input_embeddings()).weight

    @property
    def head_weight(self) -> Tensor:
        """The language-model head's weight, ``[vocabulary, h]``."""
        return cast(nn.Linear, self.get_output_embeddings()).weight

    @property
    def encodes(self) -> bool:
        """Whether the model predicts embeddings; otherwise it captions only."""
        return self.clip_out is not None

    @property
    def context_length(self) -> int | None:
        """The most tokens of a sequence, or None where the backbone has no limit."""
        return getattr(self.backbone.config, "max_position_embeddings", None)

    def embed(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        """Input vectors of a batch: token embeddings, and prefix vectors at the placeholders.

        Args:
            ids: int64 ``[b, t]``, ``PLACEHOLDER`` at ``m * k`` positions.
            embeddings: float ``[m, d]``, unit norm, in reading order.

        Returns:
            ``[b, t, h]``
        """
        is_prefix = ids == PLACEHOLDER  # [b, t]
        vectors = self.get_input_embeddings()(ids.masked_fill(is_prefix, 0))  # [b, t, h]
        if not len(embeddings):
            return vectors
        prefix = self.clip_in(embeddings.to(self.dtype) * self.config.embedding_norm)  # [m, k, h]
        return vectors.masked_scatter(is_prefix.unsqueeze(-1), prefix.to(vectors.dtype))  # [b, t, h]

    def hidden_states(self, vectors: Tensor, mask: Tensor, *, every_layer: bool = False) -> tuple[Tensor, ...]:
        """The backbone's hidden states, without the language-model head, by transformers' own forward pass.

        The engine computes the same states by other runners, see :mod:`clipgpt_retrieval.engine.runner`.

        Args:
            vectors: ``[b, t, h]``, right-padded, as :meth:`embed` returns them.
            mask: int64 ``[b, t]``, 0 on padding.
            every_layer: return the states of all layers, not of the last one alone.

        Returns:
            ``[b, t, h]`` per layer, numbered as in transformers, or of the last layer alone.
        """
        outputs: BaseModelOutputWithPast = self.backbone.base_model(
            inputs_embeds=vectors, attention_mask=mask, output_hidden_states=every_layer, use_cache=False
        )
        return outputs.hidden_states if every_layer else (outputs.last_hidden_state,)

    @property
    def reads_every_layer(self) -> bool:
        """Whether :meth:`readout` needs the states of other layers than the last."""
        return self.config.readout_layers != [-1]

    def query_states(self, ids: Tensor, mask: Tensor, embeddings: Tensor) -> tuple[Tensor, ...]:
        """The states that :meth:`readout` needs of right-padded queries, by transformers' own forward pass.

        Args:
            ids: int64 ``[b, t]``.
            mask: int64 ``[b, t]``, 0 on padding.
            embeddings: ``[m, d]`` as in :meth:`embed`.
        """
        return self.hidden_states(self.embed(ids, embeddings), mask, every_layer=self.reads_every_layer)

    def readout(self, states: tuple[Tensor, ...], ends: Tensor) -> Tensor:
        """The input of clip_out: the states of the readout layers, pooled by ``readout_pool``.

        Args:
            states: ``[b, t, h]`` per layer, as from :meth:`query_states` or a runner.
            ends: int64 ``[b]``, the position of ``[CLIP OUT]`` in each row.

        Returns:
            ``[b, r, h]``
        """
        layers = torch.stack([states[layer] for layer in self.config.readout_layers], dim=1)  # [b, l, t, h]
        rows = torch.arange(len(ends), device=ends.device)  # [b]
        last = layers[rows, :, ends]  # [b, l, h]
        if self.config.readout_pool == "last":
            return last
        if self.config.readout_pool == "last_mean":
            return torch.cat([last, _mean_between(layers, ends * 0, ends + 1)], dim=1)  # [b, 2 l, h]
        length = ends // self.config.query_repeats  # [b]
        readings = [_mean_between(layers, length * i, length * (i + 1)) for i in range(self.config.query_repeats)]
        return torch.cat(readings, dim=1)  # [b, repeats l, h]

    def direction(self, states: tuple[Tensor, ...], ends: Tensor) -> Tensor:
        """The output of clip_out, float32 ``[b, d]``, not normalised; arguments as of :meth:`readout`."""
        assert self.clip_out is not None
        return self.clip_out(self.readout(states, ends)).float()

    def predict(self, states: tuple[Tensor, ...], ends: Tensor) -> Prediction:
        """Query and image embeddings; arguments as of :meth:`readout`."""
        return self.as_prediction(self.direction(states, ends))

    def as_prediction(self, direction: Tensor) -> Prediction:
        """Query and image embeddings of the output of clip_out, float32 ``[b, d]``."""
        query = nn.functional.normalize(direction, dim=-1)  # [b, d]
        from_mean = self.image_beta.float() * query @ self.image_map.float()  # [b, d]
        return Prediction(query, nn.functional.normalize(self.image_mean.float() + from_mean, dim=-1))

    def fused(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """The head's input where embeddings ``[b, d]`` are captioned, of last-layer states ``[b, t, h]``."""
        if self.clip_fusion is None:
            return states
        return self.clip_fusion(states, embeddings.to(states.dtype)[:, None])  # [b, t, h]

    def token_logits(self, states: Tensor) -> Tensor:
        """Logits over the vocabulary, ``[..., vocabulary]``, of last-layer states ``[..., h]``."""
        return self.get_output_embeddings()(states)

    def caption_loss(self, states: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the next token where ``labels`` is not ``IGNORED``.

        The head runs on those positions alone, since it costs more than the layers of a small backbone.

        Args:
            states: last-layer states ``[b, t, h]``.
            labels: int64 ``[b, t]``, not shifted.
        """
        targets = labels[:, 1:]  # [b, t - 1]
        kept = targets != IGNORED  # [b, t - 1]
        before, head = states[:, :-1][kept], self.get_output_embeddings()  # [n, h]
        if type(head) is nn.Linear:
            return next_token_loss(before, head, targets[kept])
        return nn.functional.cross_entropy(head(before).float(), targets[kept])  # a head with an adapter

    def forward(self, encode: "Batch | None" = None, caption: "Batch | None" = None) -> ClipGptOutput:
        """Directions of queries and language-model losses of both tasks, for training.

        Args:
            encode: queries that hold ``[CLIP OUT]`` at ``ends``.
            caption: captioned embeddings.
        """
        # Built at once: autocast converts a ModelOutput and would miss fields that are set later.
        parts: dict[str, Tensor] = {}
        if encode is not None:
            states = self.query_states(encode.ids, encode.mask, encode.embeddings)
            assert encode.ends is not None
            parts["direction"] = self.direction(states, encode.ends)
            if encode.labels is not None:
                parts["encode_loss"] = self.caption_loss(states[-1], encode.labels)
        if caption is not None:
            assert caption.labels is not None
            (last,) = self.hidden_states(self.embed(caption.ids, caption.embeddings), caption.mask)
            parts["caption_loss"] = self.caption_loss(self.fused(last, caption.embeddings), caption.labels)
        return ClipGptOutput(**parts)


def _mean_between(layers: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Mean of ``[b, l, t, h]`` over the positions from ``starts`` to before ``ends``, ``[b]`` each: ``[b, l, h]``."""
    positions = torch.arange(layers.shape[2], device=layers.device)  # [t]
    inside = (positions >= starts[:, None]) & (positions < ends[:, None])  # [b, t]
    mask = inside[:, None, :, None].to(layers.dtype)  # [b, 1, t, 1]
    return (layers * mask).sum(2) / mask.sum(2)  # [b, l, h]


def _prefixed(tied_keys: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
    """The backbone's tied weights by their names in our model: a list in transformers 4, target to source in 5."""
    if isinstance(tied_keys, dict):
        return {f"backbone.{target}": f"backbone.{source}" for target, source in tied_keys.items()}
    return [f"backbone.{key}" for key in tied_keys]


def _backbone_config(config: ClipGptConfig) -> Any:
    parameters = dict(config.backbone_config)
    return AutoConfig.for_model(parameters.pop("model_type"), **parameters)


AutoConfig.register(ClipGptConfig.model_type, ClipGptConfig)
AutoModel.register(ClipGptConfig, ClipGptModel)
