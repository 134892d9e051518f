# nansurfer in a container, for the CPU by default:
#
#   docker build -t nansurfer .
#   docker build -t nansurfer:cuda --build-arg TORCH=cu130 .      (any CUDA version of PyTorch's own index)
#
#   docker run --rm --network none --read-only --user "$(id -u):$(id -g)" -v "$PWD:/data" \
#     nansurfer segment T1.nii.gz --output-dir results            (with a GPU: add --gpus all)
#
# It writes nothing but the results; downloaded weights live in /weights, to be mounted.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/nansurfer
ENV PATH=/opt/nansurfer/bin:$PATH
WORKDIR /src
# PyTorch first and by itself: it is the largest layer, and its index has other releases of what it needs.
COPY constraints.txt .
RUN pip install --no-deps --constraint constraints.txt \
    --index-url "https://download.pytorch.org/whl/${TORCH}" torch
RUN apt-get update && apt-get install --yes --no-install-recommends g++
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY configs configs
COPY nansurfer nansurfer
RUN NANSURFER_BUILD_KERNELS=1 pip install --constraint constraints.txt .

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
    XDG_CACHE_HOME=/tmp/.cache \
    NANSURFER_WEIGHTS=/weights \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["nansurfer"]
CMD ["--help"]
