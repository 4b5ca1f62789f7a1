#!/usr/bin/env bash
# What there is to measure on a GPU, in one command of under 8 minutes: the tests marked `gpu`, throughput and memory of
# the engine, and training.
#
#     benchmarks/gpu.sh wheels      # where there is a package index: fetches into .whl/ what the other machine lacks
#     benchmarks/gpu.sh             # on the machine with the GPU, in a copy of this checkout with .whl/
#     benchmarks/gpu.sh --dry_run   # on the CPU with tiny shapes: whether every line of it runs
#
# The wheels are for Python 3.12 on Linux x86-64, beside an installed torch, transformers, numpy, pandas and pyarrow.
set -euo pipefail
cd "$(dirname "$0")/.."

lacking=(
    clip-retrieval==2.45.0 autofaiss==2.18.0 all-clip==1.3.0 clip-anytorch==2.6.0 embedding-reader==1.8.1
    multilingual-clip==1.0.10 open-clip-torch==3.3.0 timm==1.0.31 faiss-cpu==1.15.1 fire==0.7.1 termcolor==3.3.0
    ftfy==6.3.1 wcwidth==0.9.4 webdataset==0.2.111 braceexpand==0.1.7 flask==3.1.3 flask-cors==6.0.5
    flask-restful==0.3.10 aniso8601==10.0.1 werkzeug==3.1.9 itsdangerous==2.2.0 blinker==1.9.0 six==1.17.0 pytz==2026.6
    cachetools==8.0.2 python-json-logger==4.2.0 requests-hardened==1.3.0 tenacity==9.2.1 waitress==3.0.2
    pytest==9.2.0 pytest-timeout==2.4.0 pluggy==1.7.0 iniconfig==2.3.1 threadpoolctl==3.8.0 tensorboard==2.21.0
    prometheus-client==0.26.0 gguf==0.19.0 wandb==0.31.0
)

if [ "${1:-}" = wheels ]; then
    platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
    # flask-restful and webdataset are pure Python, and so are all others without a binary for this platform.
    exec python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]/#/--platform=}" --dest .whl "${lacking[@]}"
fi

tiny=()
if [ "${1:-}" = --dry_run ]; then
    tiny=(--tiny)
    export CLIPGPT_TEST_DEVICE=cpu CUDA_VISIBLE_DEVICES=
fi
if [ -d .whl ]; then
    site="$(mktemp -d)"
    trap 'rm -rf "$site"' EXIT
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .whl/*.whl
    export PYTHONPATH="$site"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 WANDB_MODE=disabled PYTHONUNBUFFERED=1

failed=0
step() { # SECONDS COMMAND...: the later steps run even if this one fails
    local limit=$1 started=$SECONDS
    shift
    echo "== $*"
    timeout "$limit" "$@" || { failed=1; echo "== failed with exit status $?"; }
    echo "== $((SECONDS - started)) s"
}

step 150 python3 -m pytest -q -p no:cacheprovider -m gpu tests/gpu
step 180 python3 benchmarks/gpu_speed.py "${tiny[@]}"
step 140 python3 benchmarks/gpu_training.py "${tiny[@]}"
exit $failed
