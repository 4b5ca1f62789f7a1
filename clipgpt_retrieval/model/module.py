"""The network: a causal language model with a way in and a way out for CLIP embeddings.

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

from clipgpt_retrieval.errors import ModelError
from clipgpt_retrieval.model.config import ClipGptConfig
from clipgpt_retrieval.model.gpt2 import gpt2_states, is_plain_gpt2
from clipgpt_retrieval.model.next_token_loss import next_token_loss
from clipgpt_retrieval.model.sequence import PLACEHOLDER

LOGIT_SCALE_START = math.log(1 / 0.07)
"""CLIP's own first temperature."""

IGNORED = -100
"""The label of a token that no loss counts."""


@dataclass
class Prediction:
    """What a query was understood as, float32 ``[b, d]`` of unit norm each.

    Attributes:
        query: the best vector to search an index with.
        image: the best guess at the image's own embedding.
    """

    query: Tensor
    image: Tensor


@dataclass
class Batch:
    """A right-padded batch of sequences.

    Attributes:
        ids: int64 ``[b, t]``, ``PLACEHOLDER`` where prefix vectors go.
        mask: int64 ``[b, t]``, 0 on padding.
        embeddings: float32 ``[m, d]``, unit norm, in reading order; one a row where embeddings are captioned.
        labels: int64 ``[b, t]``, the ids that a language model learns to say, ``IGNORED`` elsewhere.
        ends: int64 ``[b]``, the place of ``[CLIP OUT]`` in each row.
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
    """What a training step needs.

    Attributes:
        direction: float32 ``[b, d]``, what clip_out gave, of any norm.
        encode_loss: language-model loss on the queries' own text.
        caption_loss: language-model loss on captions.
    """

    direction: Tensor | None = None
    encode_loss: Tensor | None = None
    caption_loss: Tensor | None = None


class ClipIn(nn.Module):
    """Embedding to prefix: ``[m, d]`` to ``[m, k, h]``."""

    def __init__(self, config: ClipGptConfig, hidden_size: int) -> None:
        super().__init__()
        self.prefix_length, self.hidden_size = config.prefix_length, hidden_size
        width = config.prefix_length * hidden_size
        if config.clip_in == "linear":
            self.project: nn.Module = nn.Linear(config.clip_dim, width)
        elif config.clip_in == "mlp":
            inner = width // 2
            self.project = nn.Sequential(nn.Linear(config.clip_dim, inner), nn.Tanh(), nn.Linear(inner, width))
        elif config.clip_in == "identity" and width == config.clip_dim:
            self.project = nn.Identity()
        else:
            raise ModelError(
                f"clip_in {config.clip_in!r} does not turn {config.clip_dim} numbers into "
                f"{config.prefix_length} vectors of {hidden_size}: use 'linear' or 'mlp'"
            )

    def forward(self, embeddings: Tensor) -> Tensor:  # [m, d]
        return self.project(embeddings).view(-1, self.prefix_length, self.hidden_size)  # [m, k, h]


class ClipOut(nn.Module):
    """Hidden states at ``[CLIP OUT]`` to an embedding: ``[b, r, h]`` to ``[b, d]``."""

    def __init__(self, config: ClipGptConfig, hidden_size: int) -> None:
        super().__init__()
        of_each_layer = {"last": 1, "last_mean": 2, "mean_each": config.query_repeats}
        if config.readout_pool not in of_each_layer:
            raise ModelError(f"readout_pool {config.readout_pool!r} is unknown: choose {', '.join(of_each_layer)}")
        slices = len(config.readout_layers) * of_each_layer[config.readout_pool]
        self.identity = config.clip_out == "identity"
        if self.identity and (slices != 1 or hidden_size != config.clip_dim):
            raise ModelError(
                f"clip_out 'identity' needs one readout layer as wide as clip_dim, "
                f"not {slices} of {hidden_size} for clip_dim {config.clip_dim}: use 'linear'"
            )
        if not self.identity:
            self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
            self.project = nn.Linear(slices * hidden_size, config.clip_dim)

    def forward(self, states: Tensor) -> Tensor:  # [b, r, h]
        if self.identity:
            return states[:, 0]  # [b, d]
        return self.project(self.normalised(states).flatten(1))  # [b, d]

    def normalised(self, states: Tensor) -> Tensor:
        """The states as the linear map reads them, ``[b, r, h]``: some layers' are hundreds of times others'."""
        return self.norm(states)

    @torch.no_grad()
    def absorb_standardisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Makes the linear map, trained on ``(states - mean) / deviation``, read the states as they are.

        Args:
            mean: ``[r, h]``.
            deviation: ``[r, h]``.
        """
        assert isinstance(self.project, nn.Linear)
        self.project.weight.div_(deviation.flatten())
        self.project.bias.sub_(self.project.weight @ mean.flatten())


