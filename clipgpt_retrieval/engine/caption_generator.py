"""Texts generated from prompts: token ids, their text and their log-probability."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList, StoppingCriteriaList

from clipgpt_retrieval.engine.batches import batches, padded
from clipgpt_retrieval.engine.caption_end import until_end
from clipgpt_retrieval.engine.captioner import Captioner
from clipgpt_retrieval.engine.generation import Caption, Generation, YieldPointCriteria
from clipgpt_retrieval.engine.greedy import generate_greedy
from clipgpt_retrieval.engine.run_on import DropRepetition, EndAtRepetition, RunOn
from clipgpt_retrieval.engine.runners import Runner
from clipgpt_retrieval.errors import InputError
from clipgpt_retrieval.model.module import ClipGptModel
from clipgpt_retrieval.model.prompt_text import clean_caption
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

    @torch.inference_mode()
    def captions(
        self, embeddings: Tensor, settings: Generation, yield_point: Callable[[], None], *, scored: bool
    ) -> list[list[Caption]]:
        """``settings.num_captions`` captions of each embedding ``[b, d]``; their log-probability is 0 unless scored."""
        count = settings.num_captions
        prompt = torch.tensor(self._sequences.caption_prompt_ids(), device=embeddings.device)  # [p]
        prompts = prompt.expand(len(embeddings), -1)  # [b, p]
        generated = self.generate(prompts, embeddings, embeddings, settings, yield_point)  # [b * c, t]
        texts, repeated = self.texts(generated), embeddings.repeat_interleave(count, 0)  # [b * c, d]
        logprobs = self.logprobs(repeated, generated) if scored else [0.0] * len(texts)
        flat = [Caption(text, logprob) for text, logprob in zip(texts, logprobs, strict=True)]
        return [flat[start : start + count] for start in range(0, len(flat), count)]

    @torch.inference_mode()
    def first_states(self, embeddings: Tensor) -> Tensor:
        """The head's input for the first token of the caption of each embedding ``[n, d]``, float32 ``[n, h]``."""
        prompt = torch.tensor(self._sequences.caption_prompt_ids(), device=embeddings.device)  # [p]
        ids = prompt.expand(len(embeddings), -1)  # [n, p]
        [states] = self._runner(self._model.embed(ids, embeddings), torch.ones_like(ids))  # [n, p, h]
        last = self._model.fused(states[:, -1:], embeddings)[:, 0]  # [n, h]
        return torch.nn.functional.normalize(last.float(), dim=-1)

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
        kept = [len(self._kept(row)) for row in generated.tolist()]
        spans = [(len(prompt), len(prompt) + length) for length in kept]
        return self._span_logprobs(ids, torch.ones_like(ids), spans, embeddings)

    @torch.inference_mode()
    def text_logprobs(self, embeddings: Tensor, texts: Sequence[str], *, batch_size: int = 64) -> list[float]:
        """Log-probability of any texts as captions, each with the token that ends it.

        Args:
            embeddings: float32 ``[n, d]``.
            texts: n texts.
            batch_size: texts per forward pass.

        Raises:
            InputError: a text that is empty, or longer than the context.
        """
        spans = {text: self._span(text) for text in set(texts)}
        logprobs = [0.0] * len(texts)
        for rows in batches(sorted(range(len(texts)), key=lambda row: spans[texts[row]][2]), batch_size):
            ids, mask = padded([spans[texts[row]][0] for row in rows], embeddings.device)  # [b, t] each
            ends = [spans[texts[row]][1:] for row in rows]
            for row, logprob in zip(rows, self._span_logprobs(ids, mask, ends, embeddings[rows]), strict=True):
                logprobs[row] = logprob
        return logprobs

    def _span(self, text: str) -> tuple[list[int], int, int]:
        """The ids of a caption with its prompt, and the start and end of the text in them."""
        prompt, ids = self._sequences.caption_prompt_ids(), self._sequences.caption_ids(clean_caption(text))
        # The last token of the prompt may be joined with the first letters.
        start = next(i for i in range(len(ids)) if i >= len(prompt) or ids[i] != prompt[i])
        end = start + len(self._until_stop(ids[start:]))
        limit = self._model.context_length or NO_LIMIT
        if not text.strip():
            raise InputError("texts", "has an empty text: give captions")
        if end > limit:
            raise InputError("texts", f"has a text of {end} tokens, this model takes at most {limit}: shorten it")
        return ids[:end], start, end

    def _span_logprobs(
        self, ids: Tensor, mask: Tensor, spans: Sequence[tuple[int, int]], embeddings: Tensor
    ) -> list[float]:
        """Log-probability of the tokens from start to end of each row of ids ``[b, t]``, given those before."""
        [states] = self._runner(self._model.embed(ids, embeddings), mask)  # [b, t, h]
        states = self._model.fused(states, embeddings)  # [b, t, h], each before the next token
        logprobs = []
        for row, (start, end) in enumerate(spans):  # one by one: the logits of a whole batch take half a gigabyte
            logits = self._model.token_logits(states[row, start - 1 : end - 1]).float()  # [length, vocabulary]
            loss = torch.nn.functional.cross_entropy(logits, ids[row, start:end], reduction="sum")
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
