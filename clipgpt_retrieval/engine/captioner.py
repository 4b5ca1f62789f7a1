"""The model in the interface of transformers' ``generate``, with a captioned embedding per row."""

from dataclasses import fields
from typing import Any

from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from clipgpt_retrieval.model.module import ClipGptModel

KEYS_AND_VALUES = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"
"""What transformers calls the keys and values of earlier tokens, as an argument and in an output; renamed in 5.24."""


class Captioner(PreTrainedModel, GenerationMixin):
    """Next-token logits of a clipgpt model, given an embedding per row.

    Args:
        model: its weights are shared, not copied.
    """

    _supports_sdpa = True

    def __init__(self, model: ClipGptModel) -> None:
        super().__init__(model.backbone.config)
        self.model = model

    def get_input_embeddings(self) -> Any:
        """The backbone's token embeddings."""
        return self.model.get_input_embeddings()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        clip_embeddings: Tensor | None = None,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the next token, ``[b, 1, vocabulary]``.

        Args:
            input_ids: int64 ``[b, t]``, or None where ``inputs_embeds`` is given.
            attention_mask: int64 ``[b, past + t]``.
            inputs_embeds: ``[b, t, h]``.
            position_ids: int64 ``[b, t]``.
            clip_embeddings: float32 ``[b, d]``, unit norm, the captioned embedding of each row.
            use_cache: return keys and values for the next step.
            **kwargs: the keys and values of earlier tokens and, in transformers 4, their position; others are unused.
        """
        earlier = {name: kwargs[name] for name in (KEYS_AND_VALUES, "cache_position") if name in kwargs}
        outputs = self.model.backbone.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            position_ids=position_ids,
            use_cache=use_cache,
            **earlier,
        )
        assert clip_embeddings is not None
        last = self.model.fused(outputs.last_hidden_state[:, -1:], clip_embeddings)  # [b, 1, h]
        later = {KEYS_AND_VALUES: outputs[KEYS_AND_VALUES]}
        return CausalLMOutputWithPast(logits=self.model.token_logits(last), **later)
