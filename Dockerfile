# nansurfer in a container, for the CPU by default:
#
#   docker build -t nansurfer .
#   docker build -t nansurfer:cuda --build-arg TORCH=cu130 .      (any CUDA version of PyTorch's own index)
#
#   docker run --rm --network none --read-only --user "$(id -u):$(id -g)" -v "$PWD:/data" \
#     nansurfer segment T1.nii.gz --output-dir results            (with a GPU: add --gpus all)
#
# It writes nothing but the results; downloaded weights live in /weights, to be mounted. Where the build has to use
# mirrors, the arguments TORCH_INDEX and PIP_INDEX_URL name them. scripts/container/prove.sh proves the CPU build.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The compiler of the base's Debian: a pinned version is gone with that release's next update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/nansurfer
ENV PATH=/opt/nansurfer/bin:$PATH
WORKDIR /src
ARG PIP_INDEX_URL=
# PyTorch first and by itself: it is the largest layer, and its index has other releases of what it needs.
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/${TORCH}
COPY constraints.txt .
RUN pip install --no-deps --constraint constraints.txt --index-url "$TORCH_INDEX" torch
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY configs configs
COPY nansurfer nansurfer
# Not the extra slurm: a container sees no scheduler, it is what a job runs.
RUN NANSURFER_BUILD_KERNELS=1 pip install --constraint constraints.txt ".[example,plot,stats,bids]"
# A quarter of it all is headers and other packages' tests, which nothing imports.
RUN find /opt/nansurfer/lib -type d \( -name test -o -name tests -o -path "*/torch/include" \) -prune -exec rm -r {} + \
 && find /opt/nansurfer/lib/python3*/site-packages/torch/bin -type f -not -name torch_shm_manager -delete

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="nansurfer" \
      org.opencontainers.image.description="Whole-brain segmentation of T1 MRI" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/nansurfer /opt/nansurfer
# Any user id may run it, one without a name or home too, on a root file system that is read-only.
ENV PATH=/opt/nansurfer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=nansurfer \
    NANSURFER_WEIGHTS=/weights \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /weights
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["nansurfer"]
CMD ["--help"]
