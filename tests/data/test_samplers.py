"""Samplers: a resumed run must read what an uninterrupted one reads, and a text file must lose no line."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from clipgpt_retrieval.data.samplers import InMemory, MixtureSampler, ShuffledSampler
from clipgpt_retrieval.data.text_file import TextFile, Texts


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    taken=st.integers(0, 40),
    step=st.integers(1, 7),
    grouped=st.integers(1, 3),
)
def test_a_sampler_resumes_at_any_sample(sizes, taken, step, grouped):
    class Parts:
        name, group = "parts", grouped

        def __len__(self) -> int:
            return len(sizes)

        def read(self, number: int) -> Texts:
            return Texts([f"{number}/{i}" for i in range(sizes[number])])

    def sampler() -> MixtureSampler:
        parts = [ShuffledSampler(Parts(), 1), ShuffledSampler(InMemory(Texts(["x", "y"]), "two"), 1)]
        return MixtureSampler(parts, [2, 1], 5)

    whole = sampler()
    for number in range(taken):
        whole.take(number, step)
    again = sampler()
    again.restore(json.loads(json.dumps(whole.state)))
    assert [whole.take(n, step) for n in range(taken, taken + 9)] == [
        again.take(n, step) for n in range(taken, taken + 9)
    ]


def test_a_mixture_keeps_to_its_weights():
    parts = [ShuffledSampler(InMemory(Texts([name]), name), 0) for name in "ab"]
    drawn = MixtureSampler(parts, [3, 1], 0).take(0, 4000)
    assert 0.72 < drawn.count("a") / 4000 < 0.78


@settings(deadline=None)
@given(
    lines=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="\ufeff"), min_size=1, max_size=9
        ),
        min_size=1,
    ),
    window_bytes=st.integers(1, 50),
)
def test_every_line_of_a_text_file_is_in_one_window(tmp_path_factory, lines, window_bytes):
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    texts = TextFile(str(file), window_bytes)
    read = [line for number in range(len(texts)) for line in texts.read(number).lines]
    assert read == [line.replace("[", "(").replace("]", ")") for line in lines]
