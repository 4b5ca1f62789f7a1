"""The model in the interface of transformers' ``generate``, with a captioned embedding per row."""

from typing import Any

from torch import Tensor
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from clipgpt_retrieval.model.module import ClipGptModel


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
        past_key_values: Any = None,
        position_ids: Tensor | None = None,
        cache_position: Tensor | None = None,
        clip_embeddings: Tensor | None = None,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the next token, ``[b, 1, vocabulary]``.

        Args:
            input_ids: int64 ``[b, t]``, or None where ``inputs_embeds`` is given.
            attention_mask: int64 ``[b, past + t]``.
            inputs_embeds: ``[b, t, h]``.
            past_key_values: keys and values of earlier tokens.
            position_ids: int64 ``[b, t]``.
            cache_position: int64 ``[t]``.
            clip_embeddings: float32 ``[b, d]``, unit norm, the captioned embedding of each row.
            use_cache: return keys and values for the next step.
            **kwargs: unused arguments of ``generate``.
        """
        outputs = self.model.backbone.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            position_ids=position_ids,
            cache_position=cache_position,
            use_cache=use_cache,
        )
        assert clip_embeddings is not None
        last = self.model.fused(outputs.last_hidden_state[:, -1:], clip_embeddings)  # [b, 1, h]
        return CausalLMOutputWithPast(logits=self.model.token_logits(last), past_key_values=outputs.past_key_values)
