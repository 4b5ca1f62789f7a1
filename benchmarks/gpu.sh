#!/usr/bin/env bash
# What there is to measure on a GPU, in one command of under 8 minutes: the tests marked `gpu`, throughput and memory of
# the engine, and training.
#
#     benchmarks/gpu.sh wheels      # where there is a package index: fetches into .whl/ what the other machine lacks
#     benchmarks/gpu.sh install     # on the machine with the GPU, in a copy of this checkout with .whl/; again for more
#     benchmarks/gpu.sh             # the tests and measurements
#     benchmarks/gpu.sh --dry_run   # on the CPU with tiny shapes: whether every line of it runs
#
# The wheels, 27 MB, are for Python 3.12 on Linux x86-64, beside an installed torch, torchvision, timm, transformers, peft,
# numpy, pandas, pyarrow, scikit-learn, tensorboard and pytest with pytest-timeout.
set -euo pipefail
cd "$(dirname "$0")/.."

lacking=(
    clip-retrieval==2.45.0 autofaiss==2.18.0 all-clip==1.3.0 clip-anytorch==2.6.0 embedding-reader==1.8.1
    multilingual-clip==1.0.10 open-clip-torch==3.3.0 faiss-cpu==1.15.1 fire==0.7.1 termcolor==3.3.0 ftfy==6.3.1
    wcwidth==0.9.4 webdataset==0.2.111 braceexpand==0.1.7 flask==3.1.3 flask-cors==6.0.5 flask-restful==0.3.10
    aniso8601==10.0.1 itsdangerous==2.2.0 blinker==1.9.0 pytz==2026.6 cachetools==8.0.2 python-json-logger==4.2.0
    requests-hardened==1.3.0 tenacity==9.2.1 waitress==3.0.2 pydantic==2.14.4 pydantic-core==2.50.5
    annotated-types==0.8.0 typing-inspection==0.4.5
)

if [ "${1:-}" = wheels ]; then
    platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64)
    exec python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]/#/--platform=}" --dest .whl "${lacking[@]}"
fi

site=/tmp/clipgpt-retrieval-site
if [ "${1:-}" = install ]; then
    python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$site" .whl/*.whl
    # clip-retrieval imports it, and uses it only where it is asked to.
    python3 -c 'import wandb' 2>/dev/null || touch "$site/wandb.py"
    exit
fi

tiny=()
if [ "${1:-}" = --dry_run ]; then
    tiny=(--tiny)
    export CLIPGPT_TEST_DEVICE=cpu CUDA_VISIBLE_DEVICES=
fi
export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1

failed=0
step() { # SECONDS COMMAND...: the later steps run even if this one fails
    local limit=$1 started=$SECONDS
    [ ${#tiny[@]} -eq 0 ] || limit=3600
    shift
    echo "== $*"
    timeout "$limit" "$@" || { echo "== failed with exit status $?"; failed=1; }
    echo "== $((SECONDS - started)) s"
}

step 150 python3 -m pytest -q -p no:cacheprovider -m gpu tests/gpu
step 180 python3 benchmarks/gpu_speed.py "${tiny[@]}"
step 140 python3 benchmarks/gpu_training.py "${tiny[@]}"
exit $failed