class ClipFusion(nn.Module):
    """Language model's state to captioner's state: ``[b, t, h]`` and embeddings ``[b, d]`` to ``[b, t, h]``.

    The embedding joins the last hidden states, not the input. A frozen backbone's states of a text are then the
    same whatever the image, so that they are computed once for a whole training.
    """

    mean: Tensor

    def __init__(self, config: ClipGptConfig, hidden_size: int) -> None:
        super().__init__()
        width = config.fusion_width
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.of_states = nn.Linear(hidden_size, width)
        self.of_embedding = nn.Linear(config.clip_dim, width, bias=False)
        self.dropout = nn.Dropout(config.fusion_dropout)
        self.out = nn.Linear(width, hidden_size)
        self.register_buffer("mean", torch.zeros(config.clip_dim))

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        # CLIP's images share a large mean, which would drown what tells them apart.
        centred = (embeddings - self.mean) * embeddings.shape[-1] ** 0.5  # [..., d]
        inner = nn.functional.gelu(self.of_states(self.norm(states)) + self.of_embedding(centred))
        return states + self.out(self.dropout(inner))  # [..., h]


class ClipGptModel(PreTrainedModel):
    """A causal language model that reads and writes CLIP embeddings.

    Args:
        config: the model's configuration.
        backbone: the language model itself; made with random weights from ``config`` where it is not given.
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
        self.backbone = backbone or AutoModelForCausalLM.from_config(_backbone_config(config))
        self._tied_weights_keys = [
            f"backbone.{key}" for key in getattr(self.backbone, "_tied_weights_keys", None) or []
        ]
        hidden_size = self.backbone.config.hidden_size
        # The backbone once more, in int8, for queries: the engine makes it where it is faster and faithful.
        self.query_reader: nn.Module | None = None
        self.clip_in = ClipIn(config, hidden_size)
        self.clip_out = None if config.clip_out == "none" else ClipOut(config, hidden_size)
        self.clip_fusion = ClipFusion(config, hidden_size) if config.caption_from == "fusion" else None
        # image embedding = normalised(image_mean + image_beta * query @ image_map); a mean of zero and the identity
        # make both the same vector, as General-GPT has it.
        self.register_buffer("image_mean", torch.zeros(config.clip_dim))
        self.register_buffer("image_map", torch.eye(config.clip_dim))
        self.register_buffer("image_beta", torch.ones(()))
        # The contrastive temperature, learned as in CLIP; nothing reads it after training.
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE_START))
        for module in (self.clip_in, self.clip_out, self.clip_fusion):
            if module is not None:
                module.apply(self._init_weights)
        if self.clip_fusion is not None:
            nn.init.zeros_(self.clip_fusion.out.weight)

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
        """The token embeddings themselves, ``[vocabulary, h]``."""
        return cast(nn.Embedding, self.get_input_embeddings()).weight

    @property
    def head_weight(self) -> Tensor:
        """The language-model head's weight, ``[vocabulary, h]``."""
        return cast(nn.Linear, self.get_output_embeddings()).weight

    @property
    def encodes(self) -> bool:
        """Whether the model predicts embeddings; else it captions only."""
        return self.clip_out is not None

    @property
    def context_length(self) -> int | None:
        """How many tokens a sequence may have, or None where the backbone sets no bound."""
        return getattr(self.backbone.config, "max_position_embeddings", None)

    def embed(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        """Token and prefix vectors of a batch, by one scatter.

        Args:
            ids: int64 ``[b, t]``, ``PLACEHOLDER`` where prefix vectors go.
            embeddings: float ``[m, d]``, unit norm, in reading order; ``m * k`` places are in ``ids``.

        Returns:
            ``[b, t, h]``
        """
        places = ids == PLACEHOLDER  # [b, t]
        vectors = self.get_input_embeddings()(ids.masked_fill(places, 0))  # [b, t, h]
        if not len(embeddings):
            return vectors
        prefix = self.clip_in(embeddings.to(self.dtype) * self.config.embedding_norm)  # [m, k, h]
        return vectors.masked_scatter(places.unsqueeze(-1), prefix.to(vectors.dtype))

    def hidden_states(
        self, ids: Tensor, attention_mask: Tensor, embeddings: Tensor, *, every_layer: bool = False
    ) -> tuple[Tensor, ...]:
        """Hidden states of a right-padded batch, without the language-model head.

        Args:
            ids: int64 ``[b, t]``.
            attention_mask: int64 ``[b, t]``, 0 on padding.
            embeddings: ``[m, d]`` as in :meth:`embed`.
            every_layer: all layers' states rather than the last one's alone.

        Returns:
            ``[b, t, h]`` for each layer, as transformers numbers them, or for the last alone.
        """
        if not self.training and not torch.is_grad_enabled() and is_plain_gpt2(self.backbone.config):
            states = gpt2_states(self.backbone.base_model, self.embed(ids, embeddings), _shared_start(ids))
            return states if every_layer else states[-1:]
        outputs: BaseModelOutputWithPast = self.backbone.base_model(
            inputs_embeds=self.embed(ids, embeddings),
            attention_mask=attention_mask,
            output_hidden_states=every_layer,
            use_cache=False,
        )
        return outputs.hidden_states if every_layer else (outputs.last_hidden_state,)

    def readout(self, states: tuple[Tensor, ...], ends: Tensor) -> Tensor:
        """What clip_out reads of every layer's hidden states.

        Args:
            states: as :meth:`hidden_states` gives them, ``[b, t, h]`` each.
            ends: int64 ``[b]``, the place of ``[CLIP OUT]`` in each row.

        Returns:
            ``[b, r, h]``
        """
        layers = torch.stack([states[layer] for layer in self.config.readout_layers], dim=1)  # [b, l, t, h]
        rows = torch.arange(len(ends), device=ends.device)
        last = layers[rows, :, ends]  # [b, l, h]
        if self.config.readout_pool == "last":
            return last
        if self.config.readout_pool == "last_mean":
            return torch.cat([last, _mean_between(layers, ends * 0, ends + 1)], dim=1)  # [b, 2 l, h]
        length = ends // self.config.query_repeats  # [b]
        readings = [_mean_between(layers, length * i, length * (i + 1)) for i in range(self.config.query_repeats)]
        return torch.cat(readings, dim=1)  # [b, repeats l, h]

    def query_states(self, ids: Tensor, attention_mask: Tensor, embeddings: Tensor) -> tuple[Tensor, ...]:
        """The hidden states that :meth:`readout` needs: all layers', or the last one's where it reads no other."""
        if self.query_reader is not None:
            states = gpt2_states(self.query_reader, self.embed(ids, embeddings).float(), _shared_start(ids))
            return tuple(state.to(self.dtype) for state in states)
        every_layer = self.config.readout_layers != [-1]
        return self.hidden_states(ids, attention_mask, embeddings, every_layer=every_layer)

    def predict(self, ids: Tensor, attention_mask: Tensor, embeddings: Tensor) -> Prediction:
        """Query and image embeddings of right-padded queries that end in ``[CLIP OUT]``, in one forward pass.

        Args:
            ids: int64 ``[b, t]``.
            attention_mask: int64 ``[b, t]``.
            embeddings: ``[m, d]`` as in :meth:`embed`.
        """
        states = self.query_states(ids, attention_mask, embeddings)
        assert self.clip_out is not None
        direction = self.clip_out(self.readout(states, attention_mask.sum(1) - 1))  # [b, d]
        return self.as_prediction(direction.float())

    def as_prediction(self, direction: Tensor) -> Prediction:
        """Both vectors of what clip_out gave, float32 ``[b, d]``."""
        query = nn.functional.normalize(direction, dim=-1)
        from_mean = self.image_beta.float() * query @ self.image_map.float()
        return Prediction(query, nn.functional.normalize(self.image_mean.float() + from_mean, dim=-1))

    def fused(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """Last-layer states ``[b, t, h]`` as the head reads them when ``[b, d]`` are captioned."""
        if self.clip_fusion is None:
            return states
        return self.clip_fusion(states, embeddings.to(states.dtype)[:, None])

    def token_logits(self, states: Tensor) -> Tensor:
        """Logits over the vocabulary, ``[..., vocabulary]``, of last-layer states ``[..., h]``."""
        return self.get_output_embeddings()(states)

    def caption_loss(self, states: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the next token where ``labels`` is not ``IGNORED``.

        The head runs on those places alone, since it costs more than the layers of a small backbone.

        Args:
            states: last-layer states ``[b, t, h]``.
            labels: int64 ``[b, t]``, the ids themselves; the shift is made here.
        """
        targets = labels[:, 1:]  # [b, t - 1]
        kept = targets != IGNORED
        before, head = states[:, :-1][kept], self.get_output_embeddings()  # [n, h]
        if type(head) is nn.Linear:
            return next_token_loss(before, head, targets[kept])
        return nn.functional.cross_entropy(head(before).float(), targets[kept])  # an adapter around a head

    def forward(self, encode: "Batch | None" = None, caption: "Batch | None" = None) -> ClipGptOutput:
        """What training needs of a step: directions for the queries, language-model losses for both tasks.

        Args:
            encode: queries that hold ``[CLIP OUT]`` at ``ends``.
            caption: captioned embeddings.
        """
        # Made in one go: a ModelOutput does not know of fields that are set later when autocast converts it.
        parts: dict[str, Tensor] = {}
        if encode is not None:
            states = self.query_states(encode.ids, encode.mask, encode.embeddings)
            assert encode.ends is not None and self.clip_out is not None
            parts["direction"] = self.clip_out(self.readout(states, encode.ends)).float()
            if encode.labels is not None:
                parts["encode_loss"] = self.caption_loss(states[-1], encode.labels)
        if caption is not None:
            assert caption.labels is not None
            (last,) = self.hidden_states(caption.ids, caption.mask, caption.embeddings)
            parts["caption_loss"] = self.caption_loss(self.fused(last, caption.embeddings), caption.labels)
        return ClipGptOutput(**parts)


def _shared_start(ids: Tensor) -> int:
    """How many tokens all rows of ``[b, t]`` begin with, fewer than t; an embedding's place ends them."""
    alike = (ids == ids[0]).all(0) & (ids[0] != PLACEHOLDER)  # [t]
    return min(int(alike.long().cumprod(0).sum()), ids.shape[1] - 1)


def _mean_between(layers: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Mean of ``[b, l, t, h]`` over the places from ``starts`` to before ``ends``, ``[b]`` each: ``[b, l, h]``."""
    places = torch.arange(layers.shape[2], device=layers.device)  # [t]
    inside = (places >= starts[:, None]) & (places < ends[:, None])  # [b, t]
    mask = inside[:, None, :, None].to(layers.dtype)  # [b, 1, t, 1]
    return (layers * mask).sum(2) / mask.sum(2)


def _backbone_config(config: ClipGptConfig) -> Any:
    parameters = dict(config.backbone_config)
    return AutoConfig.for_model(parameters.pop("model_type"), **parameters)


AutoConfig.register(ClipGptConfig.model_type, ClipGptConfig)
AutoModel.register(ClipGptConfig, ClipGptModel)
