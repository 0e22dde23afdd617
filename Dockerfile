# memba_vision on a GPU. torch from the package index brings the CUDA libraries and Triton's
# compiler, so there is no nvcc in here: the host needs NVIDIA's driver and container toolkit alone.
#
#   docker build -t memba_vision .
#   docker run --rm --gpus all -v "$PWD/data:/app/data" memba_vision
FROM python:3.12-slim-trixie

# Triton compiles a small launcher in C when a kernel first runs. OpenCV, which mmcv imports, wants
# libraries of a desktop.
RUN apt-get update \
    && apt-get install --no-install-recommends --yes \
        gcc libc6-dev libgl1 libglib2.0-0t64 libxcb1 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 memba
WORKDIR /app
RUN chown memba /app

# What decides on the packages first: a change of the code alone installs nothing anew.
COPY setup.py pyproject.toml README.md LICENSE ./
COPY memba_vision/__init__.py memba_vision/__init__.py
RUN pip install --no-cache-dir -e '.[data,peft]'

COPY memba_vision memba_vision
COPY configs configs
COPY tools tools

USER memba
RUN mkdir data work_dirs
CMD ["python", "tools/train.py", "configs/demo/digits_memba.py"]
