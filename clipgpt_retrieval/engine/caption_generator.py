"""Texts generated from prompts: token ids, their text and their log-probability."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList, StoppingCriteriaList

from clipgpt_retrieval.engine.caption_end import until_end
from clipgpt_retrieval.engine.captioner import Captioner
from clipgpt_retrieval.engine.generation import Generation, YieldPointCriteria
from clipgpt_retrieval.engine.greedy import generate_greedy
from clipgpt_retrieval.engine.run_on import DropRepetition, EndAtRepetition, RunOn
from clipgpt_retrieval.engine.runners import Runner
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.sequence import SequenceFormat

NO_LIMIT = 1_000_000
"""The context length where the backbone has none."""


class CaptionGenerator:
    """Generates the text that follows a prompt.

    Args:
        model: in evaluation mode.
        sequences: the model's format.
        runner: computes the hidden states of captions, for their log-probability.
        draft_head: see :func:`~clipgpt_retrieval.engine.greedy.most_likely_tokens`.
    """

    def __init__(
        self, model: ClipGptModel, sequences: SequenceFormat, runner: Runner, draft_head: nn.Module | None = None
    ) -> None:
        self._model, self._sequences, self._runner, self._draft_head = model, sequences, runner, draft_head
        self._captioner = Captioner(model)
        self._stop_ids = sequences.stop_ids()
        self._run_on = RunOn(sequences.caption_text)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Tensor,
        embeddings: Tensor,
        captioned: Tensor,
        settings: Generation,
        yield_point: Callable[[], None],
    ) -> Tensor:
        """Generated ids ``[b * num_captions, t]``, each row up to a stop id, a repetition or the maximum length.

        Greedy and sampled texts end where they repeat themselves; beams that do are dropped.

        Args:
            prompts: int64 ``[b, p]``.
            embeddings: float32 ``[m, d]``, those in the prompts.
            captioned: float32 ``[b, d]``, the embedding of each row for a model that captions by fusion.
            settings: how to generate.
            yield_point: called after each token.
        """
        vectors = self._model.embed(prompts, embeddings)  # [b, p, h]
        remaining_tokens = (self._model.context_length or NO_LIMIT) - prompts.shape[1]
        stops = torch.tensor(self._stop_ids, device=prompts.device)  # [s]
        if settings.is_greedy:
            max_new_tokens = min(settings.max_new_tokens, remaining_tokens)
            return generate_greedy(
                self._model, vectors, captioned, stops, max_new_tokens, yield_point, self._run_on, self._draft_head
            )
        config = settings.as_config(self._stop_ids, remaining_tokens)
        has_beams = config.num_beams > 1
        ends = [YieldPointCriteria(yield_point), *([] if has_beams else [EndAtRepetition(self._run_on)])]
        return self._captioner.generate(
            inputs_embeds=vectors,
            attention_mask=torch.ones_like(prompts),
            clip_embeddings=captioned,
            generation_config=config,
            logits_processor=LogitsProcessorList([DropRepetition(self._run_on, stops)] if has_beams else []),
            stopping_criteria=StoppingCriteriaList(ends),
        )

    def texts(self, generated: Tensor) -> list[str]:
        """The text of each row of generated ids ``[b, t]``."""
        return [until_end(self._sequences.caption_text(self._until_stop(row))) for row in generated.tolist()]

    @torch.inference_mode()
    def logprobs(self, embeddings: Tensor, generated: Tensor) -> list[float]:
        """Log-probability of each generated caption, its stop token included if it has one, by one more forward pass.

        Args:
            embeddings: float32 ``[b, d]``.
            generated: int64 ``[b, t]``.
        """
        prompt = torch.tensor(self._sequences.caption_prompt_ids(), device=generated.device)  # [p]
        ids = torch.cat([prompt.expand(len(generated), -1), generated], dim=1)  # [b, p + t]
        [states] = self._runner(self._model.embed(ids, embeddings), torch.ones_like(ids))  # [b, p + t, h]
        before = self._model.fused(
            states[:, len(prompt) - 1 : -1], embeddings
        )  # [b, t, h], before each generated token
        logprobs = []
        for row, ids_of_row in enumerate(generated):  # one by one: the logits of a whole batch take half a gigabyte
            length = len(self._kept(ids_of_row.tolist()))
            logits = self._model.token_logits(before[row, :length]).float()  # [length, vocabulary]
            loss = torch.nn.functional.cross_entropy(logits, ids_of_row[:length], reduction="sum")
            logprobs.append(-loss.item())
        return logprobs

    def _until_stop(self, ids: list[int]) -> list[int]:
        """The ids up to the first stop id, which counts."""
        return ids[: next((position + 1 for position, token in enumerate(ids) if token in self._stop_ids), len(ids))]

    def _kept(self, ids: list[int]) -> list[int]:
        """The ids that :meth:`texts` shows: up to the first stop id, or up to where the text repeats itself."""
        ids, text_of = self._until_stop(ids), self._sequences.caption_text
        whole = text_of(ids)
        shown = until_end(whole)
        if shown == whole:
            return ids
        return next(ids[:length] for length in range(len(ids) + 1) if len(text_of(ids[:length])) >= len(shown))
